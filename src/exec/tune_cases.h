// SPDX-License-Identifier: Apache-2.0
// The cases that the plan of a model meets, to be measured by `unimax tune`.
#pragma once

#include <vector>

#include "device/device.h"
#include "kernels/table.h"
#include "program/program.h"

namespace unimax {

struct TuneShapes {
  std::vector<int> batches;  // rows of decode steps
  std::vector<int> prompts;  // rows of a prompt's chunk
  int context = 0;           // most cached tokens
};

// Each case once (as PlanCase tells them apart) of steps of these shapes: of decode steps at every batch with cached
// tokens from 128 on, four times as many each time, up to `context`; of chunks of prompts at every length of a chunk
// and the numbers of cached tokens that chunks have. `fused`: as FuseForGraph makes it.
std::vector<Case> TuneCases(const Program& fused, const Limits& limits, DType act, const TuneShapes& shapes);

}  // namespace unimax
