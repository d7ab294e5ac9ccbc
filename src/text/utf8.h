// SPDX-License-Identifier: Apache-2.0
// UTF-8 and the few character properties that tokenizers and templates ask for. Unless said otherwise the functions
// want valid UTF-8, which Sanitize makes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace unimax::utf8 {

struct Char {
  char32_t code;
  int length;  // bytes
};

// The character that starts at `text[at]`; for a broken sequence U+FFFD and the length of its maximal subpart (Unicode
// standard, section 3.9, "U+FFFD substitution of maximal subparts"). `at` is below the size.
Char AtBeyondAscii(std::string_view text, size_t at);
inline Char At(std::string_view text, size_t at) {
  const auto b = static_cast<uint8_t>(text[at]);
  return b < 0x80 ? Char{b, 1} : AtBeyondAscii(text, at);
}
void Append(std::string& out, char32_t code);
// Any bytes; each maximal broken subpart becomes one U+FFFD.
std::string Sanitize(std::string_view bytes);
bool IsValid(std::string_view bytes);
bool IsAscii(std::string_view bytes);
// How many bytes at the end are the beginning of a character that more bytes could complete (0 to 3). Any bytes.
size_t IncompleteTail(std::string_view bytes);
std::u32string Decode(std::string_view text);
std::string Encode(std::u32string_view text);
size_t Length(std::string_view text);  // in characters

bool IsWhite(char32_t c);        // property White_Space
bool IsWord(char32_t c);         // what \w means in Oniguruma and Rust: alphabetic, mark, decimal, connector, joiner
bool IsLetter(char32_t c);       // categories L*
bool IsNumeric(char32_t c);      // categories Nd, Nl, No
bool IsDecimal(char32_t c);      // category Nd
bool IsSymbol(char32_t c);       // categories S*
bool IsPunctuation(char32_t c);  // categories P*
bool IsMark(char32_t c);         // category Mn
bool IsCombining(char32_t c);    // categories M*
bool IsAssigned(char32_t c);     // not of category Cn
bool IsOther(char32_t c);        // categories C*
bool IsAlphabetic(char32_t c);   // letters, letter numbers and the circled and squared letters
void AppendLower(std::string& out, char32_t c);  // full, context-free lower case

bool IsBoundary(char32_t c);  // combines with nothing before it in any of these forms
enum class Form { kNfc, kNfd, kNfkc, kNfkd };
// Time is O(n), for long runs of combining marks too.
std::string Normalize(std::string_view text, Form form);

}  // namespace unimax::utf8
