// SPDX-License-Identifier: Apache-2.0
// linear_plain: y[M,N] = x[M,K] * w[N,K]^T (+ bias) (+ residual) for f32, f16 and bf16 rows as they lie in the file,
//            with the epilogue of LinearArgs.
// Who calls: the team executor, through CpuKernels::linear.
// Work:      a thread owns a range of rows; 4 rows x up to 4 tokens are accumulated in registers along K.
// Bound:     M = 1: memory, bytes = N * K * bytes(w); large M: multiply-add rate.
// Launch:    every thread of the team; any N, K.
// Reference: RefLinear, tolerance in table_cpu.cc. Sum order: lanes along K, then the lanes, then the tail; the
//            same for every M.
#include "kernels/cpu/activate.h"
#include "kernels/cpu/bodies.h"
#include "kernels/cpu/vec.h"

namespace unimax::UM_ISA {
namespace {

constexpr int kRows = 4;
constexpr int kTokenBlock = 64;  // tokens walked for one set of rows before the next

struct Single {
  using Element = float;
  static F LoadWeight(const float* p) { return Load(p); }
};
struct Half {
  using Element = uint16_t;
  static F LoadWeight(const uint16_t* p) { return LoadHalf(p); }
};
struct Brain {
  using Element = uint16_t;
  static F LoadWeight(const uint16_t* p) { return LoadBrain(p); }
};

// The last k % kLanes columns of a row, the rest zero.
template <class Type>
inline F LoadTail(const typename Type::Element* p, int count) {
  alignas(kTail) typename Type::Element part[kLanes] = {};
  for (int i = 0; i < count; ++i) part[i] = p[i];
  return Type::LoadWeight(part);
}

// cap(act(sum) * scale + residual): few models want it.
[[gnu::noinline]] float Traits(const LinearArgs& a, float sum, int64_t at) {
  alignas(kTail) float wide[kLanes];
  Store(wide, ActOf(a.act, Set(sum)) * Set(a.scale));
  if (a.residual != nullptr) wide[0] += a.residual[at];
  if (a.cap > 0.0f) Store(wide, Cap(Set(wide[0]), a.cap));
  return wide[0];
}

template <class Type, int R, int T>
inline void Tile(const LinearArgs& a, int row, int token) {
  using E = typename Type::Element;
  const E* w = static_cast<const E*>(a.w) + int64_t{row} * a.k;
  const float* x = static_cast<const float*>(a.x) + int64_t{token} * a.x_stride;
  F sums[R][T];
  for (int r = 0; r < R; ++r) {
    for (int t = 0; t < T; ++t) sums[r][t] = Set(0.0f);
  }
  int k = 0;
  for (; k + kLanes <= a.k; k += kLanes) {
    F xs[T];
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) xs[t] = Load(x + int64_t{t} * a.x_stride + k);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const F v = Type::LoadWeight(w + int64_t{r} * a.k + k);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) sums[r][t] = Fma(v, xs[t], sums[r][t]);
    }
  }
  if (k < a.k) {
    for (int r = 0; r < R; ++r) {
      const F v = LoadTail<Type>(w + int64_t{r} * a.k + k, a.k - k);
      for (int t = 0; t < T; ++t) sums[r][t] = Fma(v, LoadFirst(x + int64_t{t} * a.x_stride + k, a.k - k), sums[r][t]);
    }
  }
  const bool traits = HasTraits(a);
  for (int t = 0; t < T; ++t) {
    const int64_t at = int64_t{token + t} * a.y_stride + row;
    for (int r = 0; r < R; ++r) {
      float sum = SumOf(sums[r][t]);
      if (a.bias != nullptr) sum += a.bias[row + r];
      if (traits) {
        sum = Traits(a, sum, at + r);
      } else if (a.residual != nullptr) {
        sum += a.residual[at + r];
      }
      static_cast<float*>(a.y)[at + r] = sum;
    }
  }
}

template <class Type, int R>
inline void Rows(const LinearArgs& a, int row, int token, int end) {
  constexpr int kTokens = kLanes >= 16 ? 4 : 2;  // 16 registers hold 4 x 2 sums, 32 hold 4 x 4
  for (; token + kTokens <= end; token += kTokens) Tile<Type, R, kTokens>(a, row, token);
  for (; token < end; ++token) Tile<Type, R, 1>(a, row, token);
}

template <class Type>
void Plain(const LinearArgs& a, int thread, int threads) {
  const Range sets = RangeOf((a.n + kRows - 1) / kRows, thread, threads);
  for (int first = 0; first < a.m; first += kTokenBlock) {
    const int end = Least(a.m, first + kTokenBlock);
    for (int set = sets.begin; set < sets.end; ++set) {
      int row = set * kRows;
      if (row + kRows <= a.n) {
        Rows<Type, kRows>(a, row, first, end);
      } else {
        for (; row < a.n; ++row) Rows<Type, 1>(a, row, first, end);
      }
    }
  }
}

}  // namespace

void LinearF32(const LinearArgs& a, int thread, int threads) { Plain<Single>(a, thread, threads); }
void LinearF16(const LinearArgs& a, int thread, int threads) { Plain<Half>(a, thread, threads); }
void LinearBF16(const LinearArgs& a, int thread, int threads) { Plain<Brain>(a, thread, threads); }

}  // namespace unimax::UM_ISA
