// SPDX-License-Identifier: Apache-2.0
// Runs rows of the kernel table on a device against the reference: the one loop behind the test, `unimax selftest` and
// the micro-bench.
#pragma once

#include <string>

#include "base/status.h"
#include "device/device.h"
#include "kernels/table.h"

namespace unimax {

struct CheckResult {
  // ||y - reference|| / ||reference||; infinity where an element was not written or is not finite, or where a row that
  // must have the same bits alone has others.
  double error = 0;
  double norm = 0;          // ||reference||: zero would compare nothing
  double microseconds = 0;  // median of `repeats` timed launches, 0 when not timed
};

// Fresh random inputs from `seed`, rounded to the row's type; outputs are poisoned before the launch.
// `repeats` > 0 times the launch as well. Errors: of the device.
Result<CheckResult> CheckRow(Device& device, const Row& row, const Case& c, uint64_t seed, int repeats);

// Whether the row takes this case on this device (its `fits`), so that a walk over the table can skip it.
bool RowTakes(const Row& row, const Case& c, const Limits& limits);

// "m=1 n=64 k=64" or "m=2 heads=9/3 dim=64 tokens=333 decode".
std::string CaseName(const Row& row, const Case& c);

}  // namespace unimax
