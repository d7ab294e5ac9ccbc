// SPDX-License-Identifier: Apache-2.0
// GPT-2 (Radford et al. 2019, "Language models are unsupervised multitask learners"): learned positions, layer norms,
// biases, one matrix for q, k, v. Its checkpoints hold matrices as [inputs, outputs].
#include <fmt/format.h>

#include "models/layers.h"
#include "models/registry.h"

namespace unimax {

Program BuildGpt2(const ModelConfig& c) {
  Builder p = Begin(c);
  const int table = p.Matrix("embedding", c.hidden, {{"transformer.wte.weight", c.vocab}});
  const int x = p.Embed(table);
  p.AddPosition(x, p.Matrix("positions", c.hidden, {{"transformer.wpe.weight", c.context}}), 0);
  for (int l = 0; l < c.layers; ++l) {
    Layer layer(p, c, l, fmt::format("transformer.h.{}.", l));
    const Qkv qkv = layer.FusedQkv(layer.LayerNorm(x, "ln_1"), "attn.c_attn", true);
    p.AddTo(x, layer.Attend(qkv, "attn.c_proj", true, false));
    p.AddTo(x, layer.Mlp(layer.LayerNorm(x, "ln_2"), "mlp.c_fc", "mlp.c_proj", true));
  }
  return Finish(p, c, LastLayerNorm(p, c, x, "transformer.ln_f"), table);
}

}  // namespace unimax
