// SPDX-License-Identifier: Apache-2.0
#include "models/layers.h"

#include <fmt/format.h>

#include <cmath>

#include "models/rope.h"

namespace unimax {
namespace {

int Norm(Builder& p, const ModelConfig& c, int x, const std::string& name, const std::string& tensor,
         Builder::NormOptions options) {
  const int cols = p.program().values[static_cast<size_t>(x)].cols;
  if (options.kind == NormKind::kLayer) options.bias = p.Vector(name + ".bias", tensor + ".bias", cols);
  return p.Norm(x, p.Vector(name, tensor + ".weight", cols), c.norm_eps, options);
}

}  // namespace

Builder Begin(const ModelConfig& c) {
  Builder p(c.architecture);
  const float scale = c.attention_scale > 0 ? c.attention_scale : 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  p.program().attention = {c.heads, c.kv_heads, c.head_dim, scale};
  p.program().ropes = MakeRopes(c);
  if (c.rope.kind == RopeKind::kLong) p.program().long_rope_from = c.rope.original_context;
  return p;
}

LinearWeights LoadLinear(Builder& p, const std::string& name, int cols, const std::vector<Weight::Part>& parts,
                         bool bias) {
  LinearWeights w{p.Matrix(name, cols, parts), -1};
  if (!bias) return w;
  int total = 0;
  std::vector<Weight::Part> elements = parts;
  for (Weight::Part& part : elements) {
    part.tensor.replace(part.tensor.size() - 6, 6, "bias");  // "...weight" -> "...bias"
    part.transposed = false;
    total += part.rows;
  }
  w.bias = p.StackedVector(name + "_bias", std::move(elements), total);
  return w;
}

Layer::Layer(Builder& p, const ModelConfig& config, int number, std::string prefix)
    : p_(p), c_(config), number_(number), name_(fmt::format("layers.{}.", number)), prefix_(std::move(prefix)) {}

LinearWeights Layer::Load(const std::string& name, int cols, const std::vector<Weight::Part>& parts, bool bias) {
  return LoadLinear(p_, name_ + name, cols, parts, bias);
}

Weight::Part Layer::PartOf(const std::string& tensor, int rows) const {
  Weight::Part part{prefix_ + tensor + ".weight", rows};
  part.transposed = c_.transposed_linear;
  return part;
}

int Layer::RmsNorm(int x, const std::string& tensor, float offset) {
  return Norm(p_, c_, x, name_ + tensor, prefix_ + tensor, {.offset = offset});
}

int Layer::LayerNorm(int x, const std::string& tensor, Storage storage) {
  return Norm(p_, c_, x, name_ + tensor, prefix_ + tensor, {.kind = NormKind::kLayer, .storage = storage});
}

void Layer::NormHeads(int x, const std::string& tensor, float offset) {
  p_.NormInPlace(x, p_.Vector(name_ + tensor, prefix_ + tensor + ".weight", c_.head_dim), c_.norm_eps, offset);
}

void Layer::NormRow(int x, const std::string& tensor) {
  const int cols = p_.program().values[static_cast<size_t>(x)].cols;
  p_.NormInPlace(x, p_.Vector(name_ + tensor, prefix_ + tensor + ".weight", cols), c_.norm_eps);
}

Qkv Layer::SplitQkv(int h, bool bias, const std::string& module) {
  const int q = c_.heads * c_.head_dim, kv = c_.kv_heads * c_.head_dim;
  const LinearWeights w =
      Load("qkv", c_.hidden,
           {PartOf(module + "q_proj", q), PartOf(module + "k_proj", kv), PartOf(module + "v_proj", kv)}, bias);
  const std::vector<int> qkv = p_.LinearSplit(h, w.weight, w.bias);
  return {qkv[0], qkv[1], qkv[2]};
}

Qkv Layer::FusedQkv(int h, const std::string& tensor, bool bias) {
  const int group = c_.heads / c_.kv_heads, head = c_.head_dim;
  const int q_rows = c_.heads * head, kv_rows = c_.kv_heads * head;
  Weight::Part q = PartOf(tensor, q_rows), k = PartOf(tensor, kv_rows), v = k;
  q.tensor_rows = k.tensor_rows = v.tensor_rows = q_rows + 2 * kv_rows;
  if (c_.qkv_by_head) {  // for each key head: its queries, the key, the value
    q.block = group * head;
    k.block = v.block = head;
    q.stride = k.stride = v.stride = (group + 2) * head;
    k.first = group * head;
    v.first = k.first + head;
  } else {
    k.first = q_rows;
    v.first = q_rows + kv_rows;
  }
  const LinearWeights w = Load("qkv", c_.hidden, {q, k, v}, bias);
  const std::vector<int> qkv = p_.LinearSplit(h, w.weight, w.bias);
  return {qkv[0], qkv[1], qkv[2]};
}

int Layer::Attend(const Qkv& qkv, const std::string& out, bool bias, bool rotate) {
  const int window = c_.windows.empty() ? 0 : c_.windows[static_cast<size_t>(number_)];
  const int rope = window > 0 && c_.window_rope ? 1 : 0;
  p_.RopeAndStore(qkv.q, qkv.k, qkv.v, number_, rotate ? rope : -1);
  const int y = p_.Attention(qkv.q, number_, window, c_.attention_cap);
  const LinearWeights w = Load("out", c_.heads * c_.head_dim, {PartOf(out, c_.hidden)}, bias);
  return p_.Linear(y, w.weight, w.bias);
}

int Layer::GatedMlp(int h, bool bias, const std::string& fused) {
  const int n = c_.intermediate;
  Weight::Part gate = PartOf(fused.empty() ? "mlp.gate_proj" : fused, n);
  Weight::Part up = PartOf(fused.empty() ? "mlp.up_proj" : fused, n);
  if (!fused.empty()) {
    gate.tensor_rows = up.tensor_rows = 2 * n;
    up.first = n;
  }
  const LinearWeights w = Load("gate_up", c_.hidden, {gate, up}, bias);
  const std::vector<int> gate_up = p_.LinearSplit(h, w.weight, w.bias);
  const LinearWeights down = Load("down", n, {PartOf("mlp.down_proj", c_.hidden)}, bias);
  return p_.Linear(p_.ActMul(c_.activation, gate_up[0], gate_up[1]), down.weight, down.bias);
}

int Layer::Mlp(int h, const std::string& first, const std::string& second, bool bias) {
  const LinearWeights up = Load("up", c_.hidden, {PartOf(first, c_.intermediate)}, bias);
  const LinearWeights down = Load("down", c_.intermediate, {PartOf(second, c_.hidden)}, bias);
  return p_.Linear(p_.Act(c_.activation, p_.Linear(h, up.weight, up.bias)), down.weight, down.bias);
}

int LastNorm(Builder& p, const ModelConfig& c, int x, const std::string& norm, float offset) {
  return Norm(p, c, p.Select(x), "norm", norm, {.offset = offset});
}

int LastLayerNorm(Builder& p, const ModelConfig& c, int x, const std::string& norm) {
  return Norm(p, c, p.Select(x), "norm", norm, {.kind = NormKind::kLayer});
}

Program Finish(Builder& p, const ModelConfig& c, int last, int table, const std::string& head) {
  const int cols = p.program().values[static_cast<size_t>(last)].cols;
  const int weight = c.tied_embeddings ? table : p.Matrix("head", cols, {{head + ".weight", c.vocab}});
  p.Sample(p.Logits(last, weight, c.logit_scale, c.logit_cap));
  return p.Take();
}

}  // namespace unimax
