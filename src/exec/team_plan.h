// SPDX-License-Identifier: Apache-2.0
// How the team executor walks a program: ops that one thread can take together without a barrier become one stage.
#pragma once

#include <functional>
#include <vector>

#include "program/liveness.h"
#include "program/program.h"

namespace unimax {

struct Stage {
  Op op;
  // Of a Linear: the Norm whose output only it reads. With one row every thread computes it for itself, which is
  // cheaper than meeting at a barrier.
  bool has_norm = false;
  Op norm;
  // Of a Linear: its input already lies quantised in the shared buffer, left there by the stage before.
  bool quantized_input = false;
  // Of an ActMul: the next stage is a Linear that wants its output quantised.
  bool quantize_output = false;
};

// `packed(w)`: weight w wants quantised activations.
std::vector<Stage> PlanStages(const Program& program, const BufferPlan& buffers,
                              const std::function<bool(int)>& packed);

}  // namespace unimax
