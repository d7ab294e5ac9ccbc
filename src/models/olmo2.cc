// SPDX-License-Identifier: Apache-2.0
// OLMo 2 (OLMo Team 2024, arXiv 2501.00656): norms stand behind attention and feed-forward, and q and k are normed over
// all heads at once.
#include <fmt/format.h>

#include "models/layers.h"
#include "models/registry.h"

namespace unimax {

Program BuildOlmo2(const ModelConfig& c) {
  Builder p = Begin(c);
  const int table = p.Matrix("embedding", c.hidden, {{"model.embed_tokens.weight", c.vocab}});
  const int x = p.Embed(table);
  for (int l = 0; l < c.layers; ++l) {
    Layer layer(p, c, l, fmt::format("model.layers.{}.", l));
    const Qkv qkv = layer.SplitQkv(p.Narrow(x), c.attention_bias);
    layer.NormRow(qkv.q, "self_attn.q_norm");
    layer.NormRow(qkv.k, "self_attn.k_norm");
    const int attention = layer.Attend(qkv, "self_attn.o_proj", c.attention_bias);
    p.AddTo(x, layer.RmsNorm(attention, "post_attention_layernorm"));
    p.AddTo(x, layer.RmsNorm(layer.GatedMlp(p.Narrow(x)), "post_feedforward_layernorm"));
  }
  return Finish(p, c, LastNorm(p, c, x, "model.norm"), table);
}

}  // namespace unimax
