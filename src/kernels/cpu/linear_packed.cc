// SPDX-License-Identifier: Apache-2.0
// linear_packed: y[M,N] = x[M,K] * w[N,K]^T (+ bias) (+ residual) for packed integer weights and quantised activations.
// Who calls: the team executor, through CpuKernels::linear.
// Work:      a thread owns a range of groups of rows (packed.h); a pass over a group's blocks serves kTokenTile tokens.
// Bound:     M = 1: memory, bytes = packed bytes of w; large M: integer multiply-add rate.
// Launch:    every thread of the team; K % 32 == 0; x rows as QuantizeArgs writes them.
// Reference: RefLinear, tolerance in table_cpu.cc. Sum order: 32 columns in integers, then blocks in turn in f32,
//            the same for every M, so a row's result does not depend on the batch.
#include "kernels/cpu/activate.h"
#include "kernels/cpu/bodies.h"
#include "kernels/cpu/vec.h"

namespace unimax::UM_ISA {
namespace {

// Tokens whose quantised rows stay in the second-level cache while a thread walks its groups.
constexpr int kTokenBlock = 128;
constexpr int kPrefetch = 2560;  // bytes ahead: about one memory latency at the read rate of a core

struct Token {
  const int8_t* q;
  const float* scale;
  const float* scale_sum;
  const int32_t* sum;
};

inline Token TokenAt(const void* x, int row, int k) {
  const std::byte* p = static_cast<const std::byte*>(x) + row * QuantizedStride(k);
  const int blocks = k / 32;
  const auto* scale = reinterpret_cast<const float*>(p + k);
  return {reinterpret_cast<const int8_t*>(p), scale, scale + blocks,
          reinterpret_cast<const int32_t*>(scale + 2 * blocks)};
}

template <bool kNibbles, bool kMinimum, int T>
inline void Tile(const uint8_t* w, const Token* tokens, int blocks, F* out) {
  constexpr int kVector = kLanes * 4;
  constexpr int kQuants = (kNibbles ? 4 : 8) * kVector;
  constexpr int kBlock = kQuants + kLanes * (kMinimum ? 4 : 2);
  constexpr int kOffset = kNibbles ? (kMinimum ? 0 : -8) : -int{kByteFlip};
  F sums[T];
  for (int t = 0; t < T; ++t) sums[t] = Set(0.0f);
  for (int b = 0; b < blocks; ++b, w += kBlock) {
    if constexpr (T == 1) {
      for (int i = 0; i < kBlock; i += 64) __builtin_prefetch(w + kPrefetch + i);
    }
    Dots dots[T];
    for (int t = 0; t < T; ++t) dots[t] = NoDots();
#pragma GCC unroll 8
    for (int i = 0; i < (kNibbles ? 4 : 8); ++i) {
      const I v = LoadWeights(w + i * kVector);
      if constexpr (kNibbles) {
        const I low = LowNibbles(v), high = HighNibbles(v);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) {
          AddNibbles(&dots[t], low, FourColumns(tokens[t].q + b * 32 + i * 4));
          AddNibbles(&dots[t], high, FourColumns(tokens[t].q + b * 32 + i * 4 + 16));
        }
      } else {
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) AddBytes(&dots[t], v, FourColumns(tokens[t].q + b * 32 + i * 4));
      }
    }
    const auto* half = reinterpret_cast<const uint16_t*>(w + kQuants);
    const F d = LoadHalf(half);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const int32_t offset = kOffset == 0 ? 0 : kOffset * tokens[t].sum[b];
      const F dot = kNibbles ? NibbleDots(dots[t], offset) : ByteDots(dots[t], offset);
      sums[t] = Fma(dot, d * Set(tokens[t].scale[b]), sums[t]);
    }
    if constexpr (kMinimum) {
      const F m = LoadHalf(half + kLanes);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) sums[t] = Fma(m, Set(tokens[t].scale_sum[b]), sums[t]);
    }
  }
  for (int t = 0; t < T; ++t) out[t] = sums[t];
}

inline void Finish(const LinearArgs& a, int token, int row, F sum) {
  const int64_t at = int64_t{token} * a.y_stride + row;
  float* y = static_cast<float*>(a.y) + at;
  const int count = a.n - row;
  const bool traits = HasTraits(a);
  if (count >= kLanes) {
    if (a.bias != nullptr) sum = sum + Load(a.bias + row);
    if (traits) sum = ActOf(a.act, sum) * Set(a.scale);
    if (a.residual != nullptr) sum = sum + Load(a.residual + at);
    if (traits && a.cap > 0.0f) sum = Cap(sum, a.cap);
    Store(y, sum);
  } else {
    if (a.bias != nullptr) sum = sum + LoadFirst(a.bias + row, count);
    if (traits) sum = ActOf(a.act, sum) * Set(a.scale);
    if (a.residual != nullptr) sum = sum + LoadFirst(a.residual + at, count);
    if (traits && a.cap > 0.0f) sum = Cap(sum, a.cap);
    StoreFirst(y, sum, count);
  }
}

template <bool kNibbles, bool kMinimum, int T>
inline int Tokens(const LinearArgs& a, const uint8_t* w, int row, int token, int end) {
  for (; token + T <= end; token += T) {
    Token tokens[T];
    for (int t = 0; t < T; ++t) tokens[t] = TokenAt(a.x, token + t, a.k);
    F sums[T];
    Tile<kNibbles, kMinimum, T>(w, tokens, a.k / 32, sums);
    for (int t = 0; t < T; ++t) Finish(a, token + t, row, sums[t]);
  }
  return token;
}

template <bool kNibbles, bool kMinimum>
void Packed(const LinearArgs& a, int thread, int threads) {
  constexpr int kBlock = kLanes * ((kNibbles ? 16 : 32) + (kMinimum ? 4 : 2));
  const int64_t group_bytes = int64_t{a.k / 32} * kBlock;
  const Range groups = RangeOf((a.n + kLanes - 1) / kLanes, thread, threads);
  for (int first = 0; first < a.m; first += kTokenBlock) {
    const int end = Least(a.m, first + kTokenBlock);
    for (int g = groups.begin; g < groups.end; ++g) {
      const uint8_t* w = static_cast<const uint8_t*>(a.w) + g * group_bytes;
      int token = first;
      token = Tokens<kNibbles, kMinimum, kTokenTile>(a, w, g * kLanes, token, end);
      if constexpr (kTokenTile > 4) token = Tokens<kNibbles, kMinimum, 4>(a, w, g * kLanes, token, end);
      token = Tokens<kNibbles, kMinimum, 2>(a, w, g * kLanes, token, end);
      Tokens<kNibbles, kMinimum, 1>(a, w, g * kLanes, token, end);
    }
  }
}

}  // namespace

void LinearI4(const LinearArgs& a, int thread, int threads) { Packed<true, false>(a, thread, threads); }
void LinearI4Min(const LinearArgs& a, int thread, int threads) { Packed<true, true>(a, thread, threads); }
void LinearI8(const LinearArgs& a, int thread, int threads) { Packed<false, false>(a, thread, threads); }
void LinearI8Min(const LinearArgs& a, int thread, int threads) { Packed<false, true>(a, thread, threads); }

// quantize: x = scale * q in blocks of 32, q in [-127, 127]. A block with a value that is not finite gets a NaN scale,
// so that the fault reaches the logits.
void Quantize(const QuantizeArgs& a, int thread, int threads) {
  const int blocks = a.k / 32;
  const Range range = RangeOf(a.m * blocks, thread, threads);
  for (int i = range.begin; i < range.end; ++i) {
    const int row = i / blocks, b = i % blocks;
    const float* x = a.x + int64_t{row} * a.x_stride + b * 32;
    std::byte* y = a.y + row * QuantizedStride(a.k);
    auto* scales = reinterpret_cast<float*>(y + a.k);
    F top = Set(0.0f), poison = Set(0.0f);
    for (int j = 0; j < 32; j += kLanes) {
      const F v = Load(x + j);
      top = Max(top, Abs(v));
      poison = Fma(v, Set(0.0f), poison);
    }
    const float largest = MaxOf(top) + SumOf(poison);
    const F inverse = Set(largest > 0.0f ? 127.0f / largest : 0.0f);
    F sum = Set(0.0f);
    for (int j = 0; j < 32; j += kLanes) {
      // Clamped: where the inverse overflows or the scale is NaN the integers must still be integers.
      const F q = Max(Set(-127.0f), Min(Set(127.0f), Round(Load(x + j) * inverse)));
      sum = sum + q;
      StoreBytes(reinterpret_cast<int8_t*>(y) + b * 32 + j, q);
    }
    const float scale = largest / 127.0f, total = SumOf(sum);
    scales[b] = scale;
    scales[blocks + b] = scale * total;
    reinterpret_cast<int32_t*>(scales)[2 * blocks + b] = largest >= 0.0f ? static_cast<int32_t>(total) : 0;
  }
}

}  // namespace unimax::UM_ISA
