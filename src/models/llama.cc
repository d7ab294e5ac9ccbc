// SPDX-License-Identifier: Apache-2.0
// Llama 1, 2, 3 to 3.3 and models of the same shape (SmolLM2): pre-norm decoder with rotary positions, grouped query
// heads and a gated feed-forward (Touvron et al. 2023, arXiv 2302.13971 and 2307.09288; Grattafiori et al. 2024).
#include <fmt/format.h>

#include <cmath>

#include "models/registry.h"
#include "models/rope.h"
#include "program/builder.h"

namespace unimax {
namespace {

struct Layer {
  int attn_norm, qkv, qkv_bias, out, out_bias, mlp_norm, gate_up, gate_up_bias, down, down_bias;
};

// A bias over the same parts as the matrix it belongs to, or -1 where the model has none.
int Bias(Builder& p, bool present, const std::string& name, const std::vector<Weight::Part>& matrix) {
  if (!present) return -1;
  int total = 0;
  std::vector<Weight::Part> parts;
  for (const Weight::Part& part : matrix) {
    parts.push_back({part.tensor.substr(0, part.tensor.size() - 6) + "bias", part.rows});  // "...weight" -> "...bias"
    total += part.rows;
  }
  return p.StackedVector(name, std::move(parts), total);
}

Layer Weights(Builder& p, const ModelConfig& c, int l) {
  const std::string name = fmt::format("layers.{}.", l);
  const std::string tensor = fmt::format("model.layers.{}.", l);
  const int q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  const std::vector<Weight::Part> qkv = {{tensor + "self_attn.q_proj.weight", q},
                                         {tensor + "self_attn.k_proj.weight", kv},
                                         {tensor + "self_attn.v_proj.weight", kv}};
  const std::vector<Weight::Part> out = {{tensor + "self_attn.o_proj.weight", c.hidden}};
  const std::vector<Weight::Part> gate_up = {{tensor + "mlp.gate_proj.weight", c.intermediate},
                                             {tensor + "mlp.up_proj.weight", c.intermediate}};
  const std::vector<Weight::Part> down = {{tensor + "mlp.down_proj.weight", c.hidden}};
  return {p.Vector(name + "attn_norm", tensor + "input_layernorm.weight", c.hidden),
          p.Matrix(name + "qkv", c.hidden, qkv),
          Bias(p, c.attention_bias, name + "qkv_bias", qkv),
          p.Matrix(name + "out", q, out),
          Bias(p, c.attention_bias, name + "out_bias", out),
          p.Vector(name + "mlp_norm", tensor + "post_attention_layernorm.weight", c.hidden),
          p.Matrix(name + "gate_up", c.hidden, gate_up),
          Bias(p, c.mlp_bias, name + "gate_up_bias", gate_up),
          p.Matrix(name + "down", c.intermediate, down),
          Bias(p, c.mlp_bias, name + "down_bias", down)};
}

}  // namespace

Program BuildLlama(const ModelConfig& c) {
  Builder p("llama");
  p.program().attention = {c.heads, c.kv_heads, c.head_dim, 1.0f / std::sqrt(static_cast<float>(c.head_dim))};
  p.program().ropes = {MakeRope(c)};
  const std::vector<Weight::Part> embedding = {{"model.embed_tokens.weight", c.vocab}};
  const int table = p.Matrix("embedding", c.hidden, embedding);

  int x = p.Embed(table);  // the residual stream [T, hidden]
  for (int l = 0; l < c.layers; ++l) {
    const Layer w = Weights(p, c, l);
    int h = p.Norm(x, w.attn_norm, c.norm_eps);
    const std::vector<int> qkv = p.LinearSplit(h, w.qkv, w.qkv_bias);
    p.RopeAndStore(qkv[0], qkv[1], qkv[2], l);
    p.AddTo(x, p.Linear(p.Attention(qkv[0], l), w.out, w.out_bias));
    h = p.Norm(x, w.mlp_norm, c.norm_eps);
    const std::vector<int> gate_up = p.LinearSplit(h, w.gate_up, w.gate_up_bias);
    p.AddTo(x, p.Linear(p.ActMul(Activation::kSilu, gate_up[0], gate_up[1]), w.down, w.down_bias));
  }
  const int last = p.Norm(p.Select(x), p.Vector("norm", "model.norm.weight", c.hidden), c.norm_eps);
  const int head = c.tied_embeddings ? table : p.Matrix("head", c.hidden, {{"lm_head.weight", c.vocab}});
  p.Sample(p.Logits(last, head));
  return p.Take();
}

}  // namespace unimax
