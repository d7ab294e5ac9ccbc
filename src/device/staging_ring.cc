// SPDX-License-Identifier: Apache-2.0
#include "device/staging_ring.h"

namespace unimax {

StagingRing::~StagingRing() {
  for (Slot& slot : slots_) {
    if (slot.last_use == nullptr) continue;
    if (slot.in_use) driver_->calls().event_wait(slot.last_use);
    driver_->calls().event_destroy(slot.last_use);
  }
  if (memory_ != nullptr) driver_->calls().host_free(memory_);
}

int StagingRing::Acquire(std::byte** slot) {
  const GpuCalls& calls = driver_->calls();
  if (memory_ == nullptr) {
    void* memory = nullptr;
    if (const int code = calls.host_allocate(&memory, slot_bytes_ * slots_.size(), 0); code != 0) return code;
    memory_ = static_cast<std::byte*>(memory);
  }
  Slot& s = slots_[next_];
  if (s.last_use == nullptr) {
    if (const int code = calls.event_create(&s.last_use, kEventNoTiming); code != 0) return code;
  }
  if (s.in_use) {
    if (const int code = calls.event_wait(s.last_use); code != 0) return code;
    s.in_use = false;
  }
  *slot = memory_ + next_ * slot_bytes_;
  return 0;
}

int StagingRing::Release(DriverStream* stream) {
  Slot& s = slots_[next_];
  next_ = (next_ + 1) % slots_.size();
  if (const int code = driver_->calls().event_record(s.last_use, stream); code != 0) {
    // Without the event nothing tells when the slot is free: wait here, so that it is.
    driver_->calls().stream_wait(stream);
    return code;
  }
  s.in_use = true;
  return 0;
}

}  // namespace unimax
