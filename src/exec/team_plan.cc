// SPDX-License-Identifier: Apache-2.0
#include "exec/team_plan.h"

namespace unimax {
namespace {

int Readers(const Program& program, int value) {
  int readers = 0;
  for (const Op& op : program.ops) readers += (op.in == value) + (op.in2 == value) + (op.in3 == value);
  return readers;
}

}  // namespace

std::vector<Stage> PlanStages(const Program& program, const BufferPlan& buffers,
                              const std::function<bool(int)>& packed) {
  std::vector<Stage> stages;
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const Op& op = program.ops[i];
    const Op* next = i + 1 < program.ops.size() ? &program.ops[i + 1] : nullptr;
    const bool feeds_linear = next != nullptr && next->kind == OpKind::kLinear && next->in == op.out;
    Stage stage;
    if (op.kind == OpKind::kNorm && feeds_linear && Readers(program, op.out) == 1 &&
        buffers.buffer_of[op.in] != buffers.buffer_of[next->out]) {  // else a slow thread would norm a new value
      stage.op = *next;
      stage.has_norm = true;
      stage.norm = op;
      ++i;
    } else {
      stage.op = op;
      stage.quantized_input = op.kind == OpKind::kLinear && !stages.empty() && stages.back().quantize_output;
      stage.quantize_output =
          op.kind == OpKind::kActMul && feeds_linear && packed(next->weight) && program.values[op.out].cols % 32 == 0;
    }
    stages.push_back(stage);
  }
  return stages;
}

}  // namespace unimax
