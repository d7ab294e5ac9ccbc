// SPDX-License-Identifier: Apache-2.0
// The plan: which row of the kernel table takes an op at a shape. A pure function of case, limits and what is forced.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "kernels/table.h"

namespace unimax {

// Rows of `op` named `variant` come before all others, where one fits.
struct ForcedRow {
  OpKind op = OpKind::kAdd;
  std::string variant;
};

// "attention=unified,linear=tiled": ops and variants of the table, in any case. Errors: kUsage, with those there are.
Result<std::vector<ForcedRow>> ParseForced(const std::string& text);

// The first row that fits; rows of an op stand best first. Null: nothing fits.
const Row* PlanRow(const Case& wanted, const Limits& limits, std::span<const ForcedRow> forced = {});

}  // namespace unimax
