// SPDX-License-Identifier: Apache-2.0
// Parts of check.h: how an output is fetched and compared, the reference of Linear rows, and the check of
// those whose weights have fewer bits.
#pragma once

#include <vector>

#include "kernels/check.h"

namespace unimax {

// y of the case in double: [M, N], or [M, N / 2] with kLinearActMul. x [M, K], w [N, K], bias [N] or null, residual
// like y or null.
std::vector<double> LinearReference(const Case& c, const double* x, const double* w, const double* bias,
                                    const double* residual);

// The first `count` elements of a buffer of `type`. Errors: of the device.
Result<std::vector<double>> FetchValues(Device& device, DType type, const Buffer& from, int64_t count);

// error and norm of an output of `type`, as many elements as the reference has. Errors: of the device.
Result<CheckResult> CompareWith(Device& device, DType type, const Buffer& out, const std::vector<double>& reference);

// A row whose weights have a form of their own (Case::weight). Errors: of the device.
Result<CheckResult> CheckForm(Device& device, const Row& row, const Case& c, uint64_t seed, int repeats);

}  // namespace unimax
