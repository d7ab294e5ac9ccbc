// SPDX-License-Identifier: Apache-2.0
// Falcon 7B (Almazrouei et al. 2023, arXiv 2311.16867): one norm feeds attention and feed-forward, whose sums meet in
// the stream; one key head for all queries; no biases except in norms.
#include <fmt/format.h>

#include "models/layers.h"
#include "models/registry.h"

namespace unimax {

Program BuildFalcon(const ModelConfig& c) {
  Builder p = Begin(c);
  const int table = p.Matrix("embedding", c.hidden, {{"transformer.word_embeddings.weight", c.vocab}});
  const int x = p.Embed(table);
  for (int l = 0; l < c.layers; ++l) {
    Layer layer(p, c, l, fmt::format("transformer.h.{}.", l));
    const int h = layer.LayerNorm(x, "input_layernorm");
    const Qkv qkv = layer.FusedQkv(h, "self_attention.query_key_value", false);
    p.AddTo(x, layer.Attend(qkv, "self_attention.dense", false));
    p.AddTo(x, layer.Mlp(h, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", false));
  }
  return Finish(p, c, LastLayerNorm(p, c, x, "transformer.ln_f"), table);
}

}  // namespace unimax
