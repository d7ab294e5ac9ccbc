// SPDX-License-Identifier: Apache-2.0
#include "text/json_fields.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

namespace unimax {
namespace {

using nlohmann::json;

constexpr size_t kMaxTypeBytes = 80;  // longer than every name

// The member, or nullptr when it is absent or null.
const json* Member(const json& spec, const char* key) {
  if (!spec.is_object()) return nullptr;
  const auto it = spec.find(key);
  return it == spec.end() || it->is_null() ? nullptr : &*it;
}

}  // namespace

int JsonDepth(std::string_view text) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

Result<std::string> TypeOf(const json& spec, std::string_view what) {
  const json* type = Member(spec, "type");
  if (type == nullptr || !type->is_string()) return BadModel("a {} of the tokenizer has no type", what);
  const auto& name = type->get_ref<const std::string&>();
  if (name.size() > kMaxTypeBytes) return BadModel("a {} of the tokenizer has a type of {} bytes", what, name.size());
  return name;
}

Result<std::string> TextAt(const json& spec, const char* key) {
  const json* value = Member(spec, key);
  if (value == nullptr || !value->is_string()) return BadModel("the tokenizer's '{}' is not a string", key);
  return value->get_ref<const std::string&>();
}

Result<std::string> TextAt(const json& spec, const char* key, std::string_view fallback) {
  return Member(spec, key) == nullptr ? Result<std::string>(std::string(fallback)) : TextAt(spec, key);
}

Result<bool> BoolAt(const json& spec, const char* key, bool fallback) {
  const json* value = Member(spec, key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return BadModel("the tokenizer's '{}' is neither true nor false", key);
  return value->get<bool>();
}

Result<int> IntAt(const json& spec, const char* key, int fallback) {
  const json* value = Member(spec, key);
  if (value == nullptr) return fallback;
  const bool fits = value->is_number_unsigned()
                        ? value->get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int>::max())
                        : value->is_number_integer() && value->get<int64_t>() >= std::numeric_limits<int>::min();
  if (!fits) return BadModel("the tokenizer's '{}' is not a whole number in range", key);
  return value->get<int>();
}

Result<const json*> ListAt(const json& spec, const char* key) {
  const json* value = Member(spec, key);
  if (value == nullptr || !value->is_array()) return BadModel("the tokenizer's '{}' is not a list", key);
  return value;
}

Status ForSequence(const json& spec, const char* key, int depth, const std::function<Status(const json&)>& append) {
  if (depth > kMaxNesting) return BadModel("the tokenizer's {} are nested too deep", key);
  UM_ASSIGN_OR_RETURN(const json* list, ListAt(spec, key));
  for (const json& item : *list) UM_RETURN_IF_ERROR(append(item));
  return {};
}

Result<Pattern> PatternAt(const json& spec) {
  const json* pattern = Member(spec, "pattern");
  if (pattern != nullptr && pattern->is_string()) return Pattern::Literal(pattern->get<std::string>());
  if (pattern != nullptr && Member(*pattern, "String") != nullptr) {
    UM_ASSIGN_OR_RETURN(std::string text, TextAt(*pattern, "String"));
    return Pattern::Literal(std::move(text));
  }
  if (pattern != nullptr && Member(*pattern, "Regex") != nullptr) {
    UM_ASSIGN_OR_RETURN(const std::string text, TextAt(*pattern, "Regex"));
    return Pattern::Regex(text);
  }
  return BadModel("a pattern of the tokenizer is neither a string nor a regular expression");
}

Result<std::string> FromBase64(std::string_view coded) {
  std::string out;
  out.reserve(coded.size() / 4 * 3);
  uint32_t bits = 0;
  int held = 0;
  for (char c : coded) {
    int v;
    if (c >= 'A' && c <= 'Z') {
      v = c - 'A';
    } else if (c >= 'a' && c <= 'z') {
      v = c - 'a' + 26;
    } else if (c >= '0' && c <= '9') {
      v = c - '0' + 52;
    } else if (c == '+') {
      v = 62;
    } else if (c == '/') {
      v = 63;
    } else if (c == '=') {
      break;
    } else {
      return BadModel("the tokenizer's charsmap is not base64");
    }
    bits = ((bits << 6) | static_cast<uint32_t>(v)) & 0xffffffu;
    held += 6;
    if (held >= 8) {
      held -= 8;
      out += static_cast<char>((bits >> held) & 0xffu);
    }
  }
  return out;
}

}  // namespace unimax
