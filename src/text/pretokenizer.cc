// SPDX-License-Identifier: Apache-2.0
#include "text/pretokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "text/json_fields.h"
#include "text/scanners.h"
#include "text/scripts.h"
#include "text/unicode_ages.h"
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
                                    {"FixedLength", Kind::kFixedLength},
                                    {"UnicodeScripts", Kind::kScripts}};
constexpr NameRow<Behavior> kBehaviors[] = {{"Isolated", Behavior::kIsolated},
                                            {"Removed", Behavior::kRemoved},
                                            {"MergedWithPrevious", Behavior::kMergedWithPrevious},
                                            {"MergedWithNext", Behavior::kMergedWithNext},
                                            {"Contiguous", Behavior::kContiguous}};
constexpr NameRow<Prepend> kPrepends[] = {
    {"always", Prepend::kAlways}, {"first", Prepend::kFirst}, {"never", Prepend::kNever}};

constexpr size_t kMaxSteps = 64;  // each may compile an expression

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
void CutChars(std::string_view text, F is, std::vector<Span>& spans) {
  size_t done = 0;
  for (size_t i = 0; i < text.size();) {
    const utf8::Char c = utf8::At(text, i);
    const size_t end = i + static_cast<size_t>(c.length);
    if (is(c.code)) {
      if (done < i) spans.push_back(MakeSpan(done, i, false));
      spans.push_back(MakeSpan(i, end, true));
      done = end;
    }
    i = end;
  }
  if (done < text.size()) spans.push_back(MakeSpan(done, text.size(), false));
}

bool IsPunctuation(char32_t c) {
  const bool ascii =
      (c >= 0x21 && c <= 0x2f) || (c >= 0x3a && c <= 0x40) || (c >= 0x5b && c <= 0x60) || (c >= 0x7b && c <= 0x7e);
  return ascii || utf8::IsPunctuation8(c);
}

// Categories Nd, Nl and No of Unicode 17, which is Rust's.
bool IsDigit(char32_t c) {
  return utf8::IsNumeric(c) || (c >= 0x11de0 && c <= 0x11de9) || (c >= 0x16ff4 && c <= 0x16ff6);
}

// Joins and drops spans as `behavior` says, in place.
void Arrange(Behavior behavior, std::vector<Span>& spans) {
  size_t kept = 0;
  bool previous_match = false;
  switch (behavior) {
    case Behavior::kIsolated:
      return;
    case Behavior::kRemoved:
      std::erase_if(spans, [](const Span& s) { return s.match; });
      return;
    case Behavior::kContiguous:
      for (const Span s : spans) {
        if (kept > 0 && spans[kept - 1].match == s.match) {
          spans[kept - 1].end = s.end;
        } else {
          spans[kept++] = s;
        }
      }
      break;
    case Behavior::kMergedWithPrevious:
      for (const Span s : spans) {
        if (s.match && !previous_match && kept > 0) {
          spans[kept - 1].end = s.end;
        } else {
          spans[kept++] = s;
        }
        previous_match = s.match;
      }
      break;
    case Behavior::kMergedWithNext:
      std::reverse(spans.begin(), spans.end());
      for (const Span s : spans) {
        if (s.match && !previous_match && kept > 0) {
          spans[kept - 1].begin = s.begin;
        } else {
          spans[kept++] = s;
        }
        previous_match = s.match;
      }
      std::reverse(spans.begin(), spans.begin() + static_cast<ptrdiff_t>(kept));
      break;
  }
  spans.resize(kept);
}

void CutLength(std::string_view text, size_t length, std::vector<Span>& spans) {
  size_t begin = 0, count = 0;
  for (size_t i = 0; i < text.size();) {
    i += static_cast<size_t>(utf8::At(text, i).length);
    if (++count == length || i == text.size()) {
      spans.push_back(MakeSpan(begin, i, true));
      begin = i;
      count = 0;
    }
  }
}

// White space goes, punctuation stands alone.
void CutBert(std::string_view text, std::vector<Span>& spans) {
  size_t done = 0;
  for (size_t i = 0; i < text.size();) {
    const utf8::Char c = utf8::At(text, i);
    const size_t end = i + static_cast<size_t>(c.length);
    const bool white = utf8::IsWhite(c.code);
    if (white || IsPunctuation(c.code)) {
      if (done < i) spans.push_back(MakeSpan(done, i, false));
      if (!white) spans.push_back(MakeSpan(i, end, false));
      done = end;
    }
    i = end;
  }
  if (done < text.size()) spans.push_back(MakeSpan(done, text.size(), false));
}

void CutWord(const PreTokenizer::Step& step, Cutter& cutter, std::string_view word, std::vector<Span>& spans) {
  switch (step.kind) {
    case Kind::kSplit:
    case Kind::kWhitespace:
    case Kind::kByteLevel:
      cutter.Cut(word, spans);
      if (step.invert) {
        for (Span& s : spans) s.match = !s.match;
      }
      return Arrange(step.behavior, spans);
    case Kind::kDigits:
      CutChars(word, IsDigit, spans);
      return Arrange(step.individual ? Behavior::kIsolated : Behavior::kContiguous, spans);
    case Kind::kWhitespaceSplit:
      CutChars(word, utf8::IsWhite, spans);
      return Arrange(Behavior::kRemoved, spans);
    case Kind::kPunctuation:
      CutChars(word, IsPunctuation, spans);
      return Arrange(step.behavior, spans);
    case Kind::kBert:
      return CutBert(word, spans);
    case Kind::kDelimiter:
      cutter.Cut(word, spans);
      return Arrange(Behavior::kRemoved, spans);
    case Kind::kMetaspace:
      cutter.Cut(word, spans);
      return Arrange(Behavior::kMergedWithNext, spans);
    case Kind::kFixedLength:
      return CutLength(word, step.length, spans);
    case Kind::kScripts:
      return CutScripts(cutter, word, spans);
  }
}

void CutAll(const PreTokenizer::Step& step, Words& words) {
  Cutter cutter(step.pattern);
  std::vector<Word>& cut = words.spare;
  cut.clear();
  cut.reserve(words.words.size());
  std::vector<Span> spans;
  for (const Word& word : words.words) {
    spans.clear();
    CutWord(step, cutter, words.text.substr(word.begin, word.end - word.begin), spans);
    for (const Span& s : spans) {
      if (s.begin < s.end) cut.push_back({word.begin + s.begin, word.begin + s.end});
    }
  }
  words.words.swap(cut);
}

// Writes every word anew: `write(word, rewriter)`.
template <class F>
void Rewrite(Words& words, F write) {
  Rewriter rewriter(words.tracked);
  rewriter.text.reserve(words.text.size() + words.text.size() / 4);
  size_t start = 0;
  for (Word& word : words.words) {
    const size_t begin = rewriter.text.size();
    write(word, rewriter);
    if (word.begin < words.start) start = word.end <= words.start ? rewriter.text.size() : begin + 1;
    word = {static_cast<uint32_t>(begin), static_cast<uint32_t>(rewriter.text.size())};
  }
  words.start = start;
  Compose(words.map, rewriter.map);
  words.map = std::move(rewriter.map);
  words.owned = std::move(rewriter.text);
  words.text = words.owned;
}

// `prefix` before what [begin, end) holds; like its first character it stands for that.
void PutPrefix(std::string_view prefix, std::string_view text, const Word& word, Rewriter& rewriter) {
  const size_t first = word.begin < word.end ? static_cast<size_t>(utf8::At(text, word.begin).length) : 0;
  rewriter.Put(prefix, word.begin, word.begin + first);
}

void ApplyByteLevel(const PreTokenizer::Step& step, bool raw, Words& words) {
  const std::string_view old = words.text;
  const bool complete =
      std::all_of(words.words.begin(), words.words.end(), [&](const Word& w) { return old[w.begin] == ' '; });
  if (step.prefix_space && !complete) {
    Rewrite(words, [&](const Word& word, Rewriter& rewriter) {
      if (old[word.begin] != ' ') PutPrefix(" ", old, word, rewriter);
      rewriter.Copy(old, word.begin, word.end);
    });
  }
  if (step.has_pattern) CutAll(step, words);
  if (raw) {
    words.raw_bytes = true;
    return;
  }
  const std::string_view cut = words.text;
  Rewrite(words, [&](const Word& word, Rewriter& rewriter) {
    for (size_t i = word.begin; i < word.end;) {
      const size_t end = i + static_cast<size_t>(utf8::At(cut, i).length);
      rewriter.Put(BytesToChars(cut.substr(i, end - i)), i, end);
      i = end;
    }
  });
}

void ApplyMetaspace(const PreTokenizer::Step& step, Words& words) {
  const std::string_view old = words.text;
  Rewrite(words, [&](const Word& word, Rewriter& rewriter) {
    const bool first = word.begin < words.start;
    const bool wanted = step.prepend == Prepend::kAlways || (step.prepend == Prepend::kFirst && first);
    const std::string_view text = old.substr(word.begin, word.end - word.begin);
    if (wanted && !text.starts_with(' ') && !text.starts_with(step.text)) PutPrefix(step.text, old, word, rewriter);
    for (size_t at = word.begin; at < word.end;) {
      const size_t space = std::min<size_t>(old.substr(0, word.end).find(' ', at), word.end);
      rewriter.Copy(old, at, space);
      if (space < word.end) rewriter.Put(step.text, space, space + 1);
      at = space + 1;
    }
  });
  if (step.split) CutAll(step, words);
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
  if (steps_.size() == kMaxSteps) return BadModel("the tokenizer has more than {} pre-tokenizers", kMaxSteps);
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
  } else if (*kind == Kind::kScripts) {
    UM_ASSIGN_OR_RETURN(step.pattern, ScriptRuns());
  } else if (*kind == Kind::kDelimiter) {
    UM_ASSIGN_OR_RETURN(std::string delimiter, TextAt(spec, "delimiter"));
    step.pattern = Pattern::Literal(std::move(delimiter));
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
    step.pattern = Pattern::Literal(step.text);
  }
  steps_.push_back(std::move(step));
  return {};
}

bool PreTokenizer::asks_start() const {
  return std::any_of(steps_.begin(), steps_.end(),
                     [](const Step& s) { return s.kind == Kind::kMetaspace && s.prepend == Prepend::kFirst; });
}

void PreTokenizer::Apply(std::string_view text, size_t start, bool bytes_allowed, Words& words) const {
  words.text = text;
  words.words.clear();
  words.map.clear();
  words.start = start;
  words.raw_bytes = false;
  if (!text.empty()) words.words.push_back({0, static_cast<uint32_t>(text.size())});
  for (const Step& step : steps_) {
    if (step.kind == Kind::kByteLevel) {
      ApplyByteLevel(step, bytes_allowed && &step == &steps_.back(), words);
    } else if (step.kind == Kind::kMetaspace) {
      ApplyMetaspace(step, words);
    } else {
      CutAll(step, words);
    }
  }
}

}  // namespace unimax
