// SPDX-License-Identifier: Apache-2.0
#include "text/utf8.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <span>

#include "text/unicode_ages.h"

namespace unimax::utf8 {
namespace {

uint8_t Byte(std::string_view text, size_t i) { return static_cast<uint8_t>(text[i]); }

// The bytes that may follow a lead byte differ for the second place only (Unicode standard, table 3-7).
struct Lead {
  int length;
  uint8_t low, high;  // range of the second byte
};

Lead LeadOf(uint8_t b) {
  if (b < 0x80) return {1, 0, 0};
  if (b < 0xc2) return {0, 0, 0};
  if (b < 0xe0) return {2, 0x80, 0xbf};
  if (b == 0xe0) return {3, 0xa0, 0xbf};
  if (b == 0xed) return {3, 0x80, 0x9f};
  if (b < 0xf0) return {3, 0x80, 0xbf};
  if (b == 0xf0) return {4, 0x90, 0xbf};
  if (b < 0xf4) return {4, 0x80, 0xbf};
  if (b == 0xf4) return {4, 0x80, 0x8f};
  return {0, 0, 0};
}

// How many bytes from `at` fit the beginning of a character with lead `l` (at least 1).
int Fitting(std::string_view text, size_t at, const Lead& l) {
  int n = 1;
  while (n < l.length && at + static_cast<size_t>(n) < text.size()) {
    const uint8_t b = Byte(text, at + static_cast<size_t>(n));
    const bool fits = n == 1 ? (b >= l.low && b <= l.high) : (b & 0xc0) == 0x80;
    if (!fits) break;
    ++n;
  }
  return n;
}

utf8proc_category_t Category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(Elder(c))); }

}  // namespace

Char AtBeyondAscii(std::string_view text, size_t at) {
  const uint8_t b = Byte(text, at);
  const size_t room = text.size() - at;
  // Most text first; the other lead bytes bound the second byte, or begin four, or nothing.
  if (b >= 0xc2 && b < 0xe0 && room >= 2) {
    const uint8_t low = Byte(text, at + 1);
    if ((low & 0xc0) == 0x80) return {(b & 0x1fu) << 6 | (low & 0x3fu), 2};
  }
  if (b > 0xe0 && b < 0xed && room >= 3) {
    const uint8_t middle = Byte(text, at + 1), low = Byte(text, at + 2);
    if ((middle & 0xc0) == 0x80 && (low & 0xc0) == 0x80) {
      return {(b & 0xfu) << 12 | (middle & 0x3fu) << 6 | (low & 0x3fu), 3};
    }
  }
  const Lead l = LeadOf(b);
  if (l.length == 0) return {0xfffd, 1};
  const int n = Fitting(text, at, l);
  if (n < l.length) return {0xfffd, n};
  char32_t c = b & (0xffu >> (l.length + 1));
  for (int i = 1; i < n; ++i) c = (c << 6) | (Byte(text, at + static_cast<size_t>(i)) & 0x3fu);
  return {c, n};
}

void Append(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xc0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xe0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | (c >> 18));
    out += static_cast<char>(0x80 | ((c >> 12) & 0x3f));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  }
}

bool IsAscii(std::string_view bytes) {
  size_t i = 0;
  uint64_t high = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    high |= word;
  }
  for (; i < bytes.size(); ++i) high |= Byte(bytes, i);
  return (high & 0x8080808080808080u) == 0;
}

bool IsValid(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size();) {
    uint64_t word = ~uint64_t{0};
    if (i + 8 <= bytes.size()) std::memcpy(&word, bytes.data() + i, 8);
    if ((word & 0x8080808080808080u) == 0) {
      i += 8;
      continue;
    }
    const Lead l = LeadOf(Byte(bytes, i));
    if (l.length == 0 || (l.length > 1 && Fitting(bytes, i, l) < l.length)) return false;
    i += static_cast<size_t>(l.length);
  }
  return true;
}

std::string Sanitize(std::string_view bytes) {
  if (IsValid(bytes)) return std::string(bytes);
  std::string out;
  for (size_t i = 0; i < bytes.size();) {
    const Char c = At(bytes, i);
    Append(out, c.code);
    i += static_cast<size_t>(c.length);
  }
  return out;
}

size_t IncompleteTail(std::string_view bytes) {
  for (size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const size_t at = bytes.size() - back;
    const Lead l = LeadOf(Byte(bytes, at));
    if (l.length > 1) {
      const bool open = static_cast<size_t>(l.length) > back && static_cast<size_t>(Fitting(bytes, at, l)) == back;
      return open ? back : 0;
    }
    if ((Byte(bytes, at) & 0xc0) != 0x80) return 0;
  }
  return 0;
}

std::u32string Decode(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Char c = At(text, i);
    out += c.code;
    i += static_cast<size_t>(c.length);
  }
  return out;
}

std::string Encode(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (char32_t c : text) Append(out, c);
  return out;
}

size_t Length(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char b) { return (static_cast<uint8_t>(b) & 0xc0) != 0x80; }));
}

bool IsWhite(char32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
         c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool IsLetter(char32_t c) {
  const int g = Category(c);
  return g >= UTF8PROC_CATEGORY_LU && g <= UTF8PROC_CATEGORY_LO;
}

bool IsAlphabetic(char32_t c) {
  const int g = Category(c);
  if (g >= UTF8PROC_CATEGORY_LU && g <= UTF8PROC_CATEGORY_LO) return true;
  if (g == UTF8PROC_CATEGORY_NL) return true;
  return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
         (c >= 0x1f170 && c <= 0x1f189);
}

bool IsWord(char32_t c) {
  const int g = Category(c);
  return IsAlphabetic(c) || IsCombining(c) || g == UTF8PROC_CATEGORY_ND || g == UTF8PROC_CATEGORY_PC || c == 0x200c ||
         c == 0x200d;
}

bool IsNumeric(char32_t c) {
  const int g = Category(c);
  return g >= UTF8PROC_CATEGORY_ND && g <= UTF8PROC_CATEGORY_NO;
}

bool IsDecimal(char32_t c) { return Category(c) == UTF8PROC_CATEGORY_ND; }

bool IsSymbol(char32_t c) {
  const int g = Category(c);
  return g >= UTF8PROC_CATEGORY_SM && g <= UTF8PROC_CATEGORY_SO;
}

bool IsPunctuation(char32_t c) {
  const int g = Category(c);
  return g >= UTF8PROC_CATEGORY_PC && g <= UTF8PROC_CATEGORY_PO;
}

bool IsMark(char32_t c) { return Category(c) == UTF8PROC_CATEGORY_MN; }

bool IsCombining(char32_t c) {
  const int g = Category(c);
  return g >= UTF8PROC_CATEGORY_MN && g <= UTF8PROC_CATEGORY_ME;
}

bool IsAssigned(char32_t c) { return Category(c) != UTF8PROC_CATEGORY_CN; }

bool IsOther(char32_t c) {
  const int g = Category(c);
  return g == UTF8PROC_CATEGORY_CN || g >= UTF8PROC_CATEGORY_CC;
}

namespace {

// Capital letters of Unicode 16 and 17, and what is added to get the small one.
struct Capitals {
  char32_t first, last;
  int add;
};
constexpr Capitals kCapitals[] = {{0x1c89, 0x1c89, 1},    {0xa7cb, 0xa7cb, 0x264 - 0xa7cb},
                                  {0xa7cc, 0xa7cc, 1},    {0xa7ce, 0xa7ce, 1},
                                  {0xa7d2, 0xa7d2, 1},    {0xa7d4, 0xa7d4, 1},
                                  {0xa7da, 0xa7da, 1},    {0xa7dc, 0xa7dc, 0x19b - 0xa7dc},
                                  {0x10d50, 0x10d65, 32}, {0x16ea0, 0x16eb8, 0x1b}};

}  // namespace

void AppendLower(std::string& out, char32_t c) {
  if (c == 0x130) {  // the only character whose lower case is two characters
    out += "i\xcc\x87";
    return;
  }
  for (const Capitals& row : kCapitals) {
    if (c < row.first) break;
    if (c <= row.last) return Append(out, static_cast<char32_t>(static_cast<int>(c) + row.add));
  }
  Append(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
}

namespace {

// The normal forms are those of Unicode 9: younger characters stay as they are and where they are.
bool IsInert(char32_t c) { return AgeOf(c) > 9; }

}  // namespace

// Only marks and the vowels and final consonants of Hangul can be joined to what stands before them.
bool IsBoundary(char32_t c) {
  return IsInert(c) || (!IsCombining(c) && !(c >= 0x1160 && c <= 0x11ff) &&
                        utf8proc_get_property(static_cast<int32_t>(c))->combining_class == 0);
}

namespace {

// Where the ASCII characters from `at` on end.
size_t AsciiEnd(std::string_view text, size_t at) {
  for (; at + 8 <= text.size() && IsAscii(text.substr(at, 8)); at += 8) {
  }
  while (at < text.size() && Byte(text, at) < 0x80) ++at;
  return at;
}

utf8proc_propval_t ClassOf(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

// Sorts many marks by class: there are few classes, so each mark's place is counted.
void SortMany(std::span<utf8proc_int32_t> marks) {
  std::array<size_t, 256> places{};
  for (const auto mark : marks) ++places[static_cast<uint8_t>(ClassOf(mark))];
  std::exclusive_scan(places.begin(), places.end(), places.begin(), size_t{0});
  const std::vector<utf8proc_int32_t> old(marks.begin(), marks.end());
  for (const auto mark : old) marks[places[static_cast<uint8_t>(ClassOf(mark))]++] = mark;
}

// Characters are decomposed one by one and the marks sorted here: the library's own sort is quadratic in their number.
void SortMarks(std::span<utf8proc_int32_t> codes) {
  constexpr size_t kFew = 32;  // up to here moving one mark after the other is faster
  for (size_t i = 0; i < codes.size();) {
    size_t end = i;
    while (end < codes.size() && ClassOf(codes[end]) != 0) ++end;
    if (end - i > kFew) {
      SortMany(codes.subspan(i, end - i));
    } else {
      for (size_t at = i + 1; at < end; ++at) {
        const auto code = codes[at];
        size_t to = at;
        for (; to > i && ClassOf(code) < ClassOf(codes[to - 1]); --to) codes[to] = codes[to - 1];
        codes[to] = code;
      }
    }
    i = end + 1;
  }
}

// Sorts the marks of decomposed characters, joins what can be joined, and appends all.
void Finish(bool compose, std::vector<utf8proc_int32_t>& codes, std::string& out) {
  SortMarks(codes);
  if (compose) {
    const auto n = utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
                                            static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    if (n >= 0) codes.resize(static_cast<size_t>(n));
  }
  for (auto c : codes) Append(out, static_cast<char32_t>(c));
  codes.clear();
}

void NormalizeRun(std::string_view text, Form form, std::vector<utf8proc_int32_t>& codes, std::string& out) {
  const bool compose = form == Form::kNfc || form == Form::kNfkc;
  const bool compat = form == Form::kNfkc || form == Form::kNfkd;
  const auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0));
  codes.clear();
  for (size_t i = 0; i < text.size();) {
    const Char c = At(text, i);
    i += static_cast<size_t>(c.length);
    if (IsInert(c.code)) {
      Finish(compose, codes, out);
      Append(out, c.code);
      continue;
    }
    utf8proc_int32_t parts[32];
    int boundary = 0;
    const auto code = static_cast<utf8proc_int32_t>(c.code);
    const bool hangul = c.code >= 0xac00 && c.code < 0xd7a4;  // made of parts by a rule, not by the table
    const bool whole = !hangul && utf8proc_get_property(code)->decomp_seqindex == UINT16_MAX;
    const auto n = whole ? 0 : utf8proc_decompose_char(code, parts, 32, options, &boundary);
    if (n > 0 && n <= 32) {
      codes.insert(codes.end(), parts, parts + n);
    } else {
      codes.push_back(code);
    }
  }
  Finish(compose, codes, out);
}

}  // namespace

// ASCII stays as it is, and only the last character before another one can be joined with what follows.
std::string Normalize(std::string_view text, Form form) {
  std::string out;
  out.reserve(text.size());
  constexpr size_t kLongRun = 1024;  // a run may go on through a little ASCII, but not past the nearest cache
  std::vector<utf8proc_int32_t> codes;
  for (size_t at = 0; at < text.size();) {
    size_t end = AsciiEnd(text, at);
    if (end < text.size() && end > at) --end;
    out += text.substr(at, end - at);
    if (end == text.size()) break;
    at = end++;
    while (end < text.size()) {
      if (Byte(text, end) >= 0x80) {
        ++end;
        continue;
      }
      const size_t ascii = AsciiEnd(text, end);
      if (ascii - end >= 8 || ascii == text.size() || end - at > kLongRun) break;
      end = ascii;
    }
    NormalizeRun(text.substr(at, end - at), form, codes, out);
    at = end;
  }
  return out;
}

}  // namespace unimax::utf8
