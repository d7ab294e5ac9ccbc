// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_text_tools.h"

#include <utf8proc.h>

#include <algorithm>

#include "text/utf8.h"

namespace unimax::jinja {
namespace {

char32_t Mapped(char32_t c, utf8proc_int32_t (*map)(utf8proc_int32_t)) {
  return static_cast<char32_t>(map(static_cast<utf8proc_int32_t>(c)));
}

// The characters whose upper case is several; of the many in Unicode those that occur in text.
std::string UpperChar(char32_t c, bool title) {
  std::string out;
  if (c == 0xdf) return title ? "Ss" : "SS";
  if (c == 0x149) return "\xca\xbcN";
  if (c >= 0xfb00 && c <= 0xfb06) {
    constexpr std::string_view kLigatures[] = {"FF", "FI", "FL", "FFI", "FFL", "ST", "ST"};
    out = kLigatures[c - 0xfb00];
    if (title) {
      for (size_t i = 1; i < out.size(); ++i) out[i] = static_cast<char>(out[i] + 32);
    }
    return out;
  }
  utf8::Append(out, title ? Mapped(c, utf8proc_totitle) : Mapped(c, utf8proc_toupper));
  return out;
}

bool IsCased(char32_t c) { return Mapped(c, utf8proc_toupper) != c || Mapped(c, utf8proc_tolower) != c; }

// Sigma at the end of a word has its own lower case.
std::string LowerChar(const std::string& s, size_t at, char32_t c) {
  std::string out;
  if (c == 0x3a3) {
    bool before = false;
    size_t i = at;
    while (i > 0) {
      do --i;
      while (i > 0 && (static_cast<uint8_t>(s[i]) & 0xc0) == 0x80);
      const char32_t p = utf8::At(s, i).code;
      if (p == '\'' || p == 0xad || utf8::IsMark(p)) continue;
      before = IsCased(p);
      break;
    }
    bool after = false;
    for (i = at + 2; i < s.size(); i += static_cast<size_t>(utf8::At(s, i).length)) {
      const char32_t n = utf8::At(s, i).code;
      if (n == '\'' || n == 0xad || utf8::IsMark(n)) continue;
      after = IsCased(n);
      break;
    }
    utf8::Append(out, before && !after ? char32_t{0x3c2} : char32_t{0x3c3});
    return out;
  }
  utf8::AppendLower(out, c);
  return out;
}

enum class Case { kUpper, kLower, kTitle };

// `pick(previous_cased, first)` says what becomes of each character.
template <class F>
Text MapCase(const Text& text, F pick) {
  Text out;
  const std::string& s = text.bytes();
  bool previous_cased = false;
  for (size_t i = 0; i < s.size();) {
    if (const char c = s[i]; static_cast<uint8_t>(c) < 0x80) {
      const bool is_lower = c >= 'a' && c <= 'z', is_upper = c >= 'A' && c <= 'Z';
      const bool lower = pick(previous_cased, i == 0) == Case::kLower;
      const char mapped = static_cast<char>(lower ? (is_upper ? c + 32 : c) : (is_lower ? c - 32 : c));
      out.Append(std::string_view(&mapped, 1), text.UntrustedAt(i++));
      previous_cased = is_lower || is_upper;
      continue;
    }
    const utf8::Char c = utf8::At(s, i);
    const Case to = pick(previous_cased, i == 0);
    out.Append(to == Case::kLower ? LowerChar(s, i, c.code) : UpperChar(c.code, to == Case::kTitle),
               text.UntrustedAt(i));
    previous_cased = IsCased(c.code);
    i += static_cast<size_t>(c.length);
  }
  return out;
}

}  // namespace

bool IsPythonWord(char32_t c) {
  return c == '_' || utf8::IsNumeric(c) || (utf8::IsAlphabetic(c) && !utf8::IsSymbol(c));
}

bool IsPythonSpace(char32_t c) { return utf8::IsWhite(c) || (c >= 0x1c && c <= 0x1f); }

Text UpperOf(const Text& text) {
  return MapCase(text, [](bool, bool) { return Case::kUpper; });
}
Text LowerOf(const Text& text) {
  return MapCase(text, [](bool, bool) { return Case::kLower; });
}
Text CapitalOf(const Text& text) {
  return MapCase(text, [](bool, bool first) { return first ? Case::kTitle : Case::kLower; });
}
Text TitleOf(const Text& text) {
  return MapCase(text, [](bool previous_cased, bool) { return previous_cased ? Case::kLower : Case::kTitle; });
}

Text SwapCaseOf(const Text& text) {
  Text out;
  const std::string& s = text.bytes();
  for (size_t i = 0; i < s.size();) {
    const utf8::Char c = utf8::At(s, i);
    const size_t end = i + static_cast<size_t>(c.length);
    const auto code = static_cast<utf8proc_int32_t>(c.code);
    if (utf8proc_isupper(code) != 0) {
      out.Append(LowerChar(s, i, c.code), text.UntrustedAt(i));
    } else if (utf8proc_islower(code) != 0) {
      out.Append(UpperChar(c.code, false), text.UntrustedAt(i));
    } else {
      out.Append(text, i, end);
    }
    i = end;
  }
  return out;
}

Text StripOf(const Text& text, const std::optional<std::string>& chars, bool left, bool right) {
  const std::string& s = text.bytes();
  const std::u32string set = chars ? utf8::Decode(*chars) : std::u32string();
  const auto drop = [&](char32_t c) { return chars ? set.find(c) != set.npos : IsPythonSpace(c); };
  size_t begin = 0;
  size_t end = s.size();
  while (left && begin < end && drop(utf8::At(s, begin).code)) begin += static_cast<size_t>(utf8::At(s, begin).length);
  while (right && end > begin) {
    size_t previous = end;
    do --previous;
    while (previous > begin && (static_cast<uint8_t>(s[previous]) & 0xc0) == 0x80);
    if (!drop(utf8::At(s, previous).code)) break;
    end = previous;
  }
  return text.Slice(begin, end);
}

std::vector<std::pair<size_t, size_t>> WordsOf(const Text& text) {
  std::vector<std::pair<size_t, size_t>> words;
  const std::string& s = text.bytes();
  size_t begin = 0;
  for (size_t i = 0; i < s.size();) {
    const utf8::Char c = utf8::At(s, i);
    const size_t end = i + static_cast<size_t>(c.length);
    if (IsPythonSpace(c.code)) {
      if (begin < i) words.emplace_back(begin, i);
      begin = end;
    }
    i = end;
  }
  if (begin < s.size()) words.emplace_back(begin, s.size());
  return words;
}

namespace {

bool IsLineEnd(char32_t c) {
  return (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

}  // namespace

std::vector<std::pair<size_t, size_t>> LinesOf(const Text& text, bool keep_ends) {
  std::vector<std::pair<size_t, size_t>> lines;
  const std::string& s = text.bytes();
  size_t begin = 0;
  for (size_t i = 0; i < s.size();) {
    const utf8::Char c = utf8::At(s, i);
    size_t end = i + static_cast<size_t>(c.length);
    if (IsLineEnd(c.code)) {
      if (c.code == '\r' && end < s.size() && s[end] == '\n') ++end;
      lines.emplace_back(begin, keep_ends ? end : i);
      begin = end;
    }
    i = end;
  }
  if (begin < s.size()) lines.emplace_back(begin, s.size());
  return lines;
}

bool EndsLine(const Text& text) {
  size_t at = text.size();
  if (at == 0) return false;
  do --at;
  while (at > 0 && (static_cast<uint8_t>(text.bytes()[at]) & 0xc0) == 0x80);
  return IsLineEnd(utf8::At(text.bytes(), at).code);
}

Result<Value> ReplaceIn(Interpreter& in, const Text& text, const Text& from, const Text& to, Int count) {
  const std::string& s = text.bytes();
  UM_RETURN_IF_ERROR(in.Step(static_cast<int64_t>(s.size() / 64)));
  Text out;
  size_t at = 0;
  size_t search = 0;
  for (Int done = 0; (count < 0 || done < count) && search <= s.size(); ++done) {
    const size_t hit = s.find(from.bytes(), search);
    if (hit == s.npos) break;
    UM_RETURN_IF_ERROR(in.Step());
    UM_RETURN_IF_ERROR(in.Charge(to.size() + 16));
    out.Append(text, at, hit);
    out.Append(to);
    at = hit + from.size();
    search = at;
    if (from.size() == 0) {  // an empty text is found before every character
      search = hit < s.size() ? hit + static_cast<size_t>(utf8::At(s, hit).length) : s.size() + 1;
    }
  }
  out.Append(text, at, s.size());
  return in.Str(std::move(out));
}

Result<Value> Pad(Interpreter& in, const Text& text, Int width, const std::string& fill, Side side) {
  const auto length = static_cast<Int>(utf8::Length(text.bytes()));
  if (width <= length) return in.Str(text);
  const Int total = width - length;
  UM_RETURN_IF_ERROR(in.Charge(static_cast<size_t>(std::min(total, Int{1} << 40)) * fill.size()));
  // Python puts the odd place of a centred text to the left when the width is odd.
  const Int left = side == Side::kLeft ? total : side == Side::kRight ? 0 : total / 2 + (total & width & 1);
  Text out;
  for (Int i = 0; i < left; ++i) out.Append(fill, false);
  out.Append(text);
  for (Int i = left; i < total; ++i) out.Append(fill, false);
  return in.Str(std::move(out));
}

Value AsMarkup(Interpreter& in, const Value& v) {
  if (v.Is(Kind::kText)) return v.markup() ? v : in.heap().String(v.text(), true);
  if (!v.IsSequence()) return v;
  std::vector<Value> items;
  for (const Value& item : v.list().items) items.push_back(AsMarkup(in, item));
  return in.heap().Sequence(v.kind, std::move(items));
}

Value EscapedFor(Interpreter& in, const Value& v) {
  if (v.Is(Kind::kText)) return v.markup() ? v : in.heap().String(EscapeHtml(v.text()), true);
  if (v.IsSequence()) {
    std::vector<Value> items;
    for (const Value& item : v.list().items) items.push_back(EscapedFor(in, item));
    return in.heap().Sequence(v.kind, std::move(items));
  }
  if (!v.Is(Kind::kDict)) return v;
  const Value dict = in.heap().Dict();
  for (const auto& [key, value] : v.dict().items) dict.dict().Set(key, EscapedFor(in, value));
  return dict;
}

Text EscapeHtml(const Text& text) {
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text.bytes()[i];
    const std::string_view coded = c == '&'    ? "&amp;"
                                   : c == '<'  ? "&lt;"
                                   : c == '>'  ? "&gt;"
                                   : c == '"'  ? "&#34;"
                                   : c == '\'' ? "&#39;"
                                               : "";
    if (coded.empty()) {
      out.Append(text, i, i + 1);
    } else {
      out.Append(coded, text.UntrustedAt(i));
    }
  }
  return out;
}

}  // namespace unimax::jinja
