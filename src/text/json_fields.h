// SPDX-License-Identifier: Apache-2.0
// Reads members of tokenizer.json objects; a missing or wrong one is a kBadModel that names it.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/status.h"
#include "text/pattern.h"

namespace unimax {

inline constexpr int kMaxNesting = 64;  // of sequences within sequences

// The deepest nesting of brackets outside strings: the parser of the JSON library has no limit of its own.
int JsonDepth(std::string_view text);
// The member "type" of `spec`, an object; `what` is named in the error.
Result<std::string> TypeOf(const nlohmann::json& spec, std::string_view what);
Result<std::string> TextAt(const nlohmann::json& spec, const char* key);
Result<std::string> TextAt(const nlohmann::json& spec, const char* key, std::string_view fallback);  // absent or null
Result<bool> BoolAt(const nlohmann::json& spec, const char* key, bool fallback);
Result<int> IntAt(const nlohmann::json& spec, const char* key, int fallback);
Result<const nlohmann::json*> ListAt(const nlohmann::json& spec, const char* key);
// Calls `append` with each member of the list `key` of a Sequence at nesting `depth`; stops at the first error.
Status ForSequence(const nlohmann::json& spec, const char* key, int depth,
                   const std::function<Status(const nlohmann::json&)>& append);
Result<Pattern> PatternAt(const nlohmann::json& spec);  // member "pattern": {"String": ..} or {"Regex": ..}
Result<std::string> FromBase64(std::string_view coded);

}  // namespace unimax
