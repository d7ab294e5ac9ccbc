// SPDX-License-Identifier: Apache-2.0
#include "program/program.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/status.h"

namespace unimax {

const char* OpName(OpKind kind) {
  static constexpr const char* kNames[kOpKinds] = {"Embed",     "AddPosition", "Norm", "Linear", "RopeAndStore",
                                                   "Attention", "ActMul",      "Add",  "Select", "Sample"};
  return kNames[static_cast<int>(kind)];
}

const char* ActivationName(Activation act) {
  static constexpr const char* kNames[] = {"none", "silu", "gelu", "gelu_tanh", "relu"};
  return kNames[static_cast<int>(act)];
}

Program Prefix(const Program& program, int count) {
  UM_CHECK(count >= 0 && count <= static_cast<int>(program.ops.size()));
  Program prefix = program;
  prefix.ops.resize(static_cast<size_t>(count));
  if (count < static_cast<int>(program.ops.size())) prefix.logits = -1;
  return prefix;
}

Cost OpCost(const Program& program, const Op& op, int tokens, int outputs, int context, const CostTypes& types) {
  const auto rows_of = [&](int value) { return program.values[value].rows == Rows::kTokens ? tokens : outputs; };
  const auto elements = [&](int value) { return value < 0 ? 0.0 : 1.0 * rows_of(value) * program.values[value].cols; };
  const AttentionShape& a = program.attention;
  Cost cost;
  cost.activation_bytes =
      (elements(op.in) + elements(op.in2) + elements(op.in3) + elements(op.out)) * types.activation_element;
  if (op.weight >= 0) {
    const Weight& w = program.weights[op.weight];
    const bool lookup = op.kind == OpKind::kEmbed || op.kind == OpKind::kAddPosition;  // reads only its own rows
    const double rows = lookup ? tokens : w.rows;
    cost.weight_bytes = rows * w.cols * (w.matrix ? types.weight_element : 4.0);
  }
  switch (op.kind) {
    case OpKind::kLinear: {
      const Weight& w = program.weights[op.weight];
      cost.flops = 2.0 * rows_of(op.out) * w.rows * w.cols;
      break;
    }
    case OpKind::kAttention:
      if (op.window > 0) context = std::min(context, op.window);
      cost.kv_bytes = 2.0 * tokens * context * a.kv_heads * a.head_dim * types.kv_element;
      cost.flops = 4.0 * tokens * context * a.heads * a.head_dim;
      break;
    case OpKind::kRopeAndStore:
      cost.kv_bytes = 2.0 * tokens * a.kv_heads * a.head_dim * types.kv_element;
      cost.flops = 3.0 * tokens * (a.heads + a.kv_heads) * a.head_dim;
      break;
    case OpKind::kNorm:
      cost.flops = 4.0 * elements(op.out);
      break;
    case OpKind::kActMul:
      cost.flops = 5.0 * elements(op.out);
      break;
    case OpKind::kAdd:
    case OpKind::kAddPosition:
      cost.flops = elements(op.out);
      break;
    case OpKind::kEmbed:
    case OpKind::kSelect:
    case OpKind::kSample:
      break;
  }
  return cost;
}

Cost ProgramCost(const Program& program, int tokens, int outputs, int context, const CostTypes& types) {
  Cost sum;
  for (const Op& op : program.ops) {
    const Cost c = OpCost(program, op, tokens, outputs, context, types);
    sum.weight_bytes += c.weight_bytes;
    sum.kv_bytes += c.kv_bytes;
    sum.activation_bytes += c.activation_bytes;
    sum.flops += c.flops;
  }
  return sum;
}

std::string Print(const Program& program, int tokens, int context, const CostTypes& types) {
  std::string text = fmt::format("# {}: {} ops, {} weights; costs for {} token(s) at context {}\n", program.model,
                                 program.ops.size(), program.weights.size(), tokens, context);
  text += fmt::format("{:>4} {:<13} {:<22} {:<34} {:>14} {:>14}\n", "#", "op", "out", "weight", "bytes", "FLOPs");
  const auto shape = [&](int v) {
    if (v < 0) return std::string("-");
    const Value& value = program.values[v];
    return fmt::format("{} [{},{}]", value.name, value.rows == Rows::kTokens ? "T" : "O", value.cols);
  };
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const Op& op = program.ops[i];
    const Cost c = OpCost(program, op, tokens, tokens, context, types);
    const std::string weight = op.weight < 0
                                   ? "-"
                                   : fmt::format("{} [{},{}]", program.weights[op.weight].name,
                                                 program.weights[op.weight].rows, program.weights[op.weight].cols);
    text += fmt::format("{:>4} {:<13} {:<22} {:<34} {:>14.0f} {:>14.0f}\n", i, OpName(op.kind), shape(op.out), weight,
                        c.weight_bytes + c.kv_bytes + c.activation_bytes, c.flops);
  }
  const Cost sum = ProgramCost(program, tokens, tokens, context, types);
  text += fmt::format("total: weights {:.0f} bytes, KV {:.0f} bytes, activations {:.0f} bytes, {:.0f} FLOPs\n",
                      sum.weight_bytes, sum.kv_bytes, sum.activation_bytes, sum.flops);
  return text;
}

}  // namespace unimax
