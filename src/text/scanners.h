// SPDX-License-Identifier: Apache-2.0
// Hand-written equals of the regular expressions that most byte-level tokenizers use. Each of those matches at every
// place of a text, so it is a function from a place to the end of its match. The slow twin is the expression itself.
#pragma once

#include <cstddef>
#include <string_view>

namespace unimax {

// The end of the match at `at`, which is more than `at` and below the size. `text` is valid UTF-8.
using Scanner = size_t (*)(std::string_view text, size_t at);

// nullptr: there is none for this expression.
Scanner FindScanner(std::string_view regex);

// The patterns of the published tokenizers of these models.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kQwen2Pattern = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
                                                  R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

}  // namespace unimax
