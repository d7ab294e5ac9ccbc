// SPDX-License-Identifier: Apache-2.0
// attention_rows: causal attention of many rows (prefill) over pages on the matrix units, with the online softmax.
// Who calls: op Attention of steps that are not decode steps, in 16-bit types.
// Work:      a group takes 16 rows of one head; the groups of a block share tiles of 32 keys, staged in shared memory
//            two deep. Rows of several sequences in one block are taken one sequence after the other.
// Bound:     matrix instructions. FLOPs = 4 * rows * visible tokens * head_dim a head; keys past a group's last
//            position and before its window are skipped.
// Launch:    grid (heads, ceil(M / (16 * groups))), the longest rows first; threads 4 groups; shared
//            2 * 32 * (2 * kDims + 40) * 2 + groups * kOperandScratch.
// Reference: RefAttentionRow. Sum order: keys in turn by tiles of 32; within a tile that of the matrix instruction.
// Source:    FlashAttention-2 (arXiv 2307.08691); Milakov & Gimelshein 2018 (online softmax).
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/activation.h"
#include "kernels/gpu/port.h"
#include "kernels/gpu/softmax.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kTiledKeys = kTileK;  // keys a stage: one k-tile of the second product

// Where tiles of 32 keys and values lie in shared memory, in elements. Pitches spread the rows over the banks: values
// are read down their columns; keys 16 bytes of a row at a time, which wants kKeyPad = 32, while 8 is smaller.
template <int kDims, int kKeyPad>
struct AttentionTile {
  static constexpr int kKeyPitch = kDims + kKeyPad, kValuePitch = kDims + 8;
  static constexpr int kValues = kTiledKeys * kKeyPitch;  // behind the keys
  static constexpr int kSize = kValues + kTiledKeys * kValuePitch;
};

// Begins to copy keys and values of positions [first, first + 32) to the tile at element `at`, shared among kWorkers
// threads; positions from `end` on and dims beyond the head become zero, so that a weight of zero never meets a NaN. A
// tile lies in one page: pages hold a multiple of 32 positions.
template <class T, int kDims, int kKeyPad, int kWorkers>
UM_DEVICE void CopyTile(const AttentionArgs& a, Shared<T>& shared, int at, const int* pages, int kv_head, int first,
                        int end, int worker) {
  using S = AttentionTile<kDims, kKeyPad>;
  constexpr int kChunks = kDims / 8, kStep = kWorkers / kChunks;  // keys a round
  static_assert(kWorkers % kChunks == 0 && kTiledKeys % kStep == 0);
  const int key = worker / kChunks, dim = worker % kChunks * 8;
  const int64_t page = pages[first / a.page_tokens];
  const int64_t row = (page * a.kv_heads + kv_head) * a.page_tokens + first % a.page_tokens + key;
  const T* k = static_cast<const T*>(a.k_cache) + row * a.head_dim + dim;
  const T* v = static_cast<const T*>(a.v_cache) + row * a.head_dim + dim;
  const int keys = dim < a.head_dim ? end - first - key : 0;  // from this thread's first one on
#pragma unroll
  for (int i = 0; i < kTiledKeys; i += kStep) {
    const int64_t step = static_cast<int64_t>(i) * a.head_dim;
    CopyAsync16(shared, at + (key + i) * S::kKeyPitch + dim, k + step, i < keys);
    CopyAsync16(shared, at + S::kValues + (key + i) * S::kValuePitch + dim, v + step, i < keys);
  }
  CommitCopies();
}

// One group's 16 query rows of one KV head, unfinished.
template <class T, int kDims, int kKeyPad, Softmax kSoftmax = Softmax::kOnline>
struct QueryRows {
  using S = AttentionTile<kDims, kKeyPad>;
  static constexpr int kScoreTiles = kTiledKeys / kTileCols, kOutTiles = kDims / kTileCols;
  FragA<T> q[kDims / kTileK];
  FragC out[kOutTiles];
  // Base of the exponent, times log2 e (unified: this lane's largest score, for the guard alone); the sum of this
  // lane's columns.
  float top[kRowsHeld], sum[kRowsHeld];
  float phi = 0;            // unified: the base, times log2 e
  int position[kRowsHeld];  // -1: a row of another sequence, which sees nothing

  UM_DEVICE void Begin() {
#pragma unroll
    for (int o = 0; o < kOutTiles; ++o) out[o] = {};
#pragma unroll
    for (int r = 0; r < kRowsHeld; ++r) {
      top[r] = -Infinity();
      sum[r] = 0;
    }
  }

  // Scores of the 32 keys from `first`, times scale * log2 e; what a row does not see is -infinity.
  UM_DEVICE void Score(const AttentionArgs& a, const Shared<T>& shared, int keys, int first,
                       FragC (&score)[kScoreTiles]) const {
    const float scale = a.scale * kLog2E;
#pragma unroll
    for (int c = 0; c < kScoreTiles; ++c) {
      score[c] = {};
#pragma unroll
      for (int k = 0; k < kDims / kTileK; ++k) {
        const int at = keys + c * kTileCols * S::kKeyPitch + k * kTileK;
        Mma<T>(score[c], q[k], LoadXShared<T>(shared, at, S::kKeyPitch));
      }
#pragma unroll
      for (int i = 0; i < kFragC; ++i) score[c].v[i] *= scale;
      Cap(a.cap * kLog2E, score[c].v);
#pragma unroll
      for (int i = 0; i < kFragC; ++i) {
        const int at = first + c * kTileCols + CCol(i), own = position[RowHeld(i)];
        if (at > own || (a.window > 0 && at <= own - a.window)) score[c].v[i] = -Infinity();
      }
    }
  }

  // Turns scores into weights, all under one base.
  UM_DEVICE void WeighUnified(FragC (&score)[kScoreTiles]) {
#pragma unroll
    for (int c = 0; c < kScoreTiles; ++c) {
#pragma unroll
      for (int i = 0; i < kFragC; ++i) {
        top[RowHeld(i)] = Max(top[RowHeld(i)], score[c].v[i]);
        score[c].v[i] = Exp2(score[c].v[i] - phi);
        sum[RowHeld(i)] += score[c].v[i];
      }
    }
  }

  // Turns scores into weights and rescales what was summed under a smaller base.
  UM_DEVICE void Weigh(FragC (&score)[kScoreTiles]) {
    float high[kRowsHeld], keep[kRowsHeld];
    bool moved = kSoftmax == Softmax::kOnline;
#pragma unroll
    for (int r = 0; r < kRowsHeld; ++r) high[r] = top[r];
#pragma unroll
    for (int c = 0; c < kScoreTiles; ++c) {
#pragma unroll
      for (int i = 0; i < kFragC; ++i) high[RowHeld(i)] = Max(high[RowHeld(i)], score[c].v[i]);
    }
#pragma unroll
    for (int r = 0; r < kRowsHeld; ++r) {
      for (int mask = kRowPeers / 2; mask > 0; mask /= 2) high[r] = Max(high[r], ShuffleXor(high[r], mask));
      const float from = top[r];
      top[r] = high[r] = NextBase<kSoftmax>(from, high[r], kLog2E);
      moved = moved || high[r] != from;
      if (high[r] == -Infinity()) high[r] = 0;  // nothing seen yet: all weights become 0
      keep[r] = Exp2(from - high[r]);
      sum[r] *= keep[r];
    }
#pragma unroll
    for (int c = 0; c < kScoreTiles; ++c) {
#pragma unroll
      for (int i = 0; i < kFragC; ++i) {
        score[c].v[i] = Exp2(score[c].v[i] - high[RowHeld(i)]);
        sum[RowHeld(i)] += score[c].v[i];
      }
    }
    if (!moved) return;
#pragma unroll
    for (int o = 0; o < kOutTiles; ++o) {
#pragma unroll
      for (int i = 0; i < kFragC; ++i) out[o].v[i] *= keep[RowHeld(i)];
    }
  }

  // Takes in the tile at element `at`, whose first key is position `first`; `scratch` as ToOperand wants it.
  UM_DEVICE void Step(const AttentionArgs& a, const Shared<T>& shared, int at, int scratch, int first) {
    FragC score[kScoreTiles];
    Score(a, shared, at, first, score);
    if constexpr (kSoftmax == Softmax::kUnified) {
      WeighUnified(score);
    } else {
      Weigh(score);
    }
    const FragA<T> weights = ToOperand<T>(score, shared, scratch);
#pragma unroll
    for (int o = 0; o < kOutTiles; ++o) {
      Mma<T>(out[o], weights, LoadColumns<T>(shared, at + S::kValues + o * kTileCols, S::kValuePitch));
    }
  }

  // Every lane of a row gets the row's sum; unified: one that is not finite where the guard speaks.
  UM_DEVICE void AddUp() {
    if constexpr (kSoftmax == Softmax::kUnified) {
#pragma unroll
      for (int o = 0; o < kOutTiles; ++o) {
#pragma unroll
        for (int i = 0; i < kFragC; ++i) sum[RowHeld(i)] += 0 * out[o].v[i];
      }
#pragma unroll
      for (int r = 0; r < kRowsHeld; ++r) {
        for (int mask = kRowPeers / 2; mask > 0; mask /= 2) top[r] = Max(top[r], ShuffleXor(top[r], mask));
      }
    }
#pragma unroll
    for (int r = 0; r < kRowsHeld; ++r) {
      for (int mask = kRowPeers / 2; mask > 0; mask /= 2) sum[r] += ShuffleXor(sum[r], mask);
      if constexpr (kSoftmax == Softmax::kUnified) {
        sum[r] = Guarded(sum[r], top[r], phi, kLog2E);
        if (top[r] > -Infinity()) top[r] = phi;
      }
    }
  }

  // Writes the rows that are of this sequence.
  UM_DEVICE void Finish(const AttentionArgs& a, int head, int first_row) {
    AddUp();
#pragma unroll
    for (int o = 0; o < kOutTiles; ++o) {
#pragma unroll
      for (int i = 0; i < kFragC; ++i) {
        const int dim = o * kTileCols + CCol(i);
        if (position[RowHeld(i)] < 0 || dim >= a.head_dim) continue;
        const int64_t row = first_row + CRow(i);
        static_cast<T*>(a.y)[(row * a.heads + head) * a.head_dim + dim] = FromFloat<T>(out[o].v[i] / sum[RowHeld(i)]);
      }
    }
  }
};

template <class T, int kDims>
UM_DEVICE void AttentionOfRows(const AttentionArgs& a) {
  constexpr int kKeyPad = 32, kWorkers = 4 * kLanes;
  using S = AttentionTile<kDims, kKeyPad>;
  const int scratch = 2 * S::kSize + Group() * (kOperandScratch / 2);  // behind the two stages
  const int head = BlockX(), kv_head = head / (a.heads / a.kv_heads);
  const int block_rows = Groups() * kTileRows;
  const int first = (GridY() - 1 - BlockY()) * block_rows;  // the longest rows first
  const int last = first + block_rows < a.m ? first + block_rows : a.m;
  const int group_row = first + Group() * kTileRows;
  WaitForPrevious();
  LetNextStart();

  QueryRows<T, kDims, kKeyPad> rows;
  const T* q = static_cast<const T*>(a.q) + static_cast<int64_t>(group_row) * a.q_stride + head * a.head_dim;
#pragma unroll
  for (int k = 0; k < kDims / kTileK; ++k) {
    rows.q[k] = LoadRows<T>(q + k * kTileK, a.q_stride, a.m - group_row, a.head_dim - k * kTileK);
  }
  Shared<T> shared(0);
  for (int begin = first; begin < last;) {
    const int sequence = a.sequences[begin];
    int stop = last;  // rows of one sequence stand together
    if (a.sequences[last - 1] != sequence) {
      for (stop = begin + 1; a.sequences[stop] == sequence;) ++stop;
    }
    const int* pages = a.page_table + static_cast<int64_t>(sequence) * a.max_pages;
    const int end = a.positions[stop - 1] + 1;
    const int unseen = a.window > 0 ? a.positions[begin] + 1 - a.window : 0;  // positions that no row sees any more
    const int start = unseen > 0 ? unseen / kTiledKeys * kTiledKeys : 0;
    int group_last = -1;  // the last position that a row of this group sees
    rows.Begin();
#pragma unroll
    for (int i = 0; i < kFragC; ++i) {
      const int row = group_row + CRow(i);
      rows.position[RowHeld(i)] = row >= begin && row < stop ? a.positions[row] : -1;
    }
    const int group_stop = group_row + kTileRows < stop ? group_row + kTileRows : stop;
    if (group_stop > begin && group_stop > group_row) group_last = a.positions[group_stop - 1];

    CopyTile<T, kDims, kKeyPad, kWorkers>(a, shared, 0, pages, kv_head, start, end, Thread());
    int stage = 0;
    for (int key = start; key < end; key += kTiledKeys) {
      WaitCopies<0>();
      Barrier();  // orders this stage's copies before its reads, and the reads of the other stage before its copies
      if (key + kTiledKeys < end) {
        CopyTile<T, kDims, kKeyPad, kWorkers>(a, shared, (stage ^ 1) * S::kSize, pages, kv_head, key + kTiledKeys, end,
                                              Thread());
      }
      if (key <= group_last) rows.Step(a, shared, stage * S::kSize, scratch, key);
      stage ^= 1;
    }
    rows.Finish(a, head, group_row);
    Barrier();  // orders the last reads before the next sequence's copies
    begin = stop;
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
