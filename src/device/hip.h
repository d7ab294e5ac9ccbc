// SPDX-License-Identifier: Apache-2.0
// AMD GPUs through the HIP runtime library, opened at run time.
#pragma once

#include <memory>

#include "base/status.h"
#include "device/device.h"

namespace unimax {

// `index` counts the driver's devices from 0. Errors (kNoDevice): no driver library, no AMD GPU, no code object for it.
Result<std::unique_ptr<Device>> OpenHip(int index);

}  // namespace unimax
