// SPDX-License-Identifier: Apache-2.0
// The plan: which row of the kernel table takes an op at a shape. A pure function of case, limits, what is forced and
// what was measured.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "kernels/plan_table.h"
#include "kernels/table.h"

namespace unimax {

// Rows of `op` named `variant` come before all others, where one fits.
struct ForcedRow {
  OpKind op = OpKind::kAdd;
  std::string variant;
};

// "attention=unified,linear=tiled": ops and variants of the table, in any case. Errors: kUsage, with those there are.
Result<std::vector<ForcedRow>> ParseForced(const std::string& text);

// Where a choice comes from, the stronger one first.
enum class PlanSource : uint8_t { kForced, kMeasured, kOrder };
struct Planned {
  const Row* row = nullptr;  // null: nothing fits
  PlanSource source = PlanSource::kOrder;
};
// What is forced and fits; else what `table` (null: none) has and fits; else the first row that fits, since rows of an
// op stand best first. Sums that must come in one order (Case::split_tokens) leave the measured rows out.
Planned PlanWith(const Case& wanted, const Limits& limits, std::span<const ForcedRow> forced, const PlanTable* table);
inline const Row* PlanRow(const Case& wanted, const Limits& limits, std::span<const ForcedRow> forced = {},
                          const PlanTable* table = nullptr) {
  return PlanWith(wanted, limits, forced, table).row;
}

// The rows among which measuring may choose: those that fit, in the table's order. Without the unified softmax, whose
// time depends on the values of q and k, which nobody has measured.
std::vector<const Row*> CandidateRows(const Case& wanted, const Limits& limits);

}  // namespace unimax
