// SPDX-License-Identifier: Apache-2.0
// linear_plain: y[M, N] = x[M, K] * w[N, K]^T in f32, w row-major: the exact row, for f32 checkpoints and goldens.
// Who calls: op Linear when weights are plain f32.
// Work:      one group owns one weight row and up to 4 rows of x; lanes walk K together.
// Bound:     memory for small M. bytes = 4*(N*K*ceil(M/4) + M*(K+N)); not tuned.
// Launch:    grid (ceil(N/groups), ceil(M/4)); threads 128; no shared memory.
// Reference: RefLinear. Sum order: k = lane, lane + kLanes, ..., then the butterfly of GroupSum.
// Source:    the definition.
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/linear_flat.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

UM_DEVICE void LinearPlain(const LinearArgs& a) {
  constexpr int kRows = 4;
  const int n = BlockX() * Groups() + Group();
  const int first = BlockY() * kRows;
  WaitForPrevious();
  LetNextStart();
  if (n >= a.n) return;
  const float* w = static_cast<const float*>(a.w) + static_cast<int64_t>(n) * a.k;
  const float* x = static_cast<const float*>(a.x);
  float sum[kRows] = {};
  for (int k = Lane(); k < a.k; k += kLanes) {
    const float weight = w[k];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (first + r < a.m) sum[r] += weight * x[static_cast<int64_t>(first + r) * a.x_stride + k];
    }
  }
  LinearOutputs<kRows> out;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    out.row[r] = Lane() == 0 && first + r < a.m ? first + r : -1;
    out.n[r] = n;
    out.sum[r] = GroupSum(sum[r]);
  }
  FinishLinear<float>(a, out);
}

}  // namespace unimax::UM_PORT_NAMESPACE
