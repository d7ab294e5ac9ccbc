// SPDX-License-Identifier: Apache-2.0
#include "text/normalizer.h"

#include <nlohmann/json.hpp>

#include "text/json_fields.h"
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
std::string MapChars(std::string_view text, F each) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const utf8::Char c = utf8::At(text, i);
    each(out, c.code);
    i += static_cast<size_t>(c.length);
  }
  return out;
}

std::string Lower(std::string_view text) { return MapChars(text, utf8::AppendLower); }

bool IsChinese(char32_t c) {
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
         (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
         (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

std::string Bert(const Normalizer::Step& step, std::string_view text) {
  std::string out(text);
  if (step.clean) {
    out = MapChars(out, [](std::string& o, char32_t c) {
      const bool plain = c == '\t' || c == '\n' || c == '\r';
      if (c == 0 || c == 0xfffd || (!plain && utf8::IsOther(c) && utf8::IsAssigned(c))) return;
      utf8::Append(o, utf8::IsWhite(c) ? U' ' : c);
    });
  }
  if (step.chinese) {
    out = MapChars(out, [](std::string& o, char32_t c) {
      const bool wide = IsChinese(c);
      if (wide) o += ' ';
      utf8::Append(o, c);
      if (wide) o += ' ';
    });
  }
  if (step.accents) {
    out = MapChars(utf8::Normalize(out, utf8::Form::kNfd), [](std::string& o, char32_t c) {
      if (!utf8::IsMark(c)) utf8::Append(o, c);
    });
  }
  return step.lower ? Lower(out) : out;
}

void Nmt(std::string& out, char32_t c) {
  const bool dropped = (c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f;
  if (dropped) return;
  const bool space = c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 || (c >= 0x200b && c <= 0x200f) ||
                     c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd;
  utf8::Append(out, space ? U' ' : c);
}

std::string Strip(const Normalizer::Step& step, std::string_view text) {
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
  return std::string(text.substr(begin, end - begin));
}

std::string ApplyStep(const Normalizer::Step& step, std::string_view text) {
  switch (step.kind) {
    case Kind::kNfc:
      return utf8::Normalize(text, utf8::Form::kNfc);
    case Kind::kNfd:
      return utf8::Normalize(text, utf8::Form::kNfd);
    case Kind::kNfkc:
      return utf8::Normalize(text, utf8::Form::kNfkc);
    case Kind::kNfkd:
      return utf8::Normalize(text, utf8::Form::kNfkd);
    case Kind::kLowercase:
      return Lower(text);
    case Kind::kStrip:
      return Strip(step, text);
    case Kind::kStripAccents:
      return MapChars(text, [](std::string& o, char32_t c) {
        if (!utf8::IsCombining(c)) utf8::Append(o, c);
      });
    case Kind::kReplace: {
      std::string out;
      for (const Span& s : step.pattern.Cut(text)) {
        out += s.match ? std::string_view(step.text) : text.substr(s.begin, s.end - s.begin);
      }
      return out;
    }
    case Kind::kPrepend:
      return text.empty() ? std::string() : step.text + std::string(text);
    case Kind::kBert:
      return Bert(step, text);
    case Kind::kNmt:
      return MapChars(text, Nmt);
    case Kind::kPrecompiled:
      return step.charsmap.ApplyByGrapheme(text);
    case Kind::kByteLevel:
      return BytesToChars(text);
  }
  return std::string(text);
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

std::string Normalizer::Apply(std::string_view text) const {
  std::string out(text);
  for (const Step& step : steps_) out = ApplyStep(step, out);
  return out;
}

}  // namespace unimax
