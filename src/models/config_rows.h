// SPDX-License-Identifier: Apache-2.0
// The architectures whose configuration is read, and checks that both readers of models/config.h share.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace unimax {

struct ArchitectureRow {
  std::string_view name;        // ModelConfig::architecture
  std::string_view class_name;  // config.json `architectures`
  std::string_view model_type;  // config.json `model_type`
  std::string_view gguf;        // GGUF `general.architecture`
  std::string_view embedding;   // the embedding's tensor in safetensors
};

inline constexpr ArchitectureRow kArchitectures[] = {
    {"llama", "LlamaForCausalLM", "llama", "llama", "model.embed_tokens.weight"},
};

inline constexpr std::string_view kRopeKinds = "default, linear, llama3, yarn";

// A whole number in [min, max]; `where` is the file. Errors: kBadModel naming the key.
inline Status CheckWhole(std::string_view where, std::string_view key, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return {};
  return BadModel("{}: {} is {}, not in {} to {}", where, key, value, min, max);
}

// A finite number in (above, max].
inline Status CheckReal(std::string_view where, std::string_view key, double value, double above, double max) {
  if (std::isfinite(value) && value > above && value <= max) return {};
  return BadModel("{}: {} is {}, not above {} and at most {}", where, key, value, above, max);
}

}  // namespace unimax
