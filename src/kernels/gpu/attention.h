// SPDX-License-Identifier: Apache-2.0
// attention: causal attention over pages in plain arithmetic; decode and prefill share one loop.
// Who calls: op Attention. decode: queries of a block = the heads of one KV head at one row; prefill: neighbouring rows
//            of one sequence at one head. Both read every K and V element once for all their queries.
// Work:      a team of lanes (a power of two, 8 elements a lane) takes one token at a time; teams deal tokens in turn,
//            their partial softmaxes are merged in fixed order; with splits, the last block of a row merges all.
// Bound:     memory (decode). bytes = 2 * tokens * kv_heads * head_dim * element; positions before the windows of all
//            queries of a block are not read.
// Launch:    decode grid (splits or fewer, kv_heads * ceil(heads/kv_heads/kQ), M), prefill grid (heads,
//            ceil(M/kQ)); threads 128; shared kQ * teams * (head_dim + 2) * 4, decode at least
//            16 + kQ * kMostSplits * 4. head_dim a multiple of 8, at most 256.
// Reference: RefAttentionRow.
// Source:    Flash-Decoding (split over tokens); softmax.h for its variants.
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/activation.h"
#include "kernels/gpu/attention_merge.h"
#include "kernels/gpu/port.h"
#include "kernels/gpu/softmax.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kLaneDims = 8;     // elements of a head that one lane holds
inline constexpr int kDecodeAhead = 4;  // tokens a team has in flight while it decodes

// The elements of one head that a lane holds, as they are stored.
template <class T>
struct Dims {
  static constexpr int kEach = 16 / sizeof(T);
  Vec16 part[kLaneDims / kEach];
  UM_DEVICE void Load(const T* p) {
#pragma unroll
    for (int i = 0; i < kLaneDims / kEach; ++i) part[i] = Load16(p + i * kEach);
  }
  UM_DEVICE float operator[](int i) const { return ToFloat(part[i / kEach].template As<T>(i % kEach)); }
};

// The first position that a query with `tokens` positions behind it sees.
UM_DEVICE int WindowStart(const AttentionArgs& a, int tokens) {
  return a.window > 0 && a.window < tokens ? tokens - a.window : 0;
}

// Smallest power of two of lanes that covers a head.
UM_DEVICE int TeamLanes(int head_dim) {
  int lanes = 1;
  while (lanes * kLaneDims < head_dim) lanes *= 2;
  return lanes;
}

// Attends kQ queries of one sequence and KV head over positions [begin, end), kAhead tokens of a team in flight.
// Returns whether the guard of the unified softmax has spoken, the same to all threads: then nothing is written.
template <class T, int kQ, int kAhead, Softmax kSoftmax>
UM_DEVICE bool Attend(const AttentionArgs& a, const Query<T> (&queries)[kQ], int sequence, int kv_head, int begin,
                      int end) {
  constexpr bool kUnified = kSoftmax == Softmax::kUnified;
  const float phi = kUnified && a.phi != nullptr ? a.phi[kv_head] : 0;
  const int lanes = TeamLanes(a.head_dim);
  const int teams = BlockThreads() / lanes;
  const int team = Thread() / lanes, lane = Thread() % lanes;
  const int dim = lane * kLaneDims;
  const bool active = dim < a.head_dim;
  const int* pages = a.page_table + static_cast<int64_t>(sequence) * a.max_pages;

  float q[kQ][kLaneDims] = {}, acc[kQ][kLaneDims] = {}, sum[kQ];
  float top[kQ];  // base of the exponent; unified: the largest score, for the guard alone
#pragma unroll
  for (int j = 0; j < kQ; ++j) {
    if (active && queries[j].tokens > 0) {
      Dims<T> dims;
      dims.Load(queries[j].q + dim);
#pragma unroll
      for (int i = 0; i < kLaneDims; ++i) q[j][i] = dims[i];
    }
    top[j] = -Infinity();
    sum[j] = 0;
  }
  // All teams of a group walk the same number of rounds, because their lanes shuffle together.
  for (int at = begin; at < end; at += kAhead * teams) {
    Dims<T> k[kAhead] = {}, v[kAhead] = {};
#pragma unroll
    for (int r = 0; r < kAhead; ++r) {
      const int position = at + r * teams + team;
      if (position >= end || !active) continue;
      const int64_t row =
          (static_cast<int64_t>(pages[position / a.page_tokens]) * a.kv_heads + kv_head) * a.page_tokens +
          position % a.page_tokens;
      k[r].Load(static_cast<const T*>(a.k_cache) + row * a.head_dim + dim);
      v[r].Load(static_cast<const T*>(a.v_cache) + row * a.head_dim + dim);
    }
#pragma unroll
    for (int j = 0; j < kQ; ++j) {
      float score[kAhead];
      float high = top[j];
#pragma unroll
      for (int r = 0; r < kAhead; ++r) {
        float dot = 0;
#pragma unroll
        for (int i = 0; i < kLaneDims; ++i) dot += q[j][i] * k[r][i];
        for (int mask = lanes / 2; mask > 0; mask /= 2) dot += ShuffleXor(dot, mask);
        score[r] = dot * a.scale;
      }
      Cap(a.cap, score);
#pragma unroll
      for (int r = 0; r < kAhead; ++r) {
        const int position = at + r * teams + team;
        const bool masked = position >= end || position >= queries[j].tokens || position < queries[j].first;
        if (masked) score[r] = -Infinity();
        high = Max(high, score[r]);
      }
      if (high == -Infinity()) continue;  // nothing seen yet
      const float base = kUnified ? phi : NextBase<kSoftmax>(top[j], high, 1);
      if (!kUnified && (kSoftmax == Softmax::kOnline || base != top[j])) {
        const float keep = Exp(top[j] - base);  // one rescale for all kAhead tokens
        sum[j] *= keep;
#pragma unroll
        for (int i = 0; i < kLaneDims; ++i) acc[j][i] *= keep;
      }
      top[j] = kUnified ? high : base;
#pragma unroll
      for (int r = 0; r < kAhead; ++r) {
        if (score[r] == -Infinity()) continue;  // masked: its v is never multiplied
        const float p = Exp(score[r] - base);
        sum[j] += p;
#pragma unroll
        for (int i = 0; i < kLaneDims; ++i) acc[j][i] += p * v[r][i];
      }
    }
  }

  // Teams meet in shared memory: [team][query][head_dim + 2].
  const int pitch = a.head_dim + 2;
  Shared<float> states(0);
#pragma unroll
  for (int j = 0; j < kQ; ++j) {
    const int base = (team * kQ + j) * pitch;
    if (active) {
#pragma unroll
      for (int i = 0; i < kLaneDims; ++i) states.Set(base + dim + i, acc[j][i]);
    }
    if constexpr (kUnified) {
      for (int i = 0; i < kLaneDims; ++i) sum[j] += acc[j][i] * 0;  // not finite where one of them is not
      for (int mask = lanes / 2; mask > 0; mask /= 2) sum[j] = sum[j] + 0 * ShuffleXor(sum[j], mask);
      sum[j] = Guarded(sum[j], top[j], phi, 1);
      if (top[j] > -Infinity()) top[j] = phi;
    }
    if (lane == 0) {
      states.Set(base + a.head_dim, top[j]);
      states.Set(base + a.head_dim + 1, sum[j]);
    }
  }
  Barrier();  // orders all teams' states before they are merged
  if constexpr (kUnified) {
    float all = 0;
    for (int i = 0; i < teams * kQ; ++i) all += 0 * states.Get(i * pitch + a.head_dim + 1);
    if (!IsFinite(all)) return true;
  }
#pragma unroll
  for (int j = 0; j < kQ; ++j) {
    const Query<T>& query = queries[j];
    if (query.tokens == 0) continue;
    float high = -Infinity();
    for (int t = 0; t < teams; ++t) high = Max(high, states.Get((t * kQ + j) * pitch + a.head_dim));
    float total = 0;
    for (int t = 0; t < teams; ++t) {
      const int base = (t * kQ + j) * pitch;
      const float weight = high == -Infinity() ? 0.0f : Exp(states.Get(base + a.head_dim) - high);
      total += weight * states.Get(base + a.head_dim + 1);
    }
    for (int d = Thread(); d < a.head_dim; d += BlockThreads()) {
      float mix = 0;
      for (int t = 0; t < teams; ++t) {
        const int base = (t * kQ + j) * pitch;
        const float weight = high == -Infinity() ? 0.0f : Exp(states.Get(base + a.head_dim) - high);
        mix += weight * states.Get(base + d);
      }
      if (query.partial != nullptr) {
        query.partial[d] = mix;
      } else {
        query.y[d] = FromFloat<T>(mix / total);
      }
    }
    if (query.partial != nullptr && Thread() == 0) {
      query.partial[a.head_dim] = high;
      query.partial[a.head_dim + 1] = total;
    }
  }
  return false;
}

template <class T, int kQ, Softmax kSoftmax = Softmax::kOnline>
UM_DEVICE void AttentionDecode(const AttentionArgs& a) {
  const int row = BlockZ();
  const int group_heads = a.heads / a.kv_heads;
  const int chunks = (group_heads + kQ - 1) / kQ;  // blocks that share one KV head
  const int kv_head = BlockY() / chunks;
  const int first = BlockY() % chunks * kQ;
  WaitForPrevious();
  LetNextStart();
  const int tokens = a.positions[row] + 1;
  const int start = WindowStart(a, tokens);
  // A split is a whole number of rounds, so that only the last one leaves teams idle.
  const int round = kDecodeAhead * (BlockThreads() / TeamLanes(a.head_dim));
  const int even = ((tokens - start + a.splits - 1) / a.splits + round - 1) / round * round;
  const int each = a.split_tokens > 0 ? a.split_tokens : even;

  Query<T> queries[kQ];
  int split = BlockX();
  for (; split < a.splits; split += GridX()) {
    const int begin = start + split * each < tokens ? start + split * each : tokens;
    const int end = begin + each < tokens ? begin + each : tokens;
#pragma unroll
    for (int j = 0; j < kQ; ++j) {
      const int head = kv_head * group_heads + first + j;
      const bool present = first + j < group_heads;
      const int64_t row_head = static_cast<int64_t>(row) * a.heads + head;
      queries[j].q = static_cast<const T*>(a.q) + static_cast<int64_t>(row) * a.q_stride + head * a.head_dim;
      queries[j].y = static_cast<T*>(a.y) + row_head * a.head_dim;
      queries[j].partial = a.splits > 1 ? a.partial + (row_head * a.splits + split) * (a.head_dim + 2) : nullptr;
      queries[j].first = 0;  // no block reads what lies before the window
      queries[j].tokens = present ? tokens : 0;
    }
    if (split >= GridX()) Barrier();  // orders the reads of the states before the next split's writes
    if (Attend<T, kQ, kDecodeAhead, kSoftmax>(a, queries, a.sequences[row], kv_head, begin, end)) {
      CountRedone(a);
      Attend<T, kQ, kDecodeAhead, Softmax::kOnline>(a, queries, a.sequences[row], kv_head, begin, end);
    }
  }
  if (a.splits == 1) return;

  if (!IsLastSplit(a, row, chunks)) return;
  constexpr int kAfterLast = 16;
  MergeSplits<T, kQ>(a, queries, split - GridX(), kAfterLast);  // the partial of queries is its last split's
}

template <class T, int kQ>
UM_DEVICE void AttentionPrefill(const AttentionArgs& a) {
  const int head = BlockX();
  const int first = BlockY() * kQ;
  const int kv_head = head / (a.heads / a.kv_heads);
  WaitForPrevious();
  LetNextStart();
  // Rows of one sequence stand together; a block at a border takes its sequences one after the other.
  for (int begin = first; begin < first + kQ && begin < a.m;) {
    const int sequence = a.sequences[begin];
    Query<T> queries[kQ];
    int rows = 0, tokens = 0;
    const int start = WindowStart(a, a.positions[begin] + 1);  // later rows begin no earlier
#pragma unroll
    for (int j = 0; j < kQ; ++j) {
      const int row = begin + j < a.m ? begin + j : a.m - 1;
      const bool present = rows == j && begin + j < first + kQ && begin + j < a.m && a.sequences[row] == sequence;
      queries[j].q = static_cast<const T*>(a.q) + static_cast<int64_t>(row) * a.q_stride + head * a.head_dim;
      queries[j].y = static_cast<T*>(a.y) + (static_cast<int64_t>(row) * a.heads + head) * a.head_dim;
      queries[j].partial = nullptr;
      queries[j].tokens = present ? a.positions[row] + 1 : 0;
      queries[j].first = WindowStart(a, queries[j].tokens);
      if (present) ++rows;
      tokens = queries[j].tokens > tokens ? queries[j].tokens : tokens;
    }
    Attend<T, kQ, 2, Softmax::kOnline>(a, queries, sequence, kv_head, start, tokens);
    Barrier();  // orders the reads of the states before the next sequence's writes
    begin += rows;
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
