// SPDX-License-Identifier: Apache-2.0
// Philox4x32-10, a counter-based generator (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a draw
// is a pure function of (seed, position, stream), so it can be repeated anywhere. The choices of a request (n, best_of)
// are streams of one seed.
#pragma once

#include <array>
#include <cstdint>

namespace unimax {

inline std::array<uint32_t, 4> Philox(uint64_t key, uint64_t counter, uint32_t stream = 0) {
  std::array<uint32_t, 4> x = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), stream, 0};
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * x[0], b = uint64_t{0xCD9E8D57} * x[2];
    x = {static_cast<uint32_t>(b >> 32) ^ x[1] ^ k0, static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ x[3] ^ k1, static_cast<uint32_t>(a)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return x;
}

// Uniform in [0, 1) with 53 bits.
inline double PhiloxUniform(uint64_t key, uint64_t counter, uint32_t stream = 0) {
  const std::array<uint32_t, 4> x = Philox(key, counter, stream);
  return static_cast<double>((uint64_t{x[0]} << 32 | x[1]) >> 11) * 0x1p-53;
}

}  // namespace unimax
