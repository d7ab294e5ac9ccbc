// SPDX-License-Identifier: Apache-2.0
// Phi-3 and Phi-4-mini (Abdin et al. 2024, arXiv 2404.14219): Llama with fused q, k, v and gate, up; longer contexts by
// two sets of rotary frequencies (Ding et al. 2024, arXiv 2402.13753).
#include <fmt/format.h>

#include "models/layers.h"
#include "models/registry.h"

namespace unimax {

Program BuildPhi3(const ModelConfig& c) {
  Builder p = Begin(c);
  const int table = p.Matrix("embedding", c.hidden, {{"model.embed_tokens.weight", c.vocab}});
  const int x = p.Embed(table);
  for (int l = 0; l < c.layers; ++l) {
    Layer layer(p, c, l, fmt::format("model.layers.{}.", l));
    const Qkv qkv = layer.FusedQkv(layer.RmsNorm(x, "input_layernorm"), "self_attn.qkv_proj", false);
    p.AddTo(x, layer.Attend(qkv, "self_attn.o_proj", false));
    p.AddTo(x, layer.GatedMlp(layer.RmsNorm(x, "post_attention_layernorm"), false, "mlp.gate_up_proj"));
  }
  return Finish(p, c, LastNorm(p, c, x, "model.norm"), table);
}

}  // namespace unimax
