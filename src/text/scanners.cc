// SPDX-License-Identifier: Apache-2.0
#include "text/scanners.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "text/utf8.h"

namespace unimax {
namespace {

enum Class : uint8_t { kLetter, kNumber, kWhite, kOther };

Class ClassOf(char32_t c) {
  if (utf8::IsLetter(c)) return kLetter;
  if (utf8::IsNumeric(c)) return kNumber;
  return utf8::IsWhite(c) ? kWhite : kOther;
}

constexpr std::array<Class, 128> kAscii = [] {
  std::array<Class, 128> table{};
  for (size_t c = 0; c < table.size(); ++c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool white = (c >= 9 && c <= 13) || c == ' ';
    table[c] = letter ? kLetter : c >= '0' && c <= '9' ? kNumber : white ? kWhite : kOther;
  }
  return table;
}();

struct Seen {
  Class kind;
  size_t end;
};

Seen Look(std::string_view text, size_t at) {
  const auto byte = static_cast<uint8_t>(text[at]);
  if (byte < 0x80) return {kAscii[byte], at + 1};
  const utf8::Char c = utf8::At(text, at);
  return {ClassOf(c.code), at + static_cast<size_t>(c.length)};
}

bool Is(std::string_view text, size_t at, Class kind) { return at < text.size() && Look(text, at).kind == kind; }

// Where the run of `kind` that holds `at` ends, after at most `limit` characters.
size_t RunEnd(std::string_view text, size_t at, Class kind, size_t limit = static_cast<size_t>(-1)) {
  for (; limit > 0 && at < text.size(); --limit) {
    const Seen seen = Look(text, at);
    if (seen.kind != kind) break;
    at = seen.end;
  }
  return at;
}

bool IsNewline(char c) { return c == '\r' || c == '\n'; }

// \s+(?!\S)|\s+: white space but for its last character, unless it is alone or ends the text.
size_t WhiteEnd(std::string_view text, size_t at) {
  size_t last = at, end = at;
  while (end < text.size()) {
    const Seen seen = Look(text, end);
    if (seen.kind != kWhite) break;
    last = end;
    end = seen.end;
  }
  return end == text.size() || last == at ? end : last;
}

// The end of 's, 't, 're, 've, 'm, 'll or 'd at `at`; `at` when there is none.
size_t ContractionEnd(std::string_view text, size_t at, bool any_case) {
  const auto letter = [&](size_t i) -> char {
    if (i >= text.size()) return 0;
    if (!any_case) return text[i];
    if (text.substr(i).starts_with("\xc5\xbf")) return 's';  // the long s folds to it
    return text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] + 32) : text[i];
  };
  const char one = letter(at + 1), two = letter(at + 2);
  if (one == 's') return at + (text[at + 1] == '\xc5' ? 3 : 2);
  if (one == 't' || one == 'm' || one == 'd') return at + 2;
  const bool pair = (two == 'e' && (one == 'r' || one == 'v')) || (two == 'l' && one == 'l');
  return pair ? at + 3 : at;
}

size_t ScanGpt2(std::string_view text, size_t at) {
  if (text[at] == '\'') {
    const size_t end = ContractionEnd(text, at, false);
    if (end > at) return end;
  }
  const size_t begin = text[at] == ' ' ? at + 1 : at;
  if (begin < text.size()) {
    const Seen seen = Look(text, begin);
    if (seen.kind != kWhite) return RunEnd(text, seen.end, seen.kind);
  }
  return WhiteEnd(text, at);
}

template <size_t kDigits>
size_t ScanLlama3(std::string_view text, size_t at) {
  if (text[at] == '\'') {
    const size_t end = ContractionEnd(text, at, true);
    if (end > at) return end;
  }
  const Seen first = Look(text, at);
  if (first.kind == kLetter) return RunEnd(text, first.end, kLetter);
  if (first.kind == kNumber) return RunEnd(text, first.end, kNumber, kDigits - 1);
  if (!IsNewline(text[at]) && Is(text, first.end, kLetter)) return RunEnd(text, first.end, kLetter);
  const bool space = text[at] == ' ' && Is(text, at + 1, kOther);
  if (first.kind == kOther || space) {
    size_t end = RunEnd(text, first.end, kOther);
    while (end < text.size() && IsNewline(text[end])) ++end;
    return end;
  }
  const size_t run = RunEnd(text, first.end, kWhite);
  for (size_t end = run; end > at; --end) {
    if (IsNewline(text[end - 1])) return end;
  }
  return WhiteEnd(text, at);
}

struct Row {
  std::string_view regex;
  Scanner scan;
};
constexpr Row kRows[] = {{kGpt2Pattern, ScanGpt2}, {kLlama3Pattern, ScanLlama3<3>}, {kQwen2Pattern, ScanLlama3<1>}};

}  // namespace

Scanner FindScanner(std::string_view regex) {
  for (const Row& row : kRows) {
    if (row.regex == regex) return row.scan;
  }
  return nullptr;
}

}  // namespace unimax
