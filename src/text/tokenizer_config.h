// SPDX-License-Identifier: Apache-2.0
// What tokenizer_config.json says beside tokenizer.json.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace unimax {

struct TokenizerConfig {
  std::optional<bool> add_bos, add_eos;  // `add_bos_token`, `add_eos_token`: for a tokenizer.model
  std::string chat_template;             // "" when there is none; of several named ones, "default"
};

// `json` may be empty: then nothing is said. Errors: kBadModel when it is not a JSON object.
Result<TokenizerConfig> ReadTokenizerConfig(std::string_view json);

}  // namespace unimax
