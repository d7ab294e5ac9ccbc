// SPDX-License-Identifier: Apache-2.0
// largest_scores: the largest score of each row and query head, by which the base of the unified softmax is chosen.
// Who calls: exec/graph_softmax, where an executor was made to note them; never in a step that is served.
// Work:      a block owns a row and a head; its threads take keys in turn, each one whole.
// Bound:     not tuned. bytes = tokens * head_dim * element for each row and head.
// Launch:    grid (M, heads); threads 128; shared kLanes * 4.
// Reference: CheckLargest in softmax_test.
// Source:    the definition.
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/attention.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

// `y` is f32 [M, heads] here; values, sums and counters are not touched.
template <class T>
UM_DEVICE void LargestScores(const AttentionArgs& a) {
  WaitForPrevious();
  LetNextStart();
  const int row = BlockX(), head = BlockY();
  const int kv_head = head / (a.heads / a.kv_heads);
  const int tokens = a.positions[row] + 1;
  const int* pages = a.page_table + static_cast<int64_t>(a.sequences[row]) * a.max_pages;
  const T* q =
      static_cast<const T*>(a.q) + static_cast<int64_t>(row) * a.q_stride + static_cast<int64_t>(head) * a.head_dim;
  float high = -Infinity();
  for (int position = WindowStart(a, tokens) + Thread(); position < tokens; position += BlockThreads()) {
    const int64_t slot =
        (static_cast<int64_t>(pages[position / a.page_tokens]) * a.kv_heads + kv_head) * a.page_tokens +
        position % a.page_tokens;
    const T* k = static_cast<const T*>(a.k_cache) + slot * a.head_dim;
    float score[1] = {0};
    for (int d = 0; d < a.head_dim; ++d) score[0] += ToFloat(q[d]) * ToFloat(k[d]);
    score[0] *= a.scale;
    Cap(a.cap, score);
    high = Max(high, score[0]);
  }
  high = GroupMax(high);
  Shared<float> of_groups(0);
  if (Lane() == 0) of_groups.Set(Group(), high);
  Barrier();  // orders every group's largest before it is read
  if (Thread() != 0) return;
  for (int g = 1; g < Groups(); ++g) high = Max(high, of_groups.Get(g));
  static_cast<float*>(a.y)[static_cast<int64_t>(row) * a.heads + head] = high;
}

}  // namespace unimax::UM_PORT_NAMESPACE
