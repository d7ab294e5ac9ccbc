// SPDX-License-Identifier: Apache-2.0
// The machine's read rate: what memory-bound steps are measured against.
#pragma once

#include "base/status.h"
#include "device/device.h"

namespace unimax {

// Bytes a second of one pass over a buffer of random data much larger than the caches: best of five. On a device by
// the read_rate kernel, on the CPU (`device` null) by `threads` threads (0: all).
Result<double> ReadRate(Device* device, int threads);

}  // namespace unimax
