// SPDX-License-Identifier: Apache-2.0
// What tokenizer_config.json and generation_config.json say beside the tokenizer, and tokenizers from files of any
// kind.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "text/tokenizer.h"

namespace unimax {

struct TokenizerConfig {
  std::optional<bool> add_bos, add_eos;  // `add_bos_token`, `add_eos_token`: for a tokenizer.model
  std::string chat_template;             // "" when there is none; of several named ones, "default"
  std::string bos_token, eos_token;      // their text; "" when not said
};

// How the model's authors would draw tokens; what is absent was not said.
struct SamplingDefaults {
  std::optional<bool> sample;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int> top_k, max_new_tokens;
};

// `json` may be empty: then nothing is said. Errors: kBadModel when it is not a JSON object.
Result<TokenizerConfig> ReadTokenizerConfig(std::string_view json);
// As above, for generation_config.json. Errors: kBadModel that names the key whose value cannot be meant.
Result<SamplingDefaults> ReadSamplingDefaults(std::string_view json);

// The tokenizer in a file's bytes, told by the content: a Hugging Face tokenizer.json, or a SentencePiece
// tokenizer.model, for which `config` says what is added. `name` is for errors: kBadModel.
Result<std::unique_ptr<Tokenizer>> TokenizerFromFile(std::string_view bytes, const std::string& name,
                                                     const TokenizerConfig& config);

}  // namespace unimax
