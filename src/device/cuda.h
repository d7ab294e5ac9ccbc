// SPDX-License-Identifier: Apache-2.0
// NVIDIA GPUs through the CUDA driver API, whose library is opened at run time.
#pragma once

#include <memory>

#include "base/status.h"
#include "device/device.h"

namespace unimax {

// `index` counts the driver's devices from 0. Errors (kNoDevice): no driver, a driver older than the code objects (the
// minimum is named), no such device, no code object for it.
Result<std::unique_ptr<Device>> OpenCuda(int index);

}  // namespace unimax
