// SPDX-License-Identifier: Apache-2.0
// The kernels an emulator can run: kernels/gpu/emulator_entries.cc lists the product's, a test may bring its own.
#pragma once

#include <memory>
#include <span>

#include "device/emulator.h"

namespace unimax {

struct EmulatorEntry {
  const char* name = nullptr;
  int args_bytes = 0;
  int max_threads = 0;
  void (*run)(const void* args) = nullptr;  // one thread of one block; who it is comes from emulator_grid.h
  int cluster = 1;  // neighbouring blocks that share copies and barriers; then all blocks must run together
};

std::span<const EmulatorEntry> EmulatorEntries32();
std::span<const EmulatorEntry> EmulatorEntries64();
// With the matrix instructions of other AMD GPUs (base/fragments.h); only tests link these.
std::span<const EmulatorEntry> EmulatorEntriesMfma32();
std::span<const EmulatorEntry> EmulatorEntriesWmma11();
std::span<const EmulatorEntry> EmulatorEntriesWmma12();

// OpenEmulator with other kernels than the product's; `entries` must outlive the device.
Result<std::unique_ptr<Device>> OpenEmulatorWith(const EmulatorOptions& options,
                                                 std::span<const EmulatorEntry> entries);

}  // namespace unimax
