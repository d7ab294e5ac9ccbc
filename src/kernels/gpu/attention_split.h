// SPDX-License-Identifier: Apache-2.0
// attention_split: decode attention over pages on the matrix units: all query heads of a KV head together, the tokens
//            of a row split over blocks and groups.
// Who calls: op Attention of decode steps, in 16-bit types, on devices with at least 200 KB of shared memory a block.
// Work:      the 16 rows of the matrix instruction are query heads of one KV head. A group takes tiles of 32 keys in
//            turn and has two of them on their way; groups, then splits, merge in order.
// Bound:     memory. bytes = 2 * tokens * kv_heads * head_dim * element. Keys and values of older positions are fetched
//            before the launch before has ended.
// Launch:    grid (splits or fewer, kv_heads * ceil(heads/kv_heads/16), M); threads 4 groups; shared a group
//            3 * 64 * (kDims + 8) * 2 + kOperandScratch.
// Reference: RefAttentionRow. Sum order: tiles of a group in turn, groups in turn, splits in turn.
// Source:    Flash-Decoding (split over tokens); FlashAttention-2 (arXiv 2307.08691).
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/attention.h"
#include "kernels/gpu/attention_rows.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

template <class T, int kDims, Softmax kSoftmax>
struct SplitWork {
  static constexpr int kKeyPad = 8, kStages = 3;
  using S = AttentionTile<kDims, kKeyPad>;
  using Rows = QueryRows<T, kDims, kKeyPad, kSoftmax>;
  static constexpr int kGroupElements = kStages * S::kSize + kOperandScratch / 2;
  static constexpr int kPitch = kDims + 2;  // of a merged row: sums, then largest score and sum of weights

  const int* pages;
  int kv_head, tokens, end_tile;

  // Begins to copy the group's tile number i (tile t of the sequence) to its stage; nothing where there is none.
  UM_DEVICE void Copy(const AttentionArgs& a, Shared<T>& shared, int i, int t) const {
    if (t >= end_tile) return CommitCopies();
    CopyTile<T, kDims, kKeyPad, kLanes>(a, shared, Group() * kGroupElements + i % kStages * S::kSize, pages, kv_head,
                                        t * kTiledKeys, tokens, Lane());
  }

  UM_DEVICE void Run(const AttentionArgs& a, Shared<T>& shared, Rows& rows, const T* q, int heads, int tile) const {
    constexpr int kAhead = kStages - 1;
    int ahead = 0;  // what the launch before does not write may be fetched before it ends
    for (; ahead < kAhead && (tile + ahead * Groups() + 1) * kTiledKeys < tokens; ++ahead) {
      Copy(a, shared, ahead, tile + ahead * Groups());
    }
    WaitForPrevious();
    for (; ahead < kAhead; ++ahead) Copy(a, shared, ahead, tile + ahead * Groups());
#pragma unroll
    for (int k = 0; k < kDims / kTileK; ++k) {
      rows.q[k] = LoadRows<T>(q + k * kTileK, a.head_dim, heads, a.head_dim - k * kTileK);
    }
    rows.Begin();
#pragma unroll
    for (int i = 0; i < kFragC; ++i) rows.position[RowHeld(i)] = CRow(i) < heads ? tokens - 1 : -1;
    const int base = Group() * kGroupElements;
    for (int i = 0; tile < end_tile; ++i, tile += Groups()) {
      WaitCopies<kAhead - 1>();
      GroupSync();  // shows this tile to all lanes, and orders the reads of the oldest one before the next copies
      Copy(a, shared, i + kAhead, tile + kAhead * Groups());
      rows.Step(a, shared, base + i % kStages * S::kSize, base + kStages * S::kSize, tile * kTiledKeys);
    }
    WaitCopies<0>();
    rows.AddUp();
  }

  // Leaves a group's rows in shared memory: [group][16][kPitch].
  UM_DEVICE void Leave(Shared<float>& states, const Rows& rows) const {
    const int base = Group() * kTileRows * kPitch;
#pragma unroll
    for (int i = 0; i < kFragC; ++i) {
      const int row = base + CRow(i) * kPitch;
#pragma unroll
      for (int o = 0; o < Rows::kOutTiles; ++o) states.Set(row + o * kTileCols + CCol(i), rows.out[o].v[i]);
      if (CCol(i) == 0) {
        states.Set(row + kDims, rows.top[RowHeld(i)]);
        states.Set(row + kDims + 1, rows.sum[RowHeld(i)]);
      }
    }
  }

  // Whether the guard of any head has spoken; the same to all threads.
  UM_DEVICE bool Missed(const Shared<float>& states, int heads) const {
    float all = 0;
    for (int i = 0; i < heads * Groups(); ++i) {
      all += 0 * states.Get((i / heads * kTileRows + i % heads) * kPitch + kDims + 1);
    }
    return !IsFinite(all);
  }

  // Merges the groups' rows: into y, or unfinished into `partial` (natural logarithms, as MergeSplits wants them).
  UM_DEVICE void Merge(const AttentionArgs& a, const Shared<float>& states, T* y, float* partial, int heads) const {
    const int pitch = a.head_dim + 2;
    for (int i = Thread(); i < heads * a.head_dim; i += BlockThreads()) {
      const int head = i / a.head_dim, d = i % a.head_dim;
      float high = -Infinity(), total = 0, mix = 0;
      for (int g = 0; g < Groups(); ++g) {
        high = Max(high, states.Get((g * kTileRows + head) * kPitch + kDims));
      }
      for (int g = 0; g < Groups(); ++g) {
        const int row = (g * kTileRows + head) * kPitch;
        const float weight = high == -Infinity() ? 0.0f : Exp2(states.Get(row + kDims) - high);
        total += weight * states.Get(row + kDims + 1);
        mix += weight * states.Get(row + d);
      }
      if (a.splits == 1) {
        y[i] = FromFloat<T>(mix / total);
        continue;
      }
      float* out = partial + static_cast<int64_t>(head) * a.splits * pitch;
      out[d] = mix;
      if (d == 0) {
        out[a.head_dim] = high / kLog2E;
        out[a.head_dim + 1] = total;
      }
    }
  }
};

// Attends the heads of `work` over its split and writes what comes of it; true, and nothing written, where the guard of
// the unified softmax has spoken.
template <class T, int kDims, Softmax kSoftmax>
UM_DEVICE bool AttendSplit(const AttentionArgs& a, const SplitWork<T, kDims, kSoftmax>& work, const T* q, T* y,
                           float* partial, int heads, int tile) {
  Shared<T> shared(0);
  Shared<float> states(0);
  typename SplitWork<T, kDims, kSoftmax>::Rows rows;
  rows.phi = kSoftmax == Softmax::kUnified && a.phi != nullptr ? a.phi[work.kv_head] * kLog2E : 0;
  work.Run(a, shared, rows, q, heads, tile);
  Barrier();  // orders all groups' last reads before the states take their place
  work.Leave(states, rows);
  Barrier();  // orders the states before they are merged
  if constexpr (kSoftmax == Softmax::kUnified) {
    if (work.Missed(states, heads)) return true;
  }
  work.Merge(a, states, y, partial, heads);
  return false;
}

template <class T, int kDims, Softmax kSoftmax = Softmax::kOnline>
UM_DEVICE void AttentionSplit(const AttentionArgs& a) {
  const int row = BlockZ();
  const int group_heads = a.heads / a.kv_heads;
  const int chunks = (group_heads + kTileRows - 1) / kTileRows;  // blocks that share one KV head
  const int first = BlockY() % chunks * kTileRows;
  const int heads = group_heads - first < kTileRows ? group_heads - first : kTileRows;
  LetNextStart();
  SplitWork<T, kDims, kSoftmax> work;
  work.kv_head = BlockY() / chunks;
  work.tokens = a.positions[row] + 1;
  work.pages = a.page_table + static_cast<int64_t>(a.sequences[row]) * a.max_pages;
  const int first_tile = WindowStart(a, work.tokens) / kTiledKeys;
  const int tiles = (work.tokens + kTiledKeys - 1) / kTiledKeys;
  const int even = (tiles - first_tile + a.splits - 1) / a.splits;
  const int each = a.split_tokens > 0 ? a.split_tokens / kTiledKeys : even;

  const int64_t row_head = static_cast<int64_t>(row) * a.heads + work.kv_head * group_heads + first;
  const T* q = static_cast<const T*>(a.q) + static_cast<int64_t>(row) * a.q_stride +
               (work.kv_head * group_heads + first) * a.head_dim;
  T* y = static_cast<T*>(a.y) + row_head * a.head_dim;
  float* partials = a.partial + row_head * a.splits * (a.head_dim + 2);  // of the first head
  for (int split = BlockX(); split < a.splits; split += GridX()) {
    const int begin = first_tile + split * each;
    work.end_tile = begin + each < tiles ? begin + each : tiles;
    float* partial = partials + split * (a.head_dim + 2);
    if (split >= GridX()) Barrier();  // orders the reads of the states before the next split's tiles take their place
    if (AttendSplit<T, kDims, kSoftmax>(a, work, q, y, partial, heads, begin + Group())) {
      CountRedone(a);
      const SplitWork<T, kDims, Softmax::kOnline> again = {work.pages, work.kv_head, work.tokens, work.end_tile};
      AttendSplit<T, kDims, Softmax::kOnline>(a, again, q, y, partial, heads, begin + Group());
    }
  }
  if (a.splits == 1) return;
  if (!IsLastSplit(a, row, chunks)) return;
  constexpr int kAfterLast = 16, kQueries = 4;
  for (int head = 0; head < heads; head += kQueries) {
    Query<T> queries[kQueries];
#pragma unroll
    for (int j = 0; j < kQueries; ++j) {
      queries[j].y = y + (head + j) * a.head_dim;
      queries[j].partial = partials + static_cast<int64_t>(head + j) * a.splits * (a.head_dim + 2);
      queries[j].tokens = head + j < heads ? work.tokens : 0;
    }
    MergeSplits<T, kQueries>(a, queries, 0, kAfterLast);
    Barrier();  // orders the reads of the weights before the next queries' writes
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
