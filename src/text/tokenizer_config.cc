// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "text/json_fields.h"

namespace unimax {
namespace {

using nlohmann::json;

Result<json> ParseObject(std::string_view text, std::string_view name) {
  if (JsonDepth(text) > kMaxNesting) return BadModel("{} is nested deeper than {}", name, kMaxNesting);
  json root = json::parse(text, nullptr, false);
  if (!root.is_object()) return BadModel("{} is not a JSON object", name);
  return root;
}

// A token as text: "<s>", or an object with the member content.
std::string TokenAt(const json& root, const char* key) {
  const auto found = root.find(key);
  if (found == root.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_object()) return "";
  const auto content = found->find("content");
  return content != found->end() && content->is_string() ? content->get<std::string>() : "";
}

// A number from `low` to `high`; absent or null: nothing.
Status NumberAt(const json& root, const char* key, double low, double high, std::optional<double>* out) {
  const auto found = root.find(key);
  if (found == root.end() || found->is_null()) return {};
  const double value = found->is_number() ? found->get<double>() : std::nan("");
  if (!(value >= low && value <= high))
    return BadModel("generation_config.json: {} is {}, not a number from {} to {}", key,
                    found->is_number() ? found->dump() : found->type_name(), low, high);
  *out = value;
  return {};
}

Status WholeAt(const json& root, const char* key, int high, std::optional<int>* out) {
  std::optional<double> value;
  UM_RETURN_IF_ERROR(NumberAt(root, key, -1, high, &value));
  if (!value) return {};
  if (*value != std::floor(*value))
    return BadModel("generation_config.json: {} is {}, not a whole number", key, *value);
  *out = static_cast<int>(*value);
  return {};
}

}  // namespace

Result<TokenizerConfig> ReadTokenizerConfig(std::string_view text) {
  TokenizerConfig config;
  if (text.empty()) return config;
  UM_ASSIGN_OR_RETURN(const json root, ParseObject(text, "tokenizer_config.json"));
  config.bos_token = TokenAt(root, "bos_token");
  config.eos_token = TokenAt(root, "eos_token");
  for (const auto& [key, field] : {std::pair{"add_bos_token", &config.add_bos}, {"add_eos_token", &config.add_eos}}) {
    const auto flag = root.find(key);
    if (flag != root.end() && flag->is_boolean()) *field = flag->get<bool>();
  }
  const auto found = root.find("chat_template");
  if (found == root.end()) return config;
  if (found->is_string()) config.chat_template = found->get<std::string>();
  if (!found->is_array()) return config;
  for (const json& entry : *found) {
    if (!entry.is_object()) return BadModel("tokenizer_config.json: an entry of chat_template is not an object");
    if (TokenAt(entry, "name") == "default") config.chat_template = TokenAt(entry, "template");
  }
  return config;
}

Result<SamplingDefaults> ReadSamplingDefaults(std::string_view text) {
  SamplingDefaults defaults;
  if (text.empty()) return defaults;
  UM_ASSIGN_OR_RETURN(const json root, ParseObject(text, "generation_config.json"));
  if (const auto sample = root.find("do_sample"); sample != root.end() && !sample->is_null()) {
    if (!sample->is_boolean()) return BadModel("generation_config.json: do_sample is not true or false");
    defaults.sample = sample->get<bool>();
  }
  UM_RETURN_IF_ERROR(NumberAt(root, "temperature", 0, 100, &defaults.temperature));
  UM_RETURN_IF_ERROR(NumberAt(root, "top_p", 0, 1, &defaults.top_p));
  UM_RETURN_IF_ERROR(NumberAt(root, "min_p", 0, 1, &defaults.min_p));
  UM_RETURN_IF_ERROR(NumberAt(root, "repetition_penalty", 0, 100, &defaults.repetition_penalty));
  UM_RETURN_IF_ERROR(WholeAt(root, "top_k", 1 << 30, &defaults.top_k));
  UM_RETURN_IF_ERROR(WholeAt(root, "max_new_tokens", 1 << 30, &defaults.max_new_tokens));
  return defaults;
}

Result<std::unique_ptr<Tokenizer>> TokenizerFromFile(std::string_view bytes, const std::string& name,
                                                     const TokenizerConfig& config) {
  const size_t first = bytes.find_first_not_of(" \t\r\n");
  const bool is_json = first != std::string_view::npos && bytes[first] == '{';
  SentencePieceOptions options;
  options.add_bos = config.add_bos.value_or(options.add_bos);
  options.add_eos = config.add_eos.value_or(options.add_eos);
  const bool json_wanted = name.ends_with(".json");  // then the error speaks of JSON
  auto tokenizer = is_json || json_wanted ? Tokenizer::FromJson(bytes) : Tokenizer::FromSentencePiece(bytes, options);
  if (!tokenizer.ok()) return tokenizer.status().At(name);
  return tokenizer;
}

}  // namespace unimax
