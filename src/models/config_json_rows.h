// SPDX-License-Identifier: Apache-2.0
// How config.json of each family is spelt, with the defaults of its configuration class in huggingface/transformers.
// Only what differs from the first struct is written in a row.
#pragma once

#include <span>
#include <string_view>

#include "base/model_config.h"

namespace unimax {

struct JsonKeys {
  const char* hidden = "hidden_size";
  const char* layers = "num_hidden_layers";
  const char* heads = "num_attention_heads";
  const char* kv_heads = "num_key_value_heads";  // null: as many as heads
  const char* one_kv_head = nullptr;             // a flag: one for all heads; true unless said
  const char* intermediate = "intermediate_size";
  const char* context = "max_position_embeddings";
  const char* eps = "rms_norm_eps";  // null: the fallback holds
  const char* activation = "hidden_act";
  const char* rotary = nullptr;  // share of a head that turns; null: any other than 1 is refused
  const char* theta = "rope_theta";
  const char* local_theta = nullptr;  // of layers with a window
};

struct JsonReal {
  enum Use { kAsIs, kInverse, kInverseRoot };
  const char* key;
  float ModelConfig::*field;
  Use use = kAsIs;
  double fallback = 0;  // where the key is absent (null is not); 0: the field stays
};
struct JsonFlag {
  const char* key;
  bool ModelConfig::*field;
  bool fallback;
};
// A flag that this family's program takes for granted.
struct JsonFixed {
  const char* key;
  bool value;
};

struct JsonFamily {
  std::string_view architecture;
  JsonKeys keys = {};
  double eps = 1e-6;
  int kv_heads = 0;                // where the key is absent; 0: as many as heads
  int head_dim = 0;                // where the key is absent; 0: hidden / heads
  int intermediate_of_hidden = 0;  // where the key is absent: so many times hidden; 0: the key is needed
  int window = 0;                  // where the key is absent
  double rotary = 1, theta = 10000;
  bool rope = true, tied = false;
  bool qkv_by_head = false, transposed_linear = false, parallel_residual = false;
  float norm_offset = 0;
  const char* embedding_width = nullptr;
  std::span<const JsonReal> reals = {};
  std::span<const JsonFlag> flags = {};
  std::span<const JsonFixed> fixed = {};
};

inline constexpr JsonFlag kLlamaFlags[] = {{"attention_bias", &ModelConfig::attention_bias, false},
                                           {"mlp_bias", &ModelConfig::mlp_bias, false}};
inline constexpr JsonFlag kBiasFlag[] = {{"attention_bias", &ModelConfig::attention_bias, false}};
inline constexpr JsonFlag kNeoxFlags[] = {{"attention_bias", &ModelConfig::attention_bias, true},
                                          {"use_parallel_residual", &ModelConfig::parallel_residual, true}};
inline constexpr JsonFlag kOptFlags[] = {{"do_layer_norm_before", &ModelConfig::norm_first, true}};
inline constexpr JsonReal kGraniteReals[] = {
    {"attention_multiplier", &ModelConfig::attention_scale, JsonReal::kAsIs, 1.0},
    {"embedding_multiplier", &ModelConfig::embedding_scale},
    {"residual_multiplier", &ModelConfig::residual_scale},
    {"logits_scaling", &ModelConfig::logit_scale, JsonReal::kInverse}};
inline constexpr JsonReal kGemma2Reals[] = {
    {"query_pre_attn_scalar", &ModelConfig::attention_scale, JsonReal::kInverseRoot, 256},
    {"attn_logit_softcapping", &ModelConfig::attention_cap, JsonReal::kAsIs, 50},
    {"final_logit_softcapping", &ModelConfig::logit_cap, JsonReal::kAsIs, 30}};
inline constexpr JsonReal kGemma3Reals[] = {
    {"query_pre_attn_scalar", &ModelConfig::attention_scale, JsonReal::kInverseRoot, 256},
    {"attn_logit_softcapping", &ModelConfig::attention_cap},
    {"final_logit_softcapping", &ModelConfig::logit_cap}};
inline constexpr JsonFixed kGemmaFixed[] = {{"use_bidirectional_attention", false}};
inline constexpr JsonFixed kGpt2Fixed[] = {
    {"scale_attn_weights", true}, {"scale_attn_by_inverse_layer_idx", false}, {"add_cross_attention", false}};
inline constexpr JsonFixed kOptFixed[] = {
    {"enable_bias", true}, {"layer_norm_elementwise_affine", true}, {"_remove_final_layer_norm", false}};
inline constexpr JsonFixed kFalconFixed[] = {
    {"alibi", false}, {"new_decoder_architecture", false}, {"parallel_attn", true}, {"bias", false}};

inline constexpr JsonFamily kJsonFamilies[] = {
    {.architecture = "llama", .flags = kLlamaFlags},
    {.architecture = "mistral", .kv_heads = 8, .window = 4096},
    {.architecture = "qwen2", .kv_heads = 32, .window = 4096},
    {.architecture = "qwen3", .kv_heads = 32, .head_dim = 128, .window = 4096, .flags = kBiasFlag},
    {.architecture = "opt",
     .keys = {.kv_heads = nullptr, .intermediate = "ffn_dim", .eps = nullptr, .activation = "activation_function"},
     .eps = 1e-5,
     .rope = false,
     .tied = true,
     .embedding_width = "word_embed_proj_dim",
     .flags = kOptFlags,
     .fixed = kOptFixed},
    {.architecture = "gemma2",
     .keys = {.activation = "hidden_activation"},
     .kv_heads = 4,
     .head_dim = 256,
     .window = 4096,
     .tied = true,
     .norm_offset = 1,
     .reals = kGemma2Reals,
     .flags = kBiasFlag,
     .fixed = kGemmaFixed},
    {.architecture = "gemma3",
     .keys = {.activation = "hidden_activation", .local_theta = "rope_local_base_freq"},
     .kv_heads = 4,
     .head_dim = 256,
     .window = 4096,
     .theta = 1e6,
     .tied = true,
     .norm_offset = 1,
     .reals = kGemma3Reals,
     .flags = kBiasFlag,
     .fixed = kGemmaFixed},
    {.architecture = "phi3", .keys = {.rotary = "partial_rotary_factor"}, .eps = 1e-5},
    {.architecture = "gpt2",
     .keys = {.hidden = "n_embd",
              .layers = "n_layer",
              .heads = "n_head",
              .kv_heads = nullptr,
              .intermediate = "n_inner",
              .context = "n_positions",
              .eps = "layer_norm_epsilon",
              .activation = "activation_function"},
     .eps = 1e-5,
     .intermediate_of_hidden = 4,
     .rope = false,
     .tied = true,
     .transposed_linear = true,
     .fixed = kGpt2Fixed},
    {.architecture = "gpt_neox",
     .keys = {.kv_heads = nullptr, .eps = "layer_norm_eps", .rotary = "rotary_pct", .theta = "rotary_emb_base"},
     .eps = 1e-5,
     .rotary = 0.25,
     .qkv_by_head = true,
     .flags = kNeoxFlags},
    {.architecture = "falcon",
     .keys = {.kv_heads = nullptr,
              .one_kv_head = "multi_query",
              .intermediate = "ffn_hidden_size",
              .eps = "layer_norm_epsilon",
              .activation = "activation"},
     .eps = 1e-5,
     .intermediate_of_hidden = 4,
     .tied = true,
     .qkv_by_head = true,
     .parallel_residual = true,
     .fixed = kFalconFixed},
    {.architecture = "olmo2", .eps = 1e-5, .flags = kBiasFlag},
    {.architecture = "granite", .reals = kGraniteReals, .flags = kLlamaFlags},
    {.architecture = "glm4",
     .keys = {.rotary = "partial_rotary_factor"},
     .eps = 1.5625e-7,
     .kv_heads = 2,
     .head_dim = 128,
     .rotary = 0.5,
     .flags = kBiasFlag},
};

}  // namespace unimax
