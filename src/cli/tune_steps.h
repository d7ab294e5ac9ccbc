// SPDX-License-Identifier: Apache-2.0
// Whole decode steps in one launch and op by op, for the plan's choice between the two (exec/stream.h).
#pragma once

#include <span>
#include <vector>

#include "cli/tune_guard.h"
#include "engine/model.h"
#include "kernels/plan_table.h"

namespace unimax {

// At each of `batches` that the one launch takes (at most 8 rows), with `context` cached tokens; empty where the model
// or the device is not for it. Loads the model twice, one after the other. `options.plan`: for the steps op by op.
// Errors: of Model::Load and of the device.
Result<std::vector<PlanStep>> MeasureSteps(ModelOptions options, std::span<const int> batches, int context,
                                           TuneGuard& guard);

}  // namespace unimax
