// SPDX-License-Identifier: Apache-2.0
// attention_wgmma: causal attention of many rows (prefill) over pages on Hopper's matrix units, with an online softmax.
// Who calls: op Attention of steps that are not decode steps, in 16-bit types, heads of 128 elements.
// Work:      a block takes 128 rows of one head, 64 a warpgroup; a producer warp fills a ring of tiles of 128 keys and
//            their values, copied in boxes of 32 keys (a page holds a multiple of 32 positions). One warpgroup's
//            softmax runs beside the other's products. Rows of several sequences in one block are taken one sequence
//            after the other.
// Bound:     matrix instructions. FLOPs = 4 * rows * visible tokens * head_dim a head.
// Launch:    grid (heads, ceil(M/128)), the longest rows first; threads 384; shared BoxRing::kBytes.
// Reference: RefAttentionRow. Sum order: keys in turn by tiles of 128; within a tile that of the matrix instruction.
// Source:    FlashAttention-3 (arXiv 2407.08608); Milakov & Gimelshein 2018 (online softmax); PTX ISA (wgmma).
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/activation.h"
#include "kernels/nvidia/port_hopper_words.h"

namespace unimax::UM_PORT_NAMESPACE {

struct BoxRing {
  static constexpr int kRows = 128, kDims = 128, kKeys = 128, kStages = 2;
  static constexpr int kHalf = 128 * 128;                        // 128 rows of 64 elements
  static constexpr int kValues = 2 * kHalf, kStage = 4 * kHalf;  // keys, then values, each in two halves of the dims
  static constexpr int kQueries = kStages * kStage;              // behind the stages
  static constexpr int kBarriers = kQueries + 2 * kHalf;         // full and empty of each stage, then of the queries
  static constexpr int kBytes = kBarriers + 16 * kStages + 8 + 1024;
};

// The rows of one sequence in a block and the positions that they see.
struct AttentionRun {
  int stop, start, end;  // its last row + 1; positions start .. end - 1, start a multiple of 32
  const int* pages;

  UM_DEVICE static AttentionRun At(const AttentionArgs& a, int begin, int last) {
    const int sequence = a.sequences[begin];
    AttentionRun run;
    run.stop = last;  // rows of one sequence stand together
    if (a.sequences[last - 1] != sequence) {
      for (run.stop = begin + 1; a.sequences[run.stop] == sequence;) ++run.stop;
    }
    run.end = a.positions[run.stop - 1] + 1;
    const int unseen = a.window > 0 ? a.positions[begin] + 1 - a.window : 0;
    run.start = unseen > 0 ? unseen / kBoxKeys * kBoxKeys : 0;
    run.pages = a.page_table + static_cast<int64_t>(sequence) * a.max_pages;
    return run;
  }
};

struct AttentionSlot {
  uint32_t ring;
  int slot = 0, phase = 0;
  UM_DEVICE uint32_t Stage() const { return ring + slot * BoxRing::kStage; }
  UM_DEVICE uint32_t Full() const { return ring + BoxRing::kBarriers + slot * 16; }
  UM_DEVICE void Advance() {
    if (++slot == BoxRing::kStages) {
      slot = 0;
      phase ^= 1;
    }
  }
};

// One warp: each of 16 lanes copies a box, lane = 8 * (values) + 2 * (which 32 keys) + half.
UM_DEVICE void ProduceAttention(const MappedAttentionArgs& a, uint32_t ring, int kv_head, int first, int last) {
  using R = BoxRing;
  const int lane = Lane(), half = lane % 2, part = lane / 2 % 4;
  const bool values = lane >= 8;
  AttentionSlot s = {ring};
  if (lane == 0) {
    const uint32_t queries = ring + R::kBarriers + R::kStages * 16;
    ArriveExpecting(queries, 2 * R::kHalf);
    CopyBox(ring + R::kQueries, a.q_map, BlockX() * R::kDims, first, queries);
    CopyBox(ring + R::kQueries + R::kHalf, a.q_map, BlockX() * R::kDims + 64, first, queries);
  }
  for (int begin = first; begin < last;) {
    const AttentionRun run = AttentionRun::At(a, begin, last);
    for (int key = run.start; key < run.end; key += R::kKeys) {
      WaitPhase(s.Full() + 8, s.phase ^ 1);
      GroupSync();
      const int left = (run.end - key + kBoxKeys - 1) / kBoxKeys, boxes = left < 4 ? left : 4;
      if (lane == 0) ArriveExpecting(s.Full(), boxes * 4 * kBoxKeys * 128);
      GroupSync();
      if (lane < 16 && part < boxes) {
        const int at = key + part * kBoxKeys;
        const int64_t page = run.pages[at / a.page_tokens];
        const int64_t row = (page * a.kv_heads + kv_head) * a.page_tokens + at % a.page_tokens;
        const uint32_t to = s.Stage() + (values ? R::kValues : 0) + half * R::kHalf + part * kBoxKeys * 128;
        CopyBox(to, values ? a.v_map : a.k_map, half * 64, static_cast<int>(row), s.Full());
      }
      s.Advance();
    }
    begin = run.stop;
  }
}

// 64 query rows of a warpgroup, unfinished. A lane holds columns of two rows, as ColumnSums<128> has them.
template <class T>
struct WideRows {
  using R = BoxRing;
  ColumnSums<128> out;
  float top[2], sum[2];  // largest score so far, not yet scaled; this lane's part of the sum of weights
  int position[2];       // -1: a row of another sequence, which sees nothing
  int least, last;       // least position of the warp's rows; last one that a row of the warpgroup sees

  UM_DEVICE void Begin(const AttentionArgs& a, int first_row, int begin, int stop) {
#pragma unroll
    for (int i = 0; i < 64; ++i) out.v[i] = 0;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = first_row + Group() % 4 * 16 + Lane() / 4 + 8 * r;
      position[r] = row >= begin && row < stop ? a.positions[row] : -1;
      top[r] = -Infinity();
      sum[r] = 0;
    }
    least = position[0] < position[1] ? position[0] : position[1];
    for (int mask = 16; mask > 0; mask /= 2) {
      const int other = ShuffleXor(least, mask);
      if (other < least) least = other;
    }
    const int end = first_row + 64 < stop ? first_row + 64 : stop;
    last = end > begin && end > first_row ? a.positions[end - 1] : -1;
  }

  // Turns the scores of the 128 keys from `key` into weights, and rescales what was summed under a smaller base.
  UM_DEVICE void Weigh(const AttentionArgs& a, ColumnSums<128>& score, int key) {
    float unit = a.scale * kLog2E;
    if (a.cap > 0) {
#pragma unroll
      for (int i = 0; i < 64; ++i) score.v[i] *= unit;
      Cap(a.cap * kLog2E, score.v);
      unit = 1;
    }
    if (key + R::kKeys - 1 > least || a.window > 0) {
#pragma unroll
      for (int i = 0; i < 64; ++i) {
        const int at = key + i / 4 * 8 + Lane() % 4 * 2 + i % 2, own = position[i % 4 / 2];
        if (at > own || (a.window > 0 && at <= own - a.window)) score.v[i] = -Infinity();
      }
    }
    float high[2] = {top[0], top[1]}, keep[2], base[2];
#pragma unroll
    for (int i = 0; i < 64; ++i) high[i % 4 / 2] = Max(high[i % 4 / 2], score.v[i]);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      for (int mask = 2; mask > 0; mask /= 2) high[r] = Max(high[r], ShuffleXor(high[r], mask));
      base[r] = high[r] == -Infinity() ? 0 : high[r] * unit;  // nothing seen yet: all weights become 0
      keep[r] = Exp2(top[r] * unit - base[r]);
      top[r] = high[r];
      sum[r] *= keep[r];
    }
#pragma unroll
    for (int i = 0; i < 64; ++i) {
      score.v[i] = Exp2(Fma(score.v[i], unit, -base[i % 4 / 2]));
      sum[i % 4 / 2] += score.v[i];
    }
#pragma unroll
    for (int i = 0; i < 64; ++i) out.v[i] *= keep[i % 4 / 2];
  }

  UM_DEVICE void Finish(const AttentionArgs& a, int first_row) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      for (int mask = 2; mask > 0; mask /= 2) sum[r] += ShuffleXor(sum[r], mask);
      if (position[r] < 0) continue;
      const float share = 1.0f / sum[r];
      const int64_t row = first_row + Group() % 4 * 16 + Lane() / 4 + 8 * r;
      T* y = static_cast<T*>(a.y) + (row * a.heads + BlockX()) * R::kDims + Lane() % 4 * 2;
#pragma unroll
      for (int o = 0; o < 16; ++o) {
        *reinterpret_cast<uint32_t*>(y + o * 8) =
            Pair<T>(out.v[o * 4 + 2 * r] * share, out.v[o * 4 + 2 * r + 1] * share);
      }
    }
  }
};

// Values of positions from `end` on become zero: a weight of zero must not meet a NaN.
UM_DEVICE void ClearValues(uint32_t values, int first, int warpgroup) {
  using R = BoxRing;
  const int thread = Thread() % kWarpgroup;
  for (int i = thread; i < (R::kKeys - first) * 16; i += kWarpgroup) {
    const uint32_t at = values + i % 16 / 8 * R::kHalf + (first + i / 16) * 128 + i % 8 * 16;
    StoreZeros(at);
  }
  FenceAsync();
  SomeBarrier(1 + warpgroup, kWarpgroup);  // orders the zeros before the products
}

template <class T>
UM_DEVICE void ConsumeAttention(const AttentionArgs& a, uint32_t ring, int warpgroup, int first, int last) {
  using R = BoxRing;
  const int first_row = first + warpgroup * 64;
  const uint32_t queries = ring + R::kQueries + warpgroup * 64 * 128;
  AttentionSlot s = {ring};
  WideRows<T> rows;
  WaitPhase(ring + R::kBarriers + R::kStages * 16, 0);
  for (int begin = first; begin < last;) {
    const AttentionRun run = AttentionRun::At(a, begin, last);
    rows.Begin(a, first_row, begin, run.stop);
    for (int key = run.start; key < run.end; key += R::kKeys) {
      WaitPhase(s.Full(), s.phase);
      if (key <= rows.last) {
        ColumnSums<128> score;
        BeginProducts();
#pragma unroll
        for (int k = 0; k < R::kDims / 16; ++k) {
          const uint32_t at = k / 4 * R::kHalf + k % 4 * 32;
          MultiplyShared<T>(score, SwizzledMatrix(queries + at), SwizzledMatrix(s.Stage() + at), k > 0);
        }
        CommitProducts();
        if (run.end - key < R::kKeys) ClearValues(s.Stage() + R::kValues, run.end - key, warpgroup);
        WaitProducts<0>();
        rows.Weigh(a, score, key);
        Vec16 weights[R::kKeys / 16];
#pragma unroll
        for (int k = 0; k < R::kKeys / 16; ++k) {
#pragma unroll
          for (int i = 0; i < 4; ++i) weights[k].w[i] = Pair<T>(score.v[k * 8 + 2 * i], score.v[k * 8 + 2 * i + 1]);
        }
        BeginProducts();
#pragma unroll
        for (int k = 0; k < R::kKeys / 16; ++k) {
          MultiplyDown<T>(rows.out, weights[k], StandingMatrix(s.Stage() + R::kValues + k * 2048, R::kHalf));
        }
        CommitProducts();
        WaitProducts<0>();
      }
      GroupSync();  // orders all lanes' reads before their one arrival
      if (Lane() == 0) Arrive(s.Full() + 8);
      s.Advance();
    }
    rows.Finish(a, first_row);
    begin = run.stop;
  }
}

template <class T>
UM_DEVICE void AttentionWgmma(const MappedAttentionArgs& a) {
  using R = BoxRing;
  const uint32_t ring = (SharedOffset(0) + 1023) / 1024 * 1024;
  if (Thread() == 0) {
    FetchMapNear(a.q_map);
    FetchMapNear(a.k_map);
    FetchMapNear(a.v_map);
    for (int s = 0; s < R::kStages; ++s) {
      InitBarrier(ring + R::kBarriers + s * 16, 1);
      InitBarrier(ring + R::kBarriers + s * 16 + 8, 8);  // the consumers' warps
    }
    InitBarrier(ring + R::kBarriers + R::kStages * 16, 1);
    FenceAsync();
  }
  Barrier();  // orders the barriers before their use
  WaitForPrevious();
  LetNextStart();
  const int kv_head = BlockX() / (a.heads / a.kv_heads);
  const int first = (GridY() - 1 - BlockY()) * R::kRows;  // the longest rows first
  const int last = first + R::kRows < a.m ? first + R::kRows : a.m;
  if (Group() < 4) {
    GiveRegisters<40>();
    if (Group() == 0) ProduceAttention(a, ring, kv_head, first, last);
  } else {
    TakeRegisters<232>();
    ConsumeAttention<T>(a, ring, Group() / 4 - 1, first, last);
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
