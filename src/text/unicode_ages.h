// SPDX-License-Identifier: Apache-2.0
// Unicode grows, and published tokenizers are made by programs whose tables are of different years: of the package
// `tokenizers` 0.23, expressions know Unicode 16, normal forms Unicode 9, Bert's classes Unicode 8. Ids must not depend
// on which tables the libraries of a distribution have. tests/make/unicode_ages.py makes the tables.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace unimax::utf8 {

// The version of Unicode that has the character: 8 for that and all older ones, 9, or 10 for all newer ones. That of a
// code point that no version has does not matter and is any of these.
int AgeOf(char32_t c);
// A character that every supported library knows (Unicode 14), of the same general category and as many bytes: `c`
// itself unless it came with Unicode 15 or 16.
char32_t Elder(char32_t c);
// The text with each character replaced by its Elder, so that places in both are the same; none when nothing changes.
// Valid UTF-8.
std::optional<std::string> WithElders(std::string_view text);

bool IsMark8(char32_t c);         // category Mn of Unicode 8
bool IsPunctuation8(char32_t c);  // categories P* of Unicode 8
bool IsControl8(char32_t c);      // categories Cc, Cf and Co of Unicode 8
bool IsCombining9(char32_t c);    // categories M* of Unicode 9

}  // namespace unimax::utf8
