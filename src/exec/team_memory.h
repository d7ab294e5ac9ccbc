// SPDX-License-Identifier: Apache-2.0
// Memory of the team executor: taken from the system once, in large pages where it grants them, and given out in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/status.h"

namespace unimax {

class Arena {
 public:
  // Zero-filled. Errors: kIo when the system refuses.
  static Result<Arena> Take(uint64_t bytes);
  Arena() = default;
  Arena(Arena&& o) noexcept { *this = std::move(o); }
  Arena& operator=(Arena&& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(bytes_, o.bytes_);
    std::swap(used_, o.used_);
    return *this;
  }
  ~Arena();

  // What `Next` takes for `bytes`: whole cache lines, and one that readers may run past the end of.
  static constexpr uint64_t Rounded(uint64_t bytes) { return (bytes + 63) / 64 * 64 + 64; }
  // The next `bytes`, on a cache line of their own. The arena must have been taken large enough.
  std::byte* Next(uint64_t bytes) {
    UM_CHECK(used_ + Rounded(bytes) <= bytes_);
    std::byte* at = data_ + used_;
    used_ += Rounded(bytes);
    return at;
  }
  template <class T>
  T* NextOf(uint64_t count) {
    return reinterpret_cast<T*>(Next(count * sizeof(T)));
  }
  uint64_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0, used_ = 0;
};

}  // namespace unimax
