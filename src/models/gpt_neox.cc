// SPDX-License-Identifier: Apache-2.0
// GPT-NeoX and Pythia (Black et al. 2022, arXiv 2204.06745; Biderman et al. 2023, arXiv 2304.01373): attention and
// feed-forward read the same stream, a quarter of each head turns, layer norms and biases throughout.
#include <fmt/format.h>

#include "models/layers.h"
#include "models/registry.h"

namespace unimax {

Program BuildGptNeox(const ModelConfig& c) {
  Builder p = Begin(c);
  const int table = p.Matrix("embedding", c.hidden, {{"gpt_neox.embed_in.weight", c.vocab}});
  const int x = p.Embed(table);
  for (int l = 0; l < c.layers; ++l) {
    Layer layer(p, c, l, fmt::format("gpt_neox.layers.{}.", l));
    const int attention_in = layer.LayerNorm(x, "input_layernorm");
    int mlp_in = c.parallel_residual ? layer.LayerNorm(x, "post_attention_layernorm") : -1;
    const Qkv qkv = layer.FusedQkv(attention_in, "attention.query_key_value", c.attention_bias);
    p.AddTo(x, layer.Attend(qkv, "attention.dense", c.attention_bias));
    if (!c.parallel_residual) mlp_in = layer.LayerNorm(x, "post_attention_layernorm");
    p.AddTo(x, layer.Mlp(mlp_in, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", true));
  }
  return Finish(p, c, LastLayerNorm(p, c, x, "gpt_neox.final_layer_norm"), table, "embed_out");
}

}  // namespace unimax
