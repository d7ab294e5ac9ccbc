// SPDX-License-Identifier: Apache-2.0
// norm: y = norm(x) * (weight + offset) + bias by root mean square or by mean and variance, for whole rows and for the
//            heads of a row, each by itself.
// Who calls: op Norm.
// Work:      one block a run of `cols` elements; a thread keeps its first values between the passes.
// Bound:     memory and launch. bytes = each input once, each output once.
// Launch:    grid (M, groups); threads 128, 256 or 512; shared kLanes * 8.
// Reference: RefNorm. Sum order: a thread its columns, the lanes of a group, then the groups.
// Source:    Zhang & Sennrich 2019 (RMS norm); Ba et al. 2016 (layer norm).
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

// Sum over the block (at most kLanes groups) in fixed order; every thread gets it. Uses kLanes floats of shared memory
// at `offset`.
UM_DEVICE float BlockSum(float v, int offset) {
  Shared<float> sums(offset);
  v = GroupSum(v);
  if (Lane() == 0) sums.Set(Group(), v);
  Barrier();  // orders every group's sum before it is read
  return GroupSum(Lane() < Groups() ? sums.Get(Lane()) : 0.0f);
}

inline constexpr int kNormKeep = 8;  // values that a thread keeps; of wider rows it reads the rest again

// `weight` holds the thread's first weights, fetched before the launch before was done. y may be x: a thread writes
// only what it alone reads, after it has read it.
template <class In, class Out>
UM_DEVICE void NormRun(const NormArgs& a, const float (&weight)[kNormKeep]) {
  const int64_t run = static_cast<int64_t>(BlockY()) * a.cols;
  const int stride = GridY() * a.cols;
  const In* x = static_cast<const In*>(a.x) + static_cast<int64_t>(BlockX()) * (a.x_stride ? a.x_stride : stride) + run;
  Out* y = static_cast<Out*>(a.y) + static_cast<int64_t>(BlockX()) * (a.y_stride ? a.y_stride : stride) + run;
  const int rest = Thread() + kNormKeep * BlockThreads();
  const float count = static_cast<float>(a.cols);
  float kept[kNormKeep], mean = 0;
#pragma unroll
  for (int i = 0; i < kNormKeep; ++i) {
    const int c = Thread() + i * BlockThreads();
    kept[i] = c < a.cols ? ToFloat(x[c]) : 0.0f;
  }
  if (a.flags & kNormLayer) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kNormKeep; ++i) sum += kept[i];
    for (int c = rest; c < a.cols; c += BlockThreads()) sum += ToFloat(x[c]);
    mean = BlockSum(sum, kLanes * static_cast<int>(sizeof(float))) / count;
  }
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kNormKeep; ++i) {
    kept[i] = Thread() + i * BlockThreads() < a.cols ? kept[i] - mean : 0.0f;
    squares += kept[i] * kept[i];
  }
  for (int c = rest; c < a.cols; c += BlockThreads()) {
    const float v = ToFloat(x[c]) - mean;
    squares += v * v;
  }
  const float scale = Rsqrt(BlockSum(squares, 0) / count + a.eps);
#pragma unroll
  for (int i = 0; i < kNormKeep; ++i) {
    const int c = Thread() + i * BlockThreads();
    if (c >= a.cols) continue;
    const float bias = a.bias != nullptr ? a.bias[c] : 0.0f;
    y[c] = FromFloat<Out>(kept[i] * scale * (weight[i] + a.offset) + bias);
  }
  for (int c = rest; c < a.cols; c += BlockThreads()) {
    const float bias = a.bias != nullptr ? a.bias[c] : 0.0f;
    y[c] = FromFloat<Out>((ToFloat(x[c]) - mean) * scale * (a.weight[c] + a.offset) + bias);
  }
}

template <class T>
UM_DEVICE void Norm(const NormArgs& a) {
  LetNextStart();
  float weight[kNormKeep];
#pragma unroll
  for (int i = 0; i < kNormKeep; ++i) {  // the weight depends on no other launch
    const int c = Thread() + i * BlockThreads();
    weight[i] = c < a.cols ? a.weight[c] : 0.0f;
  }
  WaitForPrevious();
  const bool narrow_in = a.flags & kNormNarrowIn, wide_out = a.flags & kNormWideOut;
  if (narrow_in) return wide_out ? NormRun<T, float>(a, weight) : NormRun<T, T>(a, weight);
  wide_out ? NormRun<float, float>(a, weight) : NormRun<float, T>(a, weight);
}

}  // namespace unimax::UM_PORT_NAMESPACE
