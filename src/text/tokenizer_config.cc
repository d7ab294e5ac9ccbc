// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_config.h"

#include <nlohmann/json.hpp>

namespace unimax {

Result<TokenizerConfig> ReadTokenizerConfig(std::string_view json) {
  TokenizerConfig config;
  if (json.empty()) return config;
  const nlohmann::json root = nlohmann::json::parse(json, nullptr, false);
  if (!root.is_object()) return BadModel("tokenizer_config.json is not a JSON object");
  for (const auto& [key, field] : {std::pair{"add_bos_token", &config.add_bos}, {"add_eos_token", &config.add_eos}}) {
    const auto flag = root.find(key);
    if (flag != root.end() && flag->is_boolean()) *field = flag->get<bool>();
  }
  const auto found = root.find("chat_template");
  if (found == root.end()) return config;
  if (found->is_string()) config.chat_template = found->get<std::string>();
  if (!found->is_array()) return config;
  for (const nlohmann::json& entry : *found) {
    const auto name = entry.find("name"), text = entry.find("template");
    if (name != entry.end() && *name == "default" && text != entry.end() && text->is_string()) {
      config.chat_template = text->get<std::string>();
    }
  }
  return config;
}

}  // namespace unimax
