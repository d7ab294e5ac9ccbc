// SPDX-License-Identifier: Apache-2.0
#include "program/liveness.h"

namespace unimax {
namespace {

int Root(const Program& program, int value) {
  return program.values[value].parent >= 0 ? program.values[value].parent : value;
}

}  // namespace

BufferPlan PlanBuffers(const Program& program, int kept, const std::vector<OpRange>& together) {
  const int ops = static_cast<int>(program.ops.size());
  std::vector<OpRange> range_of;  // op -> the range that it is in, or itself
  for (int i = 0; i < ops; ++i) range_of.push_back({i, i});
  for (const OpRange& range : together) {
    for (int i = range.first; i <= range.last; ++i) range_of[i] = range;
  }
  std::vector<int> first(program.values.size(), -1), last(program.values.size(), -1);
  for (int i = 0; i < ops; ++i) {
    const Op& op = program.ops[i];
    for (int value : {op.in, op.in2, op.in3, op.out}) {
      if (value < 0) continue;
      const int root = Root(program, value);
      if (first[root] < 0) first[root] = i;
      last[root] = range_of[i].last;
    }
  }
  if (kept >= 0) last[Root(program, kept)] = ops;

  BufferPlan plan;
  plan.buffer_of.assign(program.values.size(), -1);
  std::vector<int> busy_until;  // buffer -> last op of its tenant
  const auto same = [&](int a, int b) {
    const Value &x = program.values[a], &y = program.values[b];
    return x.cols == y.cols && x.rows == y.rows && x.storage == y.storage;
  };
  for (int i = 0; i < ops; ++i) {
    if (program.ops[i].out < 0) continue;
    const int value = Root(program, program.ops[i].out);
    if (plan.buffer_of[value] >= 0) continue;
    int found = -1;
    for (size_t b = 0; b < busy_until.size() && found < 0; ++b) {
      if (busy_until[b] < range_of[i].first && same(plan.example[b], value)) found = static_cast<int>(b);
    }
    if (found < 0) {
      found = static_cast<int>(busy_until.size());
      busy_until.push_back(0);
      plan.example.push_back(value);
    }
    busy_until[found] = last[value];
    plan.buffer_of[value] = found;
  }
  for (size_t v = 0; v < program.values.size(); ++v) {
    if (program.values[v].parent >= 0) plan.buffer_of[v] = plan.buffer_of[program.values[v].parent];
  }
  return plan;
}

}  // namespace unimax
