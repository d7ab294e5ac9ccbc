// SPDX-License-Identifier: Apache-2.0
// bench_bodies: what benches need besides the ops: random weights made on the device, and the plain read rate.
// Who calls: exec/read_rate (the rate), exec/graph_weights (random sources).
// Work:      grid-stride loops over 16-byte words.
// Bound:     memory. bytes = the buffer once.
// Launch:    any grid; threads 256..1,024; no shared memory.
// Reference: none for the rate; values are uniform in [-scale, scale), checked by their variance.
// Source:    the finaliser of SplitMix64 (Steele et al. 2014) as a counter-based generator.
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

UM_DEVICE unsigned RandomBits(unsigned long long counter) {
  unsigned long long z = (counter + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return static_cast<unsigned>((z ^ (z >> 31)) >> 32);
}

template <class T>
UM_DEVICE void FillRandom(const FillRandomArgs& a) {
  T* y = static_cast<T*>(a.y);
  const long long step = static_cast<long long>(GridX()) * BlockThreads();
  for (long long i = static_cast<long long>(BlockX()) * BlockThreads() + Thread(); i < a.count; i += step) {
    const float unit =
        static_cast<float>(RandomBits(a.seed + static_cast<unsigned long long>(i)) >> 8) * 0x1p-23f - 1.0f;
    y[i] = FromFloat<T>(a.offset + unit * a.scale);
  }
}

// Reads `words` 16-byte words; the sum is stored only if it has a value that random data never gives, so that the loads
// stay and no store happens.
UM_DEVICE void ReadRate(const ReadRateArgs& a) {
  constexpr int kDepth = 8;
  const char* base = static_cast<const char*>(a.x);
  const long long step = static_cast<long long>(GridX()) * BlockThreads();
  unsigned mix = 0;
  long long i = static_cast<long long>(BlockX()) * BlockThreads() + Thread();
  for (; i + (kDepth - 1) * step < a.words; i += kDepth * step) {
    Vec16 v[kDepth];
#pragma unroll
    for (int d = 0; d < kDepth; ++d) v[d] = Load16Once(base + (i + d * step) * 16);
#pragma unroll
    for (int d = 0; d < kDepth; ++d) mix ^= v[d].w[0] ^ v[d].w[1] ^ v[d].w[2] ^ v[d].w[3];
  }
  for (; i < a.words; i += step) mix ^= Load16Once(base + i * 16).w[0];
  if (mix == a.never) a.sink[0] = mix;
}

}  // namespace unimax::UM_PORT_NAMESPACE
