// SPDX-License-Identifier: Apache-2.0
// GLM-4-0414 (Zeng et al. 2024, arXiv 2406.12793, and the release of April 2025): norms on both sides of attention and
// feed-forward, half of each head turns in neighbouring pairs, fused gate and up.
#include <fmt/format.h>

#include "models/layers.h"
#include "models/registry.h"

namespace unimax {

Program BuildGlm4(const ModelConfig& c) {
  Builder p = Begin(c);
  const int table = p.Matrix("embedding", c.hidden, {{"model.embed_tokens.weight", c.vocab}});
  const int x = p.Embed(table);
  for (int l = 0; l < c.layers; ++l) {
    Layer layer(p, c, l, fmt::format("model.layers.{}.", l));
    const Qkv qkv = layer.SplitQkv(layer.RmsNorm(x, "input_layernorm"), c.attention_bias);
    const int attention = layer.Attend(qkv, "self_attn.o_proj", false);
    p.AddTo(x, layer.RmsNorm(attention, "post_self_attn_layernorm"));
    const int mlp = layer.GatedMlp(layer.RmsNorm(x, "post_attention_layernorm"), false, "mlp.gate_up_proj");
    p.AddTo(x, layer.RmsNorm(mlp, "post_mlp_layernorm"));
  }
  return Finish(p, c, LastNorm(p, c, x, "model.norm"), table);
}

}  // namespace unimax
