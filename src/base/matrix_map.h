// SPDX-License-Identifier: Apache-2.0
// How the copy engine of a device finds boxes of a matrix in memory (device/device.h: MapMatrix). Only the driver that
// made it and the engine know what the bytes say. No includes: this header is also compiled for GPUs.
#pragma once

namespace unimax {

struct alignas(64) MatrixMap {
  unsigned char bytes[128];
};

}  // namespace unimax
