// SPDX-License-Identifier: Apache-2.0
// What a model is, independent of the file it came from. Filled by models/config_*.cc from config.json or from GGUF
// metadata and checked there once: every later reader may trust the invariants written beside the fields.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace unimax {

enum class RopeKind { kDefault, kLinear, kLlama3, kYarn };

struct RopeConfig {
  RopeKind kind = RopeKind::kDefault;
  double theta = 10000.0;         // base of the geometric frequencies
  double factor = 1.0;            // linear, llama3, yarn: how much longer the context became
  double low_freq_factor = 1.0;   // llama3
  double high_freq_factor = 4.0;  // llama3
  int original_context = 0;       // llama3, yarn: tokens the model was first trained for
  double beta_fast = 32.0;        // yarn
  double beta_slow = 1.0;         // yarn
  double attention_factor = 0.0;  // yarn: 0 means "derive from factor"
  std::vector<float> divisors;    // GGUF `rope_freqs`: one divisor a pair; empty means none
  bool interleaved = false;       // pairs are (2i, 2i+1) instead of (i, i + head_dim/2)
};

struct ModelConfig {
  std::string architecture;  // "llama": chooses the row in models/registry.cc
  int layers = 0;            // > 0
  int hidden = 0;            // width of the residual stream, > 0
  int heads = 0;             // query heads, > 0
  int kv_heads = 0;          // divides heads
  int head_dim = 0;          // even, > 0; heads * head_dim may differ from hidden
  int intermediate = 0;      // width of the feed-forward product, > 0
  int vocab = 0;             // rows of the embedding, > 0
  int context = 0;           // largest position + 1 the model was made for, > 0
  float norm_eps = 1e-5f;
  bool tied_embeddings = false;  // the head uses the embedding's rows
  bool attention_bias = false;   // q, k, v, o carry a bias
  bool mlp_bias = false;
  RopeConfig rope;
  int bos_id = -1;           // -1: none
  std::vector<int> eos_ids;  // generation ends at any of these
};

}  // namespace unimax
