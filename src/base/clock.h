// SPDX-License-Identifier: Apache-2.0
// Time for measuring: monotonic, never the wall clock.
#pragma once

#include <chrono>
#include <cstdint>

namespace unimax {

// Milliseconds since an arbitrary moment of this process's machine.
inline double NowMilliseconds() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Microseconds since the same moment.
inline int64_t NowMicroseconds() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace unimax
