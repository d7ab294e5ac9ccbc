// SPDX-License-Identifier: Apache-2.0
// What a model is, independent of the file it came from. Filled by models/config_*.cc from config.json or from GGUF
// metadata and checked there once: every later reader may trust the invariants written beside the fields.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/activation.h"

namespace unimax {

enum class RopeKind { kDefault, kLinear, kLlama3, kYarn, kLong };

struct RopeConfig {
  RopeKind kind = RopeKind::kDefault;
  double theta = 10000.0;            // base of the geometric frequencies
  int rotary = 0;                    // the first elements of a head that turn: even, at most head_dim
  double factor = 1.0;               // linear, llama3, yarn: how much longer the context became
  double low_freq_factor = 1.0;      // llama3
  double high_freq_factor = 4.0;     // llama3
  int original_context = 0;          // llama3, yarn, long: tokens the model was first trained for
  double beta_fast = 32.0;           // yarn
  double beta_slow = 1.0;            // yarn
  double attention_factor = 0.0;     // yarn, long: 0 means "derive from factor"
  std::vector<float> divisors;       // one divisor a pair; empty means none (GGUF `rope_freqs`; long: short sequences)
  std::vector<float> long_divisors;  // long: of sequences that outgrow original_context
  bool interleaved = false;          // pairs are (2i, 2i+1) instead of (i, i + rotary/2)
};

struct ModelConfig {
  std::string architecture;  // "qwen3": chooses the row in models/registry.cc
  int layers = 0;            // > 0
  int hidden = 0;            // width of the residual stream, > 0
  int heads = 0;             // query heads, > 0
  int kv_heads = 0;          // divides heads
  int head_dim = 0;          // even, > 0; heads * head_dim may differ from hidden
  int intermediate = 0;      // width of the feed-forward product, > 0
  int vocab = 0;             // rows of the embedding, > 0
  int context = 0;           // largest position + 1 the model was made for, > 0
  float norm_eps = 1e-5f;
  float norm_offset = 0;                      // added to the weights of norms, where the file holds w - 1
  Activation activation = Activation::kSilu;  // of the feed-forward
  bool tied_embeddings = false;               // the head uses the embedding's rows
  bool attention_bias = false;                // q, k, v carry a bias where the family leaves the choice; often o, too
  bool mlp_bias = false;
  float attention_scale = 0;  // factor on q k^T; 0: 1 / sqrt(head_dim)
  float embedding_scale = 1;
  float residual_scale = 1;  // of what a layer adds to the stream
  float logit_scale = 1;
  float attention_cap = 0, logit_cap = 0;  // y becomes cap * tanh(y / cap); 0: none
  std::vector<int> windows;                // of each layer: positions that a query sees, 0: all. Empty: all see all
  int embedding_width = 0;                 // of a table that is projected to `hidden`; 0: hidden
  bool norm_first = true;                  // norms stand before attention and feed-forward, not behind the sums
  bool parallel_residual = false;          // attention and feed-forward read the same stream
  bool qkv_by_head = false;                // rows of a fused q, k, v alternate: those of a key head stand together
  bool transposed_linear = false;          // matrices lie as [inputs, outputs] in the file
  RopeConfig rope;
  std::optional<RopeConfig> window_rope;  // of layers with a window, where it is another
  int bos_id = -1;                        // -1: none
  std::vector<int> eos_ids;               // generation ends at any of these
};

}  // namespace unimax
