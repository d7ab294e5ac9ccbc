// SPDX-License-Identifier: Apache-2.0
// Qwen2 and 2.5: Llama with biases on q, k, v (Yang et al. 2024, arXiv 2407.10671). Qwen3: no biases, but each head of
// q and k is normed before it is rotated (Yang et al. 2025, arXiv 2505.09388).
#include <fmt/format.h>

#include "models/layers.h"
#include "models/registry.h"

namespace unimax {
namespace {

Program Build(const ModelConfig& c, bool qkv_bias, bool out_bias, bool head_norms) {
  Builder p = Begin(c);
  const int table = p.Matrix("embedding", c.hidden, {{"model.embed_tokens.weight", c.vocab}});
  const int x = p.Embed(table);
  for (int l = 0; l < c.layers; ++l) {
    Layer layer(p, c, l, fmt::format("model.layers.{}.", l));
    const Qkv qkv = layer.SplitQkv(layer.RmsNorm(x, "input_layernorm"), qkv_bias);
    if (head_norms) {
      layer.NormHeads(qkv.q, "self_attn.q_norm");
      layer.NormHeads(qkv.k, "self_attn.k_norm");
    }
    p.AddTo(x, layer.Attend(qkv, "self_attn.o_proj", out_bias));
    p.AddTo(x, layer.GatedMlp(layer.RmsNorm(x, "post_attention_layernorm")));
  }
  return Finish(p, c, LastNorm(p, c, x, "model.norm"), table);
}

}  // namespace

Program BuildQwen2(const ModelConfig& c) { return Build(c, true, false, false); }
Program BuildQwen3(const ModelConfig& c) { return Build(c, c.attention_bias, c.attention_bias, true); }

}  // namespace unimax
