// SPDX-License-Identifier: Apache-2.0
// From a program to the stages of the stream kernel: which ops become which stage, which words each reads and writes,
// and which buffers of words may be used again.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "kernels/stream_args.h"
#include "program/program.h"

namespace unimax {

// What a stage's pointers will point at: numbers of buffers, weights and tables, -1 for none.
struct PlannedStage {
  StreamStage stage{};                                                                     // its pointers are null
  int x = -1, x_sums = -1, residual = -1, y = -1, y_wide = -1, y_sums = -1, partial = -1;  // buffers
  int weight = -1, bias = -1, norm = -1, places = -1;                                      // weights of the program
  const Op *linear = nullptr, *norm_before = nullptr;  // a product that makes up for a layer norm (norm_folds.h)
  int layer = -1, rope = -1;
};

struct StreamPlan {
  std::vector<PlannedStage> stages;
  std::vector<uint64_t> buffers;  // bytes of each
  std::vector<int> widths;        // k of each product
};

struct StreamPlanOptions {
  int blocks = 1;  // of the grid
  int rows = 1;    // most of a step
  int splits = 1;  // most runs of pages of a row and KV head
};

// `program` is fused with residual, act_mul and act, and outlives the plan. Errors: kUsage with the first op that the
// kernel does not know.
Result<StreamPlan> PlanStream(const Program& program, const StreamPlanOptions& options);

// Whether every unit of stage `earlier` has read and written all it ever will before any unit of stage `later` writes.
// A buffer may be written again only where that holds for its writer and all its readers.
bool StreamOrdered(const std::vector<PlannedStage>& stages, int earlier, int later);

}  // namespace unimax
