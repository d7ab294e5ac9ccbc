// SPDX-License-Identifier: Apache-2.0
// The pre-tokenizer UnicodeScripts: a word ends where the script (Unicode, UAX 24) of the text changes. Hiragana,
// Katakana and the sign that lengthens vowels count as Han. Spaces and characters of no script go with what stands
// before them, and are dropped where nothing does.
#pragma once

#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/pattern.h"

namespace unimax {

bool IsScript(std::string_view name);  // a script of Unicode 9
// Matches the longest runs of one script; what it leaves out has none.
Result<Pattern> ScriptRuns();
// `cutter`: of ScriptRuns. Appends the words of `text`.
void CutScripts(Cutter& cutter, std::string_view text, std::vector<Span>& spans);

}  // namespace unimax
