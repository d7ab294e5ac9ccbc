// SPDX-License-Identifier: Apache-2.0
// The words in which the CPU bodies are written. UM_ISA names the instruction set and with it a namespace,
// UM_ISA_HEADER the header that gives the words their meaning there:
//   F, kLanes            a vector of floats       Load Store LoadHalf StoreHalf LoadBrain Set First
//   Fma Max Min Abs      arithmetic               Round Scale SumOf MaxOf StoreBytes
//   Dots, I              integer dot products     LoadWeights LowNibbles HighNibbles FourColumns AddNibbles AddBytes
// Nothing here or in the bodies may emit a function that an object of another instruction set could be linked to: no
// std:: functions, no inline functions of other folders, no constructors that run at start.
#pragma once

#include UM_ISA_HEADER

#include <cstddef>
#include <cstdint>

namespace unimax::UM_ISA {

inline constexpr int kTail = 64;  // bytes of the largest vector

inline int Least(int a, int b) { return a < b ? a : b; }
inline int Most(int a, int b) { return a > b ? a : b; }

// The part of [0, count) that thread `thread` of `threads` owns.
struct Range {
  int begin, end;
};
inline Range RangeOf(int count, int thread, int threads) {
  return {static_cast<int>(int64_t{count} * thread / threads),
          static_cast<int>(int64_t{count} * (thread + 1) / threads)};
}

inline F LoadFirst(const float* p, int count) {  // count < kLanes; the rest is 0
  alignas(kTail) float part[kLanes] = {};
  for (int i = 0; i < count; ++i) part[i] = p[i];
  return Load(part);
}
inline void StoreFirst(float* p, F v, int count) {
  alignas(kTail) float part[kLanes];
  Store(part, v);
  for (int i = 0; i < count; ++i) p[i] = part[i];
}

// e^x with an error of about 1 unit in the last place; below -87 it stays at e^-87, above 88.3 at e^88.3. NaN stays.
// x = n ln 2 + r; e^r = 1 + r + r^2 q(r) on |r| <= ln 2 / 2, q fitted here for the least relative error (2^-27).
inline F Exp(F x) {
  x = Min(Set(88.3f), Max(Set(-87.0f), x));
  const F n = Round(x * Set(0x1.715476p+0f));
  const F r = Fma(n, Set(-0x1.0bfbe8p-15f), Fma(n, Set(-0x1.62ep-1f), x));  // ln 2 in two parts: n * 0x1.62e is exact
  F q = Set(0x1.6a23cep-10f);
  q = Fma(q, r, Set(0x1.123a20p-7f));
  q = Fma(q, r, Set(0x1.5558f2p-5f));
  q = Fma(q, r, Set(0x1.555492p-3f));
  q = Fma(q, r, Set(0x1.fffffcp-2f));
  return Scale(Fma(q, r * r, r + Set(1.0f)), n);
}

}  // namespace unimax::UM_ISA
