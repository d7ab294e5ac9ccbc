// SPDX-License-Identifier: Apache-2.0
// attention_merge: how the blocks that share the tokens of one row put their sums together.
// Who calls: attention, attention_split.
// Work:      every block leaves its largest score, sum of weights and weighted values; the last one to finish merges.
// Bound:     latency. bytes = splits * (head_dim + 2) * 4 a query.
// Launch:    that of the caller.
// Reference: RefAttentionRow. Sum order: splits in turn.
// Source:    Flash-Decoding (split over tokens).
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

// Where one query reads and writes; q and y point at [head_dim]. `tokens` = 0 marks an absent query.
template <class T>
struct Query {
  const T* q;
  T* y;
  float* partial;  // not null: write the unfinished sums here instead of y
  int first;       // the query sees positions first .. tokens - 1
  int tokens;
};

// Merges the splits of a block's queries, in order. One group a query turns the splits' maxima and sums into weights,
// all of them read at once; then every thread adds up its own dims. Shared memory: kQ * kMostSplits floats at `offset`.
template <class T, int kQ>
UM_DEVICE void MergeSplits(const AttentionArgs& a, const Query<T> (&queries)[kQ], int split, int offset) {
  const int pitch = a.head_dim + 2;
  Shared<float> weights(offset);
#pragma unroll
  for (int j = 0; j < kQ; ++j) {
    if (j % Groups() != Group() || queries[j].tokens == 0) continue;
    const float* first = queries[j].partial - static_cast<int64_t>(split) * pitch + a.head_dim;
    float high = -Infinity();
    for (int s = Lane(); s < a.splits; s += kLanes) high = Max(high, first[s * pitch]);
    high = GroupMax(high);
    float total = 0;
    for (int s = Lane(); s < a.splits; s += kLanes) {
      const float top = first[s * pitch];
      const float weight = top == -Infinity() ? 0.0f : Exp(top - high);
      weights.Set(j * kMostSplits + s, weight);
      total += weight * first[s * pitch + 1];
    }
    total = GroupSum(total);
    GroupSync();  // orders the weights before the lanes divide them
    for (int s = Lane(); s < a.splits; s += kLanes) {
      weights.Set(j * kMostSplits + s, weights.Get(j * kMostSplits + s) / total);
    }
  }
  Barrier();  // orders all weights before they are read
#pragma unroll
  for (int j = 0; j < kQ; ++j) {
    if (queries[j].tokens == 0) continue;
    const float* first = queries[j].partial - static_cast<int64_t>(split) * pitch;
    for (int d = Thread(); d < a.head_dim; d += BlockThreads()) {
      float mix = 0;
#pragma unroll 8
      for (int s = 0; s < a.splits; ++s) mix += weights.Get(j * kMostSplits + s) * first[s * pitch + d];
      queries[j].y[d] = FromFloat<T>(mix);
    }
  }
}

// Whether this block is the last to finish of those that share a row's splits: that one merges. The counter returns to
// zero for the next launch. Uses the first word of shared memory; `chunks`: blocks that share one KV head.
UM_DEVICE bool IsLastSplit(const AttentionArgs& a, int row, int chunks) {
  Shared<int> last(0);
  Barrier();  // orders this block's partial sums before its count, and the reads of the states before `last`
  int* counter = a.counters + static_cast<int64_t>(row) * a.kv_heads * chunks + BlockY();
  if (Thread() == 0) {
    const int before = AtomicAdd(counter, 1);
    last.Set(0, before == GridX() - 1);
    if (before == GridX() - 1) *counter = 0;
  }
  Barrier();  // orders `last` before it is read
  return last.Get(0);
}

}  // namespace unimax::UM_PORT_NAMESPACE
