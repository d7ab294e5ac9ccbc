// SPDX-License-Identifier: Apache-2.0
// A device on host fibers: it runs the portable kernels' own source, with 32 or 64 lanes, any order of blocks and
// groups, and a check for races on shared memory. Device addresses are host addresses.
#pragma once

#include <cstdint>
#include <memory>

#include "base/status.h"
#include "device/device.h"

namespace unimax {

struct EmulatorOptions {
  int lanes = 32;            // 32 or 64
  uint64_t seed = 0;         // order of blocks and groups; 0: in order
  bool check_races = false;  // a race on shared memory becomes a fault of the launch (about 3 times slower)
  int together = 1 << 30;    // blocks that can run at the same time, where a launch wants all of them to
};

// Errors: kUsage for another number of lanes.
Result<std::unique_ptr<Device>> OpenEmulator(const EmulatorOptions& options);

}  // namespace unimax
