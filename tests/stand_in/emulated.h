// SPDX-License-Identifier: Apache-2.0
// Launches of AMD code objects on the emulator: the code object says what a launch may be, the portable source that it
// was made from says what happens.
#pragma once

#include <map>
#include <memory>
#include <string_view>

#include "device/emulator_entry.h"
#include "device/emulator_grid.h"
#include "stand_in/code_object.h"

namespace unimax {

// The kernel of that name for the target's lanes and matrix instruction; null where there is none.
const EmulatorEntry* EmulatedEntry(std::string_view target, std::string_view name);

// What is wrong with a launch, "" when it may run. `entry_args` are the bytes that the host's source hands over.
std::string RefusedLaunch(const KernelCode& code, int entry_args, int threads, int shared_bytes, int shared_limit);

class EmulatedGpu {
 public:
  void Add(const void* address, size_t bytes) { memory_.Add(address, bytes); }
  void Remove(const void* address) { memory_.Remove(address); }
  Status Run(const EmulatorEntry& entry, int lanes, const Launch& launch);

 private:
  emulator::GlobalMemory memory_;
  std::map<int, std::unique_ptr<emulator::Grid>> grids_;  // by lanes
};

}  // namespace unimax
