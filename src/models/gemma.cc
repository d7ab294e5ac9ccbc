// SPDX-License-Identifier: Apache-2.0
// Gemma 2 (Gemma Team 2024, arXiv 2408.00118): norms before and behind attention and feed-forward, capped scores and
// logits, every other layer sees a window. Gemma 3 (2025, arXiv 2503.19786): norms of q and k instead of caps, local
// layers with rotary frequencies of their own.
#include <fmt/format.h>

#include <cmath>

#include "models/layers.h"
#include "models/registry.h"

namespace unimax {
namespace {

Program Build(const ModelConfig& c, bool head_norms) {
  const float offset = c.norm_offset;
  Builder p = Begin(c);
  const int table = p.Matrix("embedding", c.hidden, {{"model.embed_tokens.weight", c.vocab}});
  const int x = p.Embed(table, std::sqrt(static_cast<float>(c.hidden)));
  for (int l = 0; l < c.layers; ++l) {
    Layer layer(p, c, l, fmt::format("model.layers.{}.", l));
    const Qkv qkv = layer.SplitQkv(layer.RmsNorm(x, "input_layernorm", offset), c.attention_bias);
    if (head_norms) {
      layer.NormHeads(qkv.q, "self_attn.q_norm", offset);
      layer.NormHeads(qkv.k, "self_attn.k_norm", offset);
    }
    const int attention = layer.Attend(qkv, "self_attn.o_proj", c.attention_bias);
    p.AddTo(x, layer.RmsNorm(attention, "post_attention_layernorm", offset));
    const int mlp = layer.GatedMlp(layer.RmsNorm(x, "pre_feedforward_layernorm", offset));
    p.AddTo(x, layer.RmsNorm(mlp, "post_feedforward_layernorm", offset));
  }
  return Finish(p, c, LastNorm(p, c, x, "model.norm", offset), table);
}

}  // namespace

Program BuildGemma2(const ModelConfig& c) { return Build(c, false); }
Program BuildGemma3(const ModelConfig& c) { return Build(c, true); }

}  // namespace unimax
