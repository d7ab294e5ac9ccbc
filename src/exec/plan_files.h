// SPDX-License-Identifier: Apache-2.0
// Where the plan tables of `unimax tune` lie (kernels/plan_table.h).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "device/device.h"
#include "kernels/plan_table.h"

namespace unimax {

// Where tune keeps the table of a device: plans/nvidia-h200.sm_90a.plan in the model cache (base/flags.h); "" where
// there is no cache.
std::string PlanPath(const Limits& limits);

// The plan in a file, if it holds on such a device. Errors, the path first: kIo where it cannot be read, kBadModel
// where it is damaged, foreign or outdated.
Result<PlanFile> ReadPlanFor(const std::string& path, const Limits& limits);

// The texts of the tables that are part of the program (src/kernels/plans).
std::span<const std::string_view> BuiltInPlans();

// The table to plan by: the file `given`; "none": none; "": what tune has kept, else one of `built_in` for this device.
// A kept or given file that is damaged, foreign or outdated is left out with one line in the log; of `built_in` only
// the device must be the same. Errors: kIo where a file that was given cannot be read.
Result<std::optional<PlanTable>> FindPlan(const std::string& given, const Limits& limits,
                                          std::span<const std::string_view> built_in);

}  // namespace unimax
