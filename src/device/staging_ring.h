// SPDX-License-Identifier: Apache-2.0
// Page-locked host memory in equal slots, used in turn. Transfers from page-locked memory run beside the host and at
// the link's full rate; a slot is reused only when the transfer that read it has ended.
#pragma once

#include <cstddef>
#include <vector>

#include "device/gpu_driver.h"

namespace unimax {

class StagingRing {
 public:
  // Takes memory at the first Acquire, not before.
  StagingRing(const GpuDriver* driver, size_t slot_bytes, int slots)
      : driver_(driver), slot_bytes_(slot_bytes), slots_(static_cast<size_t>(slots)) {}
  StagingRing(const StagingRing&) = delete;
  StagingRing& operator=(const StagingRing&) = delete;
  ~StagingRing();

  size_t slot_bytes() const { return slot_bytes_; }
  // The next slot, when no transfer reads it any more: waits for the oldest transfer. Returns the driver's number.
  int Acquire(std::byte** slot);
  // Notes that work queued on `stream` so far may read the slot given last.
  int Release(DriverStream* stream);

 private:
  struct Slot {
    DriverEvent* last_use = nullptr;
    bool in_use = false;
  };
  const GpuDriver* driver_;
  size_t slot_bytes_;
  std::vector<Slot> slots_;
  std::byte* memory_ = nullptr;
  size_t next_ = 0;
};

}  // namespace unimax
