// SPDX-License-Identifier: Apache-2.0
#include "text/pretokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "text/json_fields.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace unimax {
namespace {

using nlohmann::json;
using Behavior = PreTokenizer::Behavior;
using Kind = PreTokenizer::Kind;
using Prepend = PreTokenizer::Prepend;

template <class T>
struct NameRow {
  std::string_view name;
  T value;
};
constexpr NameRow<Kind> kKinds[] = {{"ByteLevel", Kind::kByteLevel},
                                    {"Split", Kind::kSplit},
                                    {"Digits", Kind::kDigits},
                                    {"Whitespace", Kind::kWhitespace},
                                    {"WhitespaceSplit", Kind::kWhitespaceSplit},
                                    {"Punctuation", Kind::kPunctuation},
                                    {"BertPreTokenizer", Kind::kBert},
                                    {"CharDelimiterSplit", Kind::kDelimiter},
                                    {"Metaspace", Kind::kMetaspace},
                                    {"FixedLength", Kind::kFixedLength}};
constexpr NameRow<Behavior> kBehaviors[] = {{"Isolated", Behavior::kIsolated},
                                            {"Removed", Behavior::kRemoved},
                                            {"MergedWithPrevious", Behavior::kMergedWithPrevious},
                                            {"MergedWithNext", Behavior::kMergedWithNext},
                                            {"Contiguous", Behavior::kContiguous}};
constexpr NameRow<Prepend> kPrepends[] = {
    {"always", Prepend::kAlways}, {"first", Prepend::kFirst}, {"never", Prepend::kNever}};

// \w+|[^\w\s]+ with the sets of Rust, whose \w also holds the two joiners.
constexpr std::string_view kWordsOrSigns = R"([\w\x{200c}\x{200d}]+|[^\w\s\x{200c}\x{200d}]+)";

template <class T, size_t N>
const T* FindName(const NameRow<T> (&rows)[N], std::string_view name) {
  for (const auto& row : rows) {
    if (row.name == name) return &row.value;
  }
  return nullptr;
}

// Every character for which `is` holds is a match of its own.
template <class F>
std::vector<Span> CutChars(std::string_view text, F is) {
  std::vector<Span> spans;
  size_t done = 0;
  for (size_t i = 0; i < text.size();) {
    const utf8::Char c = utf8::At(text, i);
    const size_t end = i + static_cast<size_t>(c.length);
    if (is(c.code)) {
      if (done < i) spans.push_back({done, i, false});
      spans.push_back({i, end, true});
      done = end;
    }
    i = end;
  }
  if (done < text.size()) spans.push_back({done, text.size(), false});
  return spans;
}

bool IsPunctuation(char32_t c) {
  const bool ascii =
      (c >= 0x21 && c <= 0x2f) || (c >= 0x3a && c <= 0x40) || (c >= 0x5b && c <= 0x60) || (c >= 0x7b && c <= 0x7e);
  return ascii || utf8::IsPunctuation(c);
}

std::vector<Span> Arrange(std::vector<Span> spans, Behavior behavior) {
  std::vector<Span> out;
  switch (behavior) {
    case Behavior::kIsolated:
      return spans;
    case Behavior::kRemoved:
      std::copy_if(spans.begin(), spans.end(), std::back_inserter(out), [](const Span& s) { return !s.match; });
      return out;
    case Behavior::kContiguous:
      for (const Span& s : spans) {
        if (!out.empty() && out.back().match == s.match) {
          out.back().end = s.end;
        } else {
          out.push_back(s);
        }
      }
      return out;
    case Behavior::kMergedWithPrevious: {
      bool previous_match = false;
      for (const Span& s : spans) {
        if (s.match && !previous_match && !out.empty()) {
          out.back().end = s.end;
        } else {
          out.push_back(s);
        }
        previous_match = s.match;
      }
      return out;
    }
    case Behavior::kMergedWithNext: {
      bool previous_match = false;
      for (auto s = spans.rbegin(); s != spans.rend(); ++s) {
        if (s->match && !previous_match && !out.empty()) {
          out.back().begin = s->begin;
        } else {
          out.push_back(*s);
        }
        previous_match = s->match;
      }
      std::reverse(out.begin(), out.end());
      return out;
    }
  }
  return out;
}

void Emit(const Word& word, const std::vector<Span>& spans, std::vector<Word>& out) {
  for (const Span& s : spans) {
    if (s.begin < s.end) out.push_back({word.text.substr(s.begin, s.end - s.begin), word.at_start && s.begin == 0});
  }
}

void ApplyByteLevel(const PreTokenizer::Step& step, Word& word, std::vector<Word>& out) {
  if (step.prefix_space && !word.text.starts_with(' ')) word.text.insert(0, 1, ' ');
  if (!step.has_pattern) {
    out.push_back({BytesToChars(word.text), word.at_start});
    return;
  }
  for (const Span& s : step.pattern.Cut(word.text)) {
    const std::string_view piece = std::string_view(word.text).substr(s.begin, s.end - s.begin);
    out.push_back({BytesToChars(piece), word.at_start && s.begin == 0});
  }
}

void ApplyMetaspace(const PreTokenizer::Step& step, Word& word, std::vector<Word>& out) {
  std::string text;
  for (char b : word.text) {
    if (b == ' ') {
      text += step.text;
    } else {
      text += b;
    }
  }
  const bool wanted = step.prepend == Prepend::kAlways || (step.prepend == Prepend::kFirst && word.at_start);
  if (wanted && !text.starts_with(step.text)) text.insert(0, step.text);
  word.text = std::move(text);
  if (step.split) {
    Emit(word, Arrange(Pattern::Literal(step.text).Cut(word.text), Behavior::kMergedWithNext), out);
  } else {
    out.push_back(std::move(word));
  }
}

void ApplyStep(const PreTokenizer::Step& step, Word& word, std::vector<Word>& out) {
  switch (step.kind) {
    case Kind::kByteLevel:
      return ApplyByteLevel(step, word, out);
    case Kind::kMetaspace:
      return ApplyMetaspace(step, word, out);
    case Kind::kSplit:
    case Kind::kWhitespace: {
      std::vector<Span> spans = step.pattern.Cut(word.text);
      if (step.invert) {
        for (Span& s : spans) s.match = !s.match;
      }
      return Emit(word, Arrange(std::move(spans), step.behavior), out);
    }
    case Kind::kDigits:
      return Emit(
          word,
          Arrange(CutChars(word.text, utf8::IsNumeric), step.individual ? Behavior::kIsolated : Behavior::kContiguous),
          out);
    case Kind::kWhitespaceSplit:
      return Emit(word, Arrange(CutChars(word.text, utf8::IsWhite), Behavior::kRemoved), out);
    case Kind::kPunctuation:
      return Emit(word, Arrange(CutChars(word.text, IsPunctuation), step.behavior), out);
    case Kind::kBert: {
      std::vector<Word> words;
      Emit(word, Arrange(CutChars(word.text, utf8::IsWhite), Behavior::kRemoved), words);
      for (const Word& w : words) Emit(w, CutChars(w.text, IsPunctuation), out);
      return;
    }
    case Kind::kDelimiter:
      return Emit(word, Arrange(Pattern::Literal(step.text).Cut(word.text), Behavior::kRemoved), out);
    case Kind::kFixedLength: {
      std::vector<Span> spans;
      size_t begin = 0;
      size_t count = 0;
      for (size_t i = 0; i < word.text.size();) {
        i += static_cast<size_t>(utf8::At(word.text, i).length);
        if (++count == step.length || i == word.text.size()) {
          spans.push_back({begin, i, true});
          begin = i;
          count = 0;
        }
      }
      return Emit(word, spans, out);
    }
  }
}

}  // namespace

Result<PreTokenizer> PreTokenizer::FromJson(const json& spec) {
  PreTokenizer p;
  if (!spec.is_null()) UM_RETURN_IF_ERROR(p.Append(spec, 0));
  return p;
}

Status PreTokenizer::AddIsolate(std::string_view regex) {
  Step step;
  UM_ASSIGN_OR_RETURN(step.pattern, Pattern::Regex(regex));
  steps_.push_back(std::move(step));
  return {};
}

void PreTokenizer::AddByteLevel() {
  Step step;
  step.kind = Kind::kByteLevel;
  steps_.push_back(std::move(step));
}

Status PreTokenizer::Append(const json& spec, int depth) {
  UM_ASSIGN_OR_RETURN(const std::string type, TypeOf(spec, "pre-tokenizer"));
  if (type == "Sequence") {
    return ForSequence(spec, "pretokenizers", depth, [&](const json& item) { return Append(item, depth + 1); });
  }
  const Kind* kind = FindName(kKinds, type);
  if (kind == nullptr) return BadModel("pre-tokenizer '{}' of the tokenizer is not supported", type);
  Step step;
  step.kind = *kind;
  UM_ASSIGN_OR_RETURN(step.individual, BoolAt(spec, "individual_digits", false));
  UM_ASSIGN_OR_RETURN(step.invert, BoolAt(spec, "invert", false));
  UM_ASSIGN_OR_RETURN(step.split, BoolAt(spec, "split", true));
  UM_ASSIGN_OR_RETURN(const std::string behavior, TextAt(spec, "behavior", "Isolated"));
  const Behavior* known = FindName(kBehaviors, behavior);
  if (known == nullptr) return BadModel("split behavior '{}' of the tokenizer is not supported", behavior);
  step.behavior = *known;
  if (*kind == Kind::kByteLevel) {
    UM_ASSIGN_OR_RETURN(step.prefix_space, BoolAt(spec, "add_prefix_space", true));
    UM_ASSIGN_OR_RETURN(step.has_pattern, BoolAt(spec, "use_regex", true));
    UM_ASSIGN_OR_RETURN(step.pattern, Pattern::Regex(kGpt2Pattern));
  } else if (*kind == Kind::kSplit) {
    UM_ASSIGN_OR_RETURN(step.pattern, PatternAt(spec));
  } else if (*kind == Kind::kWhitespace) {
    UM_ASSIGN_OR_RETURN(step.pattern, Pattern::Regex(kWordsOrSigns));
    step.behavior = Behavior::kRemoved;
    step.invert = true;
  } else if (*kind == Kind::kDelimiter) {
    UM_ASSIGN_OR_RETURN(step.text, TextAt(spec, "delimiter"));
  } else if (*kind == Kind::kFixedLength) {
    UM_ASSIGN_OR_RETURN(const int length, IntAt(spec, "length", 5));
    if (length <= 0) return BadModel("the tokenizer cuts text into pieces of {} characters", length);
    step.length = static_cast<size_t>(length);
  } else if (*kind == Kind::kMetaspace) {
    UM_ASSIGN_OR_RETURN(step.text, TextAt(spec, "replacement", "\xe2\x96\x81"));
    UM_ASSIGN_OR_RETURN(const bool prefix, BoolAt(spec, "add_prefix_space", true));
    UM_ASSIGN_OR_RETURN(const std::string scheme, TextAt(spec, "prepend_scheme", prefix ? "always" : "never"));
    const Prepend* prepend = FindName(kPrepends, scheme);
    if (prepend == nullptr) return BadModel("prepend scheme '{}' of the tokenizer is not supported", scheme);
    step.prepend = *prepend;
  }
  steps_.push_back(std::move(step));
  return {};
}

std::vector<Word> PreTokenizer::Apply(std::string_view text, bool at_start) const {
  if (text.empty()) return {};
  std::vector<Word> words{{std::string(text), at_start}};
  std::vector<Word> next;
  for (const Step& step : steps_) {
    next.clear();
    for (Word& word : words) ApplyStep(step, word, next);
    words.swap(next);
  }
  return words;
}

}  // namespace unimax
