// SPDX-License-Identifier: Apache-2.0
// The check of Linear rows, a part of check.h: the reference of all of them, and those whose weights have fewer bits.
#pragma once

#include <vector>

#include "kernels/check.h"

namespace unimax {

// y of the case in double: [M, N], or [M, N / 2] with kLinearActMul. x [M, K], w [N, K], bias [N] or null, residual
// like y or null.
std::vector<double> LinearReference(const Case& c, const double* x, const double* w, const double* bias,
                                    const double* residual);

// A row whose weights have a form of their own (Case::weight). Errors: of the device.
Result<CheckResult> CheckForm(Device& device, const Row& row, const Case& c, uint64_t seed, int repeats);

}  // namespace unimax
