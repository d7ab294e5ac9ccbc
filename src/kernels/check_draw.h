// SPDX-License-Identifier: Apache-2.0
// The check of rows that draw tokens, a part of check.h: rows of a step that differ in everything a DrawRow may ask.
#pragma once

#include "kernels/check.h"

namespace unimax {

// error: so many rows whose id is not the reference's, or whose logits are not as they were. Errors: of the device.
Result<CheckResult> CheckDraws(Device& device, const Row& row, const Case& c, uint64_t seed, int repeats);

// The median of `repeats` timed runs of a launch; 0 where there are none. Errors: of the device.
Result<double> MedianMicroseconds(Device& device, const Launch& launch, int repeats);

}  // namespace unimax
