// SPDX-License-Identifier: Apache-2.0
// The live buffers of an emulated device, so that an address outside all of them is noticed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

namespace unimax::emulator {

class GlobalMemory {
 public:
  // Kinds of access, each with a memory of the buffer it hit last: weights, activations and results alternate.
  enum Use { kRead, kReadOnce, kWrite, kUses };

  void Add(const void* address, size_t bytes) { buffers_[reinterpret_cast<uintptr_t>(address)] = bytes; }
  void Remove(const void* address) {
    buffers_.erase(reinterpret_cast<uintptr_t>(address));
    for (Range& r : last_) r = Range();
  }
  size_t BytesAt(const void* address) const {
    const auto it = buffers_.find(reinterpret_cast<uintptr_t>(address));
    return it == buffers_.end() ? 0 : it->second;
  }
  bool Contains(const void* address, size_t bytes, Use use) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(address);
    const Range& r = last_[use];
    if (at - r.begin < r.bytes && bytes <= r.bytes - (at - r.begin)) return true;
    return Find(at, bytes, use);
  }

 private:
  struct Range {
    uintptr_t begin = 0;
    size_t bytes = 0;
  };

  bool Find(uintptr_t at, size_t bytes, Use use) {
    auto it = buffers_.upper_bound(at);
    if (it == buffers_.begin()) return false;
    --it;
    last_[use] = {it->first, it->second};
    return at - it->first < it->second && bytes <= it->second - (at - it->first);
  }

  std::map<uintptr_t, size_t> buffers_;  // begin -> bytes
  Range last_[kUses];
};

}  // namespace unimax::emulator
