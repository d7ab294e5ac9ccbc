// SPDX-License-Identifier: Apache-2.0
// norm, act_mul, add, best: the ops that read and write each value once.
// Who calls: the team executor, through CpuKernels.
// Work:      norm: a thread owns rows; act_mul and add: a range of 32-column pieces of all rows.
// Bound:     cache: all of it was just written.
// Launch:    every thread of the team; any width.
// Reference: RefNorm, RefActMul, RefAdd, RefSample, tolerances in table_cpu.cc.
#include "kernels/cpu/activate.h"
#include "kernels/cpu/bodies.h"
#include "kernels/cpu/vec.h"

namespace unimax::UM_ISA {
namespace {

constexpr int kPiece = 32;  // columns; threads meet only at cache-line borders

// Calls op(row, column, count) for the pieces of [m, cols] that this thread owns.
template <class Op>
inline void ForPieces(int m, int cols, int thread, int threads, Op&& op) {
  const int pieces = (cols + kPiece - 1) / kPiece;
  const Range range = RangeOf(m * pieces, thread, threads);
  for (int i = range.begin; i < range.end; ++i) {
    const int column = i % pieces * kPiece;
    op(i / pieces, column, Least(kPiece, cols - column));
  }
}

inline F SiluMul(F gate, F up) { return gate / (Set(1.0f) + Exp(Set(0.0f) - gate)) * up; }

inline float Mean(const float* x, int cols) {
  F sums = Set(0.0f);
  int c = 0;
  for (; c + kLanes <= cols; c += kLanes) sums = sums + Load(x + c);
  float sum = SumOf(sums);
  for (; c < cols; ++c) sum += x[c];
  return sum / static_cast<float>(cols);
}

inline float MeanSquare(const float* x, int cols, float mean) {
  F sums = Set(0.0f);
  int c = 0;
  for (; c + kLanes <= cols; c += kLanes) {
    const F v = Load(x + c) - Set(mean);
    sums = Fma(v, v, sums);
  }
  float sum = SumOf(sums);
  for (; c < cols; ++c) sum += (x[c] - mean) * (x[c] - mean);
  return sum / static_cast<float>(cols);
}

// Any traits: heads, strides, means, offsets, biases. y may be x.
inline void NormAny(const NormArgs& a, int thread, int threads) {
  const Range units = RangeOf(a.m * a.groups, thread, threads);
  const int x_stride = a.x_stride > 0 ? a.x_stride : a.groups * a.cols;
  const int y_stride = a.y_stride > 0 ? a.y_stride : a.groups * a.cols;
  for (int u = units.begin; u < units.end; ++u) {
    const int row = u / a.groups, group = u % a.groups;
    const float* x = static_cast<const float*>(a.x) + int64_t{row} * x_stride + int64_t{group} * a.cols;
    float* y = static_cast<float*>(a.y) + int64_t{row} * y_stride + int64_t{group} * a.cols;
    const float mean = (a.flags & kNormLayer) != 0 ? Mean(x, a.cols) : 0.0f;
    const float scale = 1.0f / __builtin_sqrtf(MeanSquare(x, a.cols, mean) + a.eps);
    int c = 0;
    for (; c + kLanes <= a.cols; c += kLanes) {
      const F v = (Load(x + c) - Set(mean)) * Set(scale) * (Load(a.weight + c) + Set(a.offset));
      Store(y + c, a.bias != nullptr ? v + Load(a.bias + c) : v);
    }
    for (; c < a.cols; ++c) {
      const float v = (x[c] - mean) * scale * (a.weight[c] + a.offset);
      y[c] = a.bias != nullptr ? v + a.bias[c] : v;
    }
  }
}

template <Activation kAct>
inline void ActMulOf(const ActMulArgs& a, int thread, int threads) {
  ForPieces(a.m, a.cols, thread, threads, [&](int row, int column, int count) {
    const float* x = static_cast<const float*>(a.gate) + int64_t{row} * a.stride + column;
    const float* up = static_cast<const float*>(a.up);
    if (up != nullptr) up += int64_t{row} * a.stride + column;
    float* y = static_cast<float*>(a.y) + int64_t{row} * a.cols + column;
    int c = 0;
    for (; c + kLanes <= count; c += kLanes) {
      const F v = Act<kAct>(Load(x + c));
      Store(y + c, up != nullptr ? v * Load(up + c) : v);
    }
    if (c < count) {
      const F v = Act<kAct>(LoadFirst(x + c, count - c));
      StoreFirst(y + c, up != nullptr ? v * LoadFirst(up + c, count - c) : v, count - c);
    }
  });
}

}  // namespace

void Norm(const NormArgs& a, int thread, int threads) {
  const bool plain = a.groups == 1 && (a.x_stride == 0 || a.x_stride == a.cols) &&
                     (a.y_stride == 0 || a.y_stride == a.cols) && a.bias == nullptr && a.offset == 0.0f &&
                     (a.flags & kNormLayer) == 0;
  if (!plain) return NormAny(a, thread, threads);
  const Range rows = RangeOf(a.m, thread, threads);
  for (int row = rows.begin; row < rows.end; ++row) {
    const float* x = static_cast<const float*>(a.x) + int64_t{row} * a.cols;
    float* y = static_cast<float*>(a.y) + int64_t{row} * a.cols;
    F squares = Set(0.0f), more = Set(0.0f);
    int c = 0;
    for (; c + 2 * kLanes <= a.cols; c += 2 * kLanes) {
      const F first = Load(x + c), second = Load(x + c + kLanes);
      squares = Fma(first, first, squares);
      more = Fma(second, second, more);
    }
    float sum = SumOf(squares + more);
    for (; c < a.cols; ++c) sum += x[c] * x[c];
    const float scale = 1.0f / __builtin_sqrtf(sum / static_cast<float>(a.cols) + a.eps);
    for (c = 0; c + kLanes <= a.cols; c += kLanes) Store(y + c, Load(x + c) * Set(scale) * Load(a.weight + c));
    for (; c < a.cols; ++c) y[c] = x[c] * scale * a.weight[c];
  }
}

void ActMul(const ActMulArgs& a, int thread, int threads) {
  if (a.act == Activation::kNone) return ActMulOf<Activation::kNone>(a, thread, threads);
  if (a.act == Activation::kGelu) return ActMulOf<Activation::kGelu>(a, thread, threads);
  if (a.act == Activation::kGeluTanh) return ActMulOf<Activation::kGeluTanh>(a, thread, threads);
  if (a.act == Activation::kRelu) return ActMulOf<Activation::kRelu>(a, thread, threads);
  if (a.up == nullptr) return ActMulOf<Activation::kSilu>(a, thread, threads);
  ForPieces(a.m, a.cols, thread, threads, [&](int row, int column, int count) {
    const float* gate = static_cast<const float*>(a.gate) + int64_t{row} * a.stride + column;
    const float* up = static_cast<const float*>(a.up) + int64_t{row} * a.stride + column;
    float* y = static_cast<float*>(a.y) + int64_t{row} * a.cols + column;
    int c = 0;
    for (; c + kLanes <= count; c += kLanes) Store(y + c, SiluMul(Load(gate + c), Load(up + c)));
    if (c < count) {
      StoreFirst(y + c, SiluMul(LoadFirst(gate + c, count - c), LoadFirst(up + c, count - c)), count - c);
    }
  });
}

void Add(const AddArgs& a, int thread, int threads) {
  ForPieces(a.m, a.cols, thread, threads, [&](int row, int column, int count) {
    const int64_t at = int64_t{row} * a.cols + column;
    const float* b = static_cast<const float*>(a.b) + at;
    for (int c = 0; c < count; ++c) a.y[at + c] = a.a[at + c] + b[c] * a.scale;
  });
}

BestLogit Best(const float* logits, int begin, int end) {
  // Two passes over cached data: the largest and a sum that is NaN where one is not finite, then its first place.
  F top = Set(-__builtin_inff()), poison = Set(0.0f);
  int i = begin;
  for (; i + kLanes <= end; i += kLanes) {
    const F v = Load(logits + i);
    top = Max(top, v);
    poison = Fma(v, Set(0.0f), poison);
  }
  float value = MaxOf(top), bad = SumOf(poison);
  for (; i < end; ++i) {
    value = logits[i] > value ? logits[i] : value;
    bad += logits[i] * 0.0f;
  }
  if (bad != bad) return {value, -1};
  for (i = begin; i < end; ++i) {
    if (logits[i] == value) return {value, i};
  }
  return {value, -1};
}

}  // namespace unimax::UM_ISA
