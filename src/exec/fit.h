// SPDX-License-Identifier: Apache-2.0
// Whether a model fits into memory, and the words for when it does not.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "exec/executor.h"

namespace unimax {

// kNoDevice with the sizes of weights, KV cache and workspace, what is free, and the --context that would fit, if any.
// `free`: bytes that all of `use` may take; `otherwise`: the remedy when no context would fit.
Status CheckFits(const MemoryUse& use, uint64_t free, const std::string& place, const ExecutorOptions& options,
                 const std::string& otherwise);

// Bytes that this machine can still give to a process without swapping (MemAvailable of /proc/meminfo); the largest
// number where that is not known.
uint64_t AvailableMemory();

}  // namespace unimax
