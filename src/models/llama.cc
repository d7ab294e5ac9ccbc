// SPDX-License-Identifier: Apache-2.0
// Llama 1, 2, 3 to 3.3 and models of the same shape (SmolLM2): pre-norm decoder with rotary positions, grouped query
// heads and a gated feed-forward (Touvron et al. 2023, arXiv 2302.13971 and 2307.09288; Grattafiori et al. 2024).
// Mistral is the same with a sliding window (Jiang et al. 2023, arXiv 2310.06825). Granite is the same with four
// multipliers (IBM Granite 3.0 language models, 2024; Yang & Hu 2021 for their reason).
#include <fmt/format.h>

#include "models/layers.h"
#include "models/registry.h"

namespace unimax {

Program BuildLlama(const ModelConfig& c) {
  Builder p = Begin(c);
  const int table = p.Matrix("embedding", c.hidden, {{"model.embed_tokens.weight", c.vocab}});
  const int x = p.Embed(table, c.embedding_scale);  // the residual stream [T, hidden]
  for (int l = 0; l < c.layers; ++l) {
    Layer layer(p, c, l, fmt::format("model.layers.{}.", l));
    int h = layer.RmsNorm(x, "input_layernorm");
    const Qkv qkv = layer.SplitQkv(h, c.attention_bias);
    p.AddTo(x, layer.Attend(qkv, "self_attn.o_proj", c.attention_bias), c.residual_scale);
    h = layer.RmsNorm(x, "post_attention_layernorm");
    p.AddTo(x, layer.GatedMlp(h, c.mlp_bias), c.residual_scale);
  }
  return Finish(p, c, LastNorm(p, c, x, "model.norm"), table);
}

}  // namespace unimax
