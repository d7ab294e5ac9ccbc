// SPDX-License-Identifier: Apache-2.0
// String operations that filters and methods share. All keep the origin of what they keep.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_interp.h"

namespace unimax::jinja {

Text UpperOf(const Text& text);
Text LowerOf(const Text& text);  // with the final sigma of Python
Text CapitalOf(const Text& text);
Text TitleOf(const Text& text);
Text SwapCaseOf(const Text& text);  // str.title
// Without the characters of `chars` (none: white space) at its ends.
Text StripOf(const Text& text, const std::optional<std::string>& chars, bool left, bool right);
// [begin, end) of the parts between runs of white space.
std::vector<std::pair<size_t, size_t>> WordsOf(const Text& text);
// [begin, end) of the lines as Python's splitlines cuts them, their ends included or not.
std::vector<std::pair<size_t, size_t>> LinesOf(const Text& text, bool keep_ends);
bool EndsLine(const Text& text);  // whether a line end is its last character
// `count` below 0: all.
Result<Value> ReplaceIn(Interpreter& in, const Text& text, const Text& from, const Text& to, Int count);
enum class Side { kLeft, kRight, kBoth };  // where the padding goes
Result<Value> Pad(Interpreter& in, const Text& text, Int width, const std::string& fill, Side side);
// Python's Markup, a string that is escaped already, hands that on to what its methods make of it ...
Value AsMarkup(Interpreter& in, const Value& v);  // a string, or a list or tuple of such
// ... and escapes what it is given: a string, or what stands in a container.
Value EscapedFor(Interpreter& in, const Value& v);
bool IsPythonSpace(char32_t c);
bool IsPythonWord(char32_t c);                                                 // \w of Python's expressions
Result<Value> WordWrap(Interpreter& in, const Value& self, const Args& args);  // jinja_wordwrap.cc

}  // namespace unimax::jinja
