// SPDX-License-Identifier: Apache-2.0
// The reference executor: every op in double, weights dequantised to double. Slow and plain; the truth in tests.
#pragma once

#include <memory>

#include "exec/executor.h"
#include "weights/weight_source.h"

namespace unimax {

// Errors: of the source. Memory: 8 bytes a weight.
Result<std::unique_ptr<Executor>> MakeReferenceExecutor(const Program& program, const WeightSource& source,
                                                        const ExecutorOptions& options);

}  // namespace unimax
