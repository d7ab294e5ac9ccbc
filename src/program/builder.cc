// SPDX-License-Identifier: Apache-2.0
#include "program/builder.h"

#include <fmt/core.h>

#include "base/status.h"

namespace unimax {

int Builder::NewValue(std::string name, int cols, Rows rows, Storage storage) {
  program_.values.push_back({std::move(name), cols, rows, storage, -1, 0});
  return static_cast<int>(program_.values.size()) - 1;
}

Op& Builder::Append(OpKind kind, int layer) {
  Op& op = program_.ops.emplace_back();
  op.kind = kind;
  op.layer = layer;
  return op;
}

int Builder::Matrix(std::string name, int cols, std::vector<Weight::Part> parts) {
  Weight w{std::move(name), 0, cols, true, std::move(parts), false};
  for (const Weight::Part& part : w.parts) w.rows += part.rows;
  program_.weights.push_back(std::move(w));
  return static_cast<int>(program_.weights.size()) - 1;
}

int Builder::Vector(std::string name, std::string tensor, int cols) {
  program_.weights.push_back({std::move(name), 1, cols, false, {{std::move(tensor), cols}}, false});
  return static_cast<int>(program_.weights.size()) - 1;
}

int Builder::StackedVector(std::string name, std::vector<Weight::Part> parts, int cols) {
  program_.weights.push_back({std::move(name), 1, cols, false, std::move(parts), false});
  return static_cast<int>(program_.weights.size()) - 1;
}

int Builder::Embed(int table, float scale) {
  const int out = NewValue("x", program_.weights[table].cols, Rows::kTokens, Storage::kWide);
  Op& op = Append(OpKind::kEmbed);
  op.weight = table;
  op.scale = scale;
  op.out = out;
  return out;
}

void Builder::AddPosition(int x, int table, int first) {
  Op& op = Append(OpKind::kAddPosition);
  op.in = x;
  op.weight = table;
  op.first = first;
  op.out = x;
}

int Builder::Norm(int x, int weight, float eps, const NormOptions& options) {
  const Value in = program_.values[x];
  const int out = NewValue("norm", in.cols, in.rows, options.storage);
  Op& op = Append(OpKind::kNorm);
  op.in = x;
  op.weight = weight;
  op.bias = options.bias;
  op.norm = options.kind;
  op.eps = eps;
  op.offset = options.offset;
  op.out = out;
  return out;
}

void Builder::NormInPlace(int x, int weight, float eps, float offset) {
  UM_CHECK(program_.values[x].cols % program_.weights[weight].cols == 0);
  Op& op = Append(OpKind::kNorm);
  op.in = x;
  op.weight = weight;
  op.eps = eps;
  op.offset = offset;
  op.out = x;
}

int Builder::Linear(int x, int weight, int bias, Storage storage) {
  const Weight& w = program_.weights[weight];
  UM_CHECK(program_.values[x].cols == w.cols);
  const int out = NewValue(w.name, w.rows, program_.values[x].rows, storage);
  Op& op = Append(OpKind::kLinear);
  op.in = x;
  op.weight = weight;
  op.bias = bias;
  op.out = out;
  return out;
}

std::vector<int> Builder::LinearSplit(int x, int weight, int bias) {
  const int out = Linear(x, weight, bias);
  std::vector<int> views;
  int offset = 0;
  for (const Weight::Part& part : program_.weights[weight].parts) {
    const Value& whole = program_.values[out];
    program_.values.push_back(
        {fmt::format("{}.{}", whole.name, views.size()), part.rows, whole.rows, whole.storage, out, offset});
    views.push_back(static_cast<int>(program_.values.size()) - 1);
    offset += part.rows;
  }
  return views;
}

void Builder::RopeAndStore(int q, int k, int v, int layer, int rope) {
  Op& op = Append(OpKind::kRopeAndStore, layer);
  op.in = q;
  op.in2 = k;
  op.in3 = v;
  op.rope = rope;
  op.out = q;
}

int Builder::Attention(int q, int layer, int window, float cap) {
  const int out = NewValue("attention", program_.values[q].cols, Rows::kTokens, Storage::kNarrow);
  Op& op = Append(OpKind::kAttention, layer);
  op.in = q;
  op.window = window;
  op.cap = cap;
  op.out = out;
  return out;
}

int Builder::ActMul(Activation act, int gate, int up) {
  const int out = NewValue("act", program_.values[gate].cols, program_.values[gate].rows, Storage::kNarrow);
  Op& op = Append(OpKind::kActMul);
  op.in = gate;
  op.in2 = up;
  op.out = out;
  op.act = act;
  return out;
}

int Builder::Act(Activation act, int x) { return ActMul(act, x, -1); }

void Builder::AddTo(int x, int y, float scale) {
  Op& op = Append(OpKind::kAdd);
  op.in = x;
  op.in2 = y;
  op.scale = scale;
  op.out = x;
}

int Builder::Select(int x) {
  const int out = NewValue("selected", program_.values[x].cols, Rows::kOutputs, program_.values[x].storage);
  Op& op = Append(OpKind::kSelect);
  op.in = x;
  op.out = out;
  return out;
}

int Builder::Logits(int x, int head, float scale, float cap) {
  program_.logits = Linear(x, head, -1, Storage::kWide);
  program_.ops.back().scale = scale;
  program_.ops.back().cap = cap;
  return program_.logits;
}

int Builder::Sample(int logits) {
  const int out = NewValue("ids", 1, Rows::kOutputs, Storage::kIds);
  Op& op = Append(OpKind::kSample);
  op.in = logits;
  op.out = out;
  return out;
}

}  // namespace unimax
