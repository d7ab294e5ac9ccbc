// SPDX-License-Identifier: Apache-2.0
#include "text/normalizer.h"

#include <nlohmann/json.hpp>

#include "text/json_fields.h"
#include "text/unicode_ages.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace unimax {
namespace {

using nlohmann::json;
using Kind = Normalizer::Kind;

struct KindRow {
  std::string_view name;
  Kind kind;
};
constexpr KindRow kKinds[] = {{"NFC", Kind::kNfc},
                              {"NFD", Kind::kNfd},
                              {"NFKC", Kind::kNfkc},
                              {"NFKD", Kind::kNfkd},
                              {"Lowercase", Kind::kLowercase},
                              {"Strip", Kind::kStrip},
                              {"StripAccents", Kind::kStripAccents},
                              {"Replace", Kind::kReplace},
                              {"Prepend", Kind::kPrepend},
                              {"BertNormalizer", Kind::kBert},
                              {"Nmt", Kind::kNmt},
                              {"Precompiled", Kind::kPrecompiled},
                              {"ByteLevel", Kind::kByteLevel}};

// Calls `each` with every character; it appends what stands for it.
template <class F>
void MapChars(std::string_view text, Rewriter& out, F each) {
  std::string one;
  for (size_t i = 0; i < text.size();) {
    const utf8::Char c = utf8::At(text, i);
    const size_t end = i + static_cast<size_t>(c.length);
    if (out.tracked()) {
      one.clear();
      each(one, c.code);
      out.Put(one, i, end);
    } else {
      each(out.text, c.code);
    }
    i = end;
  }
}

bool IsChinese(char32_t c) {
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
         (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
         (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

void Clean(std::string& out, char32_t c) {
  const bool plain = c == '\t' || c == '\n' || c == '\r';
  if (c == 0 || c == 0xfffd) return;
  if (!plain && (c < 0x80 ? c < 0x20 || c == 0x7f : utf8::IsControl8(c))) return;
  utf8::Append(out, utf8::IsWhite(c) ? U' ' : c);
}

void PartChinese(std::string& out, char32_t c) {
  const bool wide = IsChinese(c);
  if (wide) out += ' ';
  utf8::Append(out, c);
  if (wide) out += ' ';
}

void DropMark(std::string& out, char32_t c) {
  if (!utf8::IsMark8(c)) utf8::Append(out, c);
}

void Compose(std::string_view text, utf8::Form form, Rewriter& out);

// One of several passes over a text.
struct Passes {
  template <class F>
  void Run(F pass) {
    Rewriter next(out.tracked());
    next.text.reserve(out.text.size());
    pass(std::string_view(out.text), next);
    unimax::Compose(out.map, next.map);
    out.text.swap(next.text);
    out.map.swap(next.map);
  }
  Rewriter& out;  // first holds what the first pass reads
};

void Bert(const Normalizer::Step& step, std::string_view text, Rewriter& out) {
  out.Copy(text, 0, text.size());
  Passes passes{out};
  const bool ascii = utf8::IsAscii(text);
  if (step.clean) passes.Run([](std::string_view t, Rewriter& o) { MapChars(t, o, Clean); });
  if (step.chinese && !ascii) passes.Run([](std::string_view t, Rewriter& o) { MapChars(t, o, PartChinese); });
  if (step.accents && !ascii) {
    passes.Run([](std::string_view t, Rewriter& o) { Compose(t, utf8::Form::kNfd, o); });
    passes.Run([](std::string_view t, Rewriter& o) { MapChars(t, o, DropMark); });
  }
  if (step.lower) passes.Run([](std::string_view t, Rewriter& o) { MapChars(t, o, utf8::AppendLower); });
}

// `fresh` for `old`, which begins at `at`: character for character. Fewer characters are marks joined to the first;
// of more, the last ones go to the last.
void PutChars(std::string_view fresh, std::string_view old, size_t at, Rewriter& out) {
  size_t begin = 0, end = 0;
  size_t joined = utf8::Length(old) - std::min(utf8::Length(old), utf8::Length(fresh));
  for (size_t i = 0; i < fresh.size();) {
    const auto length = static_cast<size_t>(utf8::At(fresh, i).length);
    if (end < old.size()) {
      begin = end;
      end += static_cast<size_t>(utf8::At(old, begin).length);
    }
    out.Put(fresh.substr(i, length), at + begin, at + end);
    for (; i == 0 && joined > 0; --joined) end += static_cast<size_t>(utf8::At(old, end).length);
    i += length;
  }
}

void Compose(std::string_view text, utf8::Form form, Rewriter& out) {
  if (!out.tracked()) {
    out.text += utf8::Normalize(text, form);
    return;
  }
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {  // a base character with its marks at a time
    i += static_cast<size_t>(utf8::At(text, i).length);
    if (i < text.size() && !utf8::IsBoundary(utf8::At(text, i).code)) continue;
    const std::string_view old = text.substr(begin, i - begin);
    const std::string fresh = utf8::Normalize(old, form);
    std::vector<std::string> each;  // what becomes of its characters where they are not joined and keep their order
    std::string joined;
    for (size_t at = 0; at < old.size(); at += static_cast<size_t>(utf8::At(old, at).length)) {
      each.push_back(utf8::Normalize(old.substr(at, static_cast<size_t>(utf8::At(old, at).length)), form));
      joined += each.back();
    }
    if (joined != fresh) PutChars(fresh, old, begin, out);
    for (size_t at = 0; joined == fresh && begin < i; ++at) {
      const auto length = static_cast<size_t>(utf8::At(text, begin).length);
      out.Put(each[at], begin, begin + length);
      begin += length;
    }
    begin = i;
  }
}

void Nmt(std::string& out, char32_t c) {
  const bool dropped = (c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f;
  if (dropped) return;
  const bool space = c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 || (c >= 0x200b && c <= 0x200f) ||
                     c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd;
  utf8::Append(out, space ? U' ' : c);
}

void Strip(const Normalizer::Step& step, std::string_view text, Rewriter& out) {
  size_t begin = 0;
  size_t end = text.size();
  while (step.left && begin < end && utf8::IsWhite(utf8::At(text, begin).code)) {
    begin += static_cast<size_t>(utf8::At(text, begin).length);
  }
  while (step.right && end > begin) {
    size_t previous = end;
    do --previous;
    while (previous > begin && (static_cast<uint8_t>(text[previous]) & 0xc0) == 0x80);
    if (!utf8::IsWhite(utf8::At(text, previous).code)) break;
    end = previous;
  }
  out.Copy(text, begin, end);
}

// What is written stands for the last character of what it replaces, or for the one before it.
void Replace(const Normalizer::Step& step, std::string_view text, Rewriter& out) {
  for (const Span& s : step.pattern.Cut(text)) {
    if (s.match) {
      size_t last = s.end;
      while (last > 0 && (static_cast<uint8_t>(text[--last]) & 0xc0) == 0x80) {
      }
      out.Put(step.text, last, s.end);
    } else {
      out.Copy(text, s.begin, s.end);
    }
  }
}

void ApplyStep(const Normalizer::Step& step, std::string_view text, Rewriter& out) {
  switch (step.kind) {
    case Kind::kNfc:
      return Compose(text, utf8::Form::kNfc, out);
    case Kind::kNfd:
      return Compose(text, utf8::Form::kNfd, out);
    case Kind::kNfkc:
      return Compose(text, utf8::Form::kNfkc, out);
    case Kind::kNfkd:
      return Compose(text, utf8::Form::kNfkd, out);
    case Kind::kLowercase:
      return MapChars(text, out, utf8::AppendLower);
    case Kind::kStrip:
      return Strip(step, text, out);
    case Kind::kStripAccents:
      return MapChars(text, out, [](std::string& o, char32_t c) {
        if (!utf8::IsCombining9(c)) utf8::Append(o, c);
      });
    case Kind::kReplace:
      return Replace(step, text, out);
    case Kind::kPrepend:
      if (text.empty()) return;
      out.Put(step.text, 0, static_cast<size_t>(utf8::At(text, 0).length));
      return out.Copy(text, 0, text.size());
    case Kind::kBert:
      return Bert(step, text, out);
    case Kind::kNmt:
      return MapChars(text, out, Nmt);
    case Kind::kPrecompiled:
      return step.charsmap.ApplyByGrapheme(text, out);
    case Kind::kSentencePiece:
      return step.rules.Apply(text, out);
    case Kind::kByteLevel:
      return MapChars(text, out, [](std::string& o, char32_t c) {
        std::string bytes;
        utf8::Append(bytes, c);
        o += BytesToChars(bytes);
      });
  }
}

}  // namespace

Result<Normalizer> Normalizer::FromJson(const json& spec) {
  Normalizer n;
  if (!spec.is_null()) UM_RETURN_IF_ERROR(n.Append(spec, 0));
  return n;
}

Status Normalizer::Append(const json& spec, int depth) {
  UM_ASSIGN_OR_RETURN(const std::string type, TypeOf(spec, "normalizer"));
  if (type == "Sequence") {
    return ForSequence(spec, "normalizers", depth, [&](const json& item) { return Append(item, depth + 1); });
  }
  for (const KindRow& row : kKinds) {
    if (row.name != type) continue;
    Step step;
    step.kind = row.kind;
    UM_ASSIGN_OR_RETURN(step.left, BoolAt(spec, "strip_left", true));
    UM_ASSIGN_OR_RETURN(step.right, BoolAt(spec, "strip_right", true));
    UM_ASSIGN_OR_RETURN(step.clean, BoolAt(spec, "clean_text", true));
    UM_ASSIGN_OR_RETURN(step.chinese, BoolAt(spec, "handle_chinese_chars", true));
    UM_ASSIGN_OR_RETURN(step.lower, BoolAt(spec, "lowercase", true));
    UM_ASSIGN_OR_RETURN(step.accents, BoolAt(spec, "strip_accents", step.lower));
    if (row.kind == Kind::kPrepend) {
      UM_ASSIGN_OR_RETURN(step.text, TextAt(spec, "prepend"));
    }
    if (row.kind == Kind::kReplace) {
      UM_ASSIGN_OR_RETURN(step.text, TextAt(spec, "content"));
      UM_ASSIGN_OR_RETURN(step.pattern, PatternAt(spec));
    }
    if (row.kind == Kind::kPrecompiled) {
      UM_ASSIGN_OR_RETURN(const std::string coded, TextAt(spec, "precompiled_charsmap"));
      UM_ASSIGN_OR_RETURN(const std::string blob, FromBase64(coded));
      UM_ASSIGN_OR_RETURN(step.charsmap, CharsMap::Parse(blob));
    }
    steps_.push_back(std::move(step));
    return {};
  }
  return BadModel("normalizer '{}' of the tokenizer is not supported", type);
}

std::optional<std::string> Normalizer::Run(std::string_view text, size_t limit, SourceMap* map) const {
  Rewriter out(map != nullptr, limit);
  std::string old(text);
  for (const Step& step : steps_) {
    out.text.clear();
    SourceMap before;
    before.swap(out.map);
    ApplyStep(step, old, out);
    if (out.overflow || out.text.size() > limit) return std::nullopt;
    Compose(before, out.map);
    old.swap(out.text);
  }
  if (map != nullptr) *map = std::move(out.map);
  return old;
}

std::string Normalizer::Apply(std::string_view text, SourceMap* map) const { return *Run(text, SIZE_MAX, map); }

std::optional<std::string> Normalizer::ApplyWithin(size_t limit, std::string_view text) const {
  return Run(text, limit, nullptr);
}

}  // namespace unimax
