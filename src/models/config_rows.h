// SPDX-License-Identifier: Apache-2.0
// The architectures whose configuration is read: one row each with what holds whatever file says it, and checks that
// both readers of models/config.h share. Keys of config.json that differ between families are rows of
// config_json_rows.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/activation.h"
#include "base/status.h"

namespace unimax {

// Which layers see a window only.
enum class WindowRule {
  kNone,
  kAll,
  kPeriod,  // all but every `period`-th
  kUpper,   // config.json: from layer `max_window_layers` on, where `use_sliding_window` says so; GGUF: none
};

struct ArchitectureRow {
  std::string_view name;        // ModelConfig::architecture
  std::string_view class_name;  // config.json `architectures`
  std::string_view model_type;  // config.json `model_type`
  std::string_view gguf;        // GGUF `general.architecture`; "": no such files. The first row of a name counts.
  std::string_view embedding;   // the embedding's tensor in safetensors
  Activation activation = Activation::kSilu;  // unless config.json says another
  WindowRule windows = WindowRule::kNone;
  int period = 0;              // kPeriod, unless the file says another
  bool layer_norm = false;     // GGUF: which key holds the epsilon
  bool interleaved = false;    // rotary pairs are neighbours
  bool gguf_permuted = false;  // converters permute the rows of q and k, so that pairs become neighbours
  bool multipliers = false;    // of embeddings, residuals and logits
  bool parallel = false;       // attention and feed-forward read the same stream
  bool local_rope = false;     // layers with a window have frequencies of their own
  int gguf_window = 0;         // GGUF: where the key is absent
  int gguf_narrow_layers = 0;  // GGUF: with so many layers scores are scaled by sqrt(heads / hidden), as llama.cpp does
};
inline constexpr std::string_view kHubEmbedding = "model.embed_tokens.weight";
inline constexpr ArchitectureRow kArchitectures[] = {
    {.name = "llama",
     .class_name = "LlamaForCausalLM",
     .model_type = "llama",
     .gguf = "llama",
     .embedding = kHubEmbedding,
     .gguf_permuted = true},
    {.name = "mistral",
     .class_name = "MistralForCausalLM",
     .model_type = "mistral",
     .gguf = "",
     .embedding = kHubEmbedding,
     .windows = WindowRule::kAll},
    {.name = "qwen2",
     .class_name = "Qwen2ForCausalLM",
     .model_type = "qwen2",
     .gguf = "qwen2",
     .embedding = kHubEmbedding,
     .windows = WindowRule::kUpper},
    {.name = "qwen3",
     .class_name = "Qwen3ForCausalLM",
     .model_type = "qwen3",
     .gguf = "qwen3",
     .embedding = kHubEmbedding,
     .windows = WindowRule::kUpper},
    {.name = "opt",
     .class_name = "OPTForCausalLM",
     .model_type = "opt",
     .gguf = "",
     .embedding = "model.decoder.embed_tokens.weight",
     .activation = Activation::kRelu},
    {.name = "gemma2",
     .class_name = "Gemma2ForCausalLM",
     .model_type = "gemma2",
     .gguf = "gemma2",
     .embedding = kHubEmbedding,
     .activation = Activation::kGeluTanh,
     .windows = WindowRule::kPeriod,
     .period = 2,
     .gguf_window = 4096,
     .gguf_narrow_layers = 46},
    {.name = "gemma3",
     .class_name = "Gemma3ForCausalLM",
     .model_type = "gemma3_text",
     .gguf = "gemma3",
     .embedding = kHubEmbedding,
     .activation = Activation::kGeluTanh,
     .windows = WindowRule::kPeriod,
     .period = 6,
     .local_rope = true,
     .gguf_window = 4096,
     .gguf_narrow_layers = 62},
    {.name = "phi3",
     .class_name = "Phi3ForCausalLM",
     .model_type = "phi3",
     .gguf = "phi3",
     .embedding = kHubEmbedding,
     .windows = WindowRule::kAll},
    {.name = "gpt2",
     .class_name = "GPT2LMHeadModel",
     .model_type = "gpt2",
     .gguf = "gpt2",
     .embedding = "transformer.wte.weight",
     .activation = Activation::kGeluTanh,
     .layer_norm = true},
    {.name = "gpt_neox",
     .class_name = "GPTNeoXForCausalLM",
     .model_type = "gpt_neox",
     .gguf = "gptneox",
     .embedding = "gpt_neox.embed_in.weight",
     .activation = Activation::kGelu,
     .layer_norm = true,
     .parallel = true},
    {.name = "falcon",
     .class_name = "FalconForCausalLM",
     .model_type = "falcon",
     .gguf = "falcon",
     .embedding = "transformer.word_embeddings.weight",
     .activation = Activation::kGelu,
     .layer_norm = true,
     .parallel = true},
    {.name = "olmo2",
     .class_name = "Olmo2ForCausalLM",
     .model_type = "olmo2",
     .gguf = "olmo2",
     .embedding = kHubEmbedding},
    {.name = "granite",
     .class_name = "GraniteForCausalLM",
     .model_type = "granite",
     .gguf = "granite",
     .embedding = kHubEmbedding,
     .gguf_permuted = true,
     .multipliers = true},
    {.name = "glm4",
     .class_name = "Glm4ForCausalLM",
     .model_type = "glm4",
     .gguf = "glm4",
     .embedding = kHubEmbedding,
     .interleaved = true},
};
inline constexpr std::string_view kRopeKinds = "default, linear, llama3, yarn, longrope";

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
