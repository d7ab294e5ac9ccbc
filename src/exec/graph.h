// SPDX-License-Identifier: Apache-2.0
// The graph executor: one kernel an op on a Device (GPU or emulator). Decode steps are captured once for each (batch,
// power-of-two length) and replayed; other steps are launched op by op.
#pragma once

#include <memory>
#include <vector>

#include "base/layout.h"
#include "device/device.h"
#include "exec/executor.h"
#include "kernels/plan.h"
#include "weights/weight_source.h"

namespace unimax {

struct GraphOptions {
  DType act = DType::kBF16;  // activations, packed weights and KV: f32 (exact rows, plain weights), bf16 or f16
  bool capture = true;       // replay decode steps as graphs
  bool ahead = true;         // steps are launched while the one before still runs
  // Every sum in one order whatever the step holds: products by the flat rows alone, 64 columns at a time; attention by
  // the decode rows alone, each row for itself, its tokens cut at fixed places. No stream.
  bool deterministic = false;
  // Decode steps of few rows in one launch (exec/stream.h): where program and device allow it and it pays; never; or
  // wherever they allow it, and an error where they do not.
  enum Stream : uint8_t { kWhereItFits, kNever, kAlways } stream = kWhereItFits;
  bool note_times = false;             // of streamed steps, for StageTimes
  bool note_scores = false;            // for LargestScores: bf16, op by op alone
  std::vector<float> phi = {};         // [layers, KV heads]: bases of the unified softmax; empty: 0
  std::vector<ForcedRow> forced = {};  // rows of the table that are taken where they fit, in place of the plan's
  const PlanTable* plan = nullptr;     // what was measured on this device; must outlive the executor
};

// The program as this executor runs it: with the epilogues that its rows have.
Program FuseForGraph(const Program& program, DType act);

// `device` must outlive the executor. Errors: of the source; kNoDevice when weights, KV and workspace do not fit, with
// their sizes and the context that would; kInternal when no row fits an op.
Result<std::unique_ptr<Executor>> MakeGraphExecutor(const Program& program, const WeightSource& source, Device& device,
                                                    const ExecutorOptions& options, const GraphOptions& graph);

}  // namespace unimax
