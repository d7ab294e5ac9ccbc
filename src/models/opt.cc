// SPDX-License-Identifier: Apache-2.0
// OPT (Zhang et al. 2022, arXiv 2205.01068): learned positions from row 2 on, layer norms, biases, ReLU. The 350m model
// norms behind the sums instead, has no last norm, and projects a narrower embedding.
#include <fmt/format.h>

#include "models/layers.h"
#include "models/registry.h"

namespace unimax {
namespace {

constexpr int kFirstPosition = 2;  // rows 0 and 1 of the table once meant padding
constexpr const char* kDecoder = "model.decoder.";

int Project(Builder& p, int x, const char* name, int rows, int cols, Storage storage) {
  const int weight = p.Matrix(name, cols, {{fmt::format("{}{}.weight", kDecoder, name), rows}});
  return p.Linear(p.Narrow(x), weight, -1, storage);
}

}  // namespace

Program BuildOpt(const ModelConfig& c) {
  Builder p = Begin(c);
  const int width = c.embedding_width;
  const int table = p.Matrix("embedding", width, {{fmt::format("{}embed_tokens.weight", kDecoder), c.vocab}});
  int x = p.Embed(table);
  if (width != c.hidden) x = Project(p, x, "project_in", c.hidden, width, Storage::kWide);
  const int rows = c.context + kFirstPosition;
  p.AddPosition(x, p.Matrix("positions", c.hidden, {{fmt::format("{}embed_positions.weight", kDecoder), rows}}),
                kFirstPosition);
  for (int l = 0; l < c.layers; ++l) {
    Layer layer(p, c, l, fmt::format("{}layers.{}.", kDecoder, l));
    int h = c.norm_first ? layer.LayerNorm(x, "self_attn_layer_norm") : p.Narrow(x);
    p.AddTo(x, layer.Attend(layer.SplitQkv(h, true), "self_attn.out_proj", true, false));
    if (!c.norm_first) x = layer.LayerNorm(x, "self_attn_layer_norm", Storage::kWide);
    h = c.norm_first ? layer.LayerNorm(x, "final_layer_norm") : p.Narrow(x);
    p.AddTo(x, layer.Mlp(h, "fc1", "fc2", true));
    if (!c.norm_first) x = layer.LayerNorm(x, "final_layer_norm", Storage::kWide);
  }
  if (c.norm_first) {
    const int last = LastLayerNorm(p, c, x, fmt::format("{}final_layer_norm", kDecoder));
    return Finish(p, c, last, table);
  }
  int last = p.Select(x);
  last = width == c.hidden ? p.Narrow(last) : Project(p, last, "project_out", width, c.hidden, Storage::kNarrow);
  return Finish(p, c, last, table);
}

}  // namespace unimax
