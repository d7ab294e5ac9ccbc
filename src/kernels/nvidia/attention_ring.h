// SPDX-License-Identifier: Apache-2.0
// attention_ring: decode attention over pages at the memory's rate: keys and values come through a ring in shared
//            memory, filled by the copy engine far ahead of the arithmetic, up to eight query heads a KV head together.
// Who calls: op Attention of decode steps, in 16-bit types, heads of kDims elements, on Hopper.
// Work:      the tiles of 32 positions of all rows and KV heads, one behind the other, are cut into equal runs, one a
//            block; a block walks its run piece by piece, a piece being of one row and KV head. One group fills the
//            ring; three take its tiles in turn, each with an online softmax of its own, and put their sums together
//            at the end of a piece. What a run cuts is put together by the last of its blocks.
// Bound:     memory. bytes = 2 * tokens * kv_heads * head_dim * element. The first tiles of a run, but for what the
//            launch before writes (the newest position), are on their way before that launch has ended.
// Launch:    grid the multiprocessors; threads 4 groups; shared RingLayout::kBytes, so that a block of this launch and
//            one of the next fit a multiprocessor together.
// Reference: RefAttentionRow. Sum order: tiles of a group in turn, groups in turn, blocks in turn; where a row is cut
//            follows from all rows of the step and from the device.
// Source:    Flash-Decoding (split over tokens); FlashAttention-2 (arXiv 2307.08691); Stream-K (arXiv 2301.03598) for
//            the equal runs.
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/activation.h"
#include "kernels/nvidia/attention_ring_merge.h"

namespace unimax::gpu {

// Keys, then values, are the left side of the matrix instruction, and the query heads its eight columns. Which positions
// its rows and k stand for is free: position 4 g + 2 i + h of a tile is row, or k, number g + 8 h of half i, for g = 0
// to 7, so that the eight rows that are loaded together lie in several runs.
template <class T, int kDims>
struct RingReader {
  using L = RingLayout<kDims>;
  static constexpr int kSteps = kDims / 16;  // instructions along the elements of a head
  const AttentionArgs& a;
  const int heads = a.heads / a.kv_heads;
  const int g = Lane() / 4, c = Lane() % 4;
  Shared<T> ring{0};
  struct Queries {
    uint32_t of[kSteps][2];
  } q, next_q;
  // Of heads 2c and 2c + 1: largest score times log2 e, this lane's sum of weights; out[j]: of elements 16 j + g and
  // 16 j + 8 + g.
  float top[2], sum[2];
  FragC out[kSteps];

  // Asks for the queries of a piece, which Begin awaits.
  UM_DEVICE void Ask(int row, int kv_head) {
    const T* from = static_cast<const T*>(a.q) + static_cast<int64_t>(row) * a.q_stride +
                    (kv_head * heads + g) * kDims + c * 2;
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        next_q.of[k][i] = g < heads ? *reinterpret_cast<const uint32_t*>(from + k * 16 + i * 8) : 0;
      }
    }
  }
  UM_DEVICE void Begin() {
    q = next_q;
#pragma unroll
    for (int j = 0; j < kSteps; ++j) out[j] = {};
    top[0] = top[1] = -Infinity();
    sum[0] = sum[1] = 0;
  }

  // Products of positions 4 g + 2 half and the next one with the heads 2c and 2c + 1.
  UM_DEVICE FragC Score(int keys, int half) const {
    const int lane = Lane();
    const int at = keys + L::Row(lane % 8 * 4 + 2 * half + lane / 8 % 2) + lane / 16 * 8;
    FragC even = {}, odd = {};
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      Mma16<T>(k % 2 ? odd : even, LoadMatrices(ring.Address(at + k * 16)), q.of[k][0], q.of[k][1]);
    }
#pragma unroll
    for (int i = 0; i < kFragC; ++i) even.v[i] += odd.v[i];
    return even;
  }

  struct Values {
    Vec16 of[kSteps];
  };
  UM_DEVICE Values LoadValues(int values, int half) const {
    const int lane = Lane();
    const int at = values + L::Row(lane % 8 * 4 + 2 * half + lane / 16) + lane / 8 % 2 * 8;
    Values v;
#pragma unroll
    for (int j = 0; j < kSteps; ++j) v.of[j] = LoadMatricesTransposed(ring.Address(at + j * 16));
    return v;
  }
  // Adds the values of half a tile, weighed by the scores of their positions, which have become weights.
  UM_DEVICE void Add(const Values& v, const FragC& s) {
    const uint32_t first = Transposed(Pair<T>(s.v[0], s.v[1])), second = Transposed(Pair<T>(s.v[2], s.v[3]));
#pragma unroll
    for (int j = 0; j < kSteps; ++j) Mma16<T>(out[j], v.of[j], first, second);
  }

  // What is not seen scores -infinity.
  UM_DEVICE void Mask(const RingRow& r, int first, FragC& s) const {
#pragma unroll
    for (int e = 0; e < kFragC; ++e) {
      const int at = first + 4 * g + e / 2;
      if (at < r.start || at >= r.tokens) s.v[e] = -Infinity();
    }
  }

  // Takes in the tile in a slot, whose first position is `first`.
  UM_DEVICE void Take(int slot, const RingRow& r, int first) {
    constexpr int kHalves = 2;
    const int keys = slot * (L::kSlotBytes / 2), values = keys + L::kValues;
    const bool edge = first < r.start || first + kRingTile > r.tokens;
    if (edge) Blank(values, r.tokens - first);
    FragC s[kHalves] = {Score(keys, 0), Score(keys, 1)};
    const Values v0 = LoadValues(values, 0);  // on their way while the weights are found
#pragma unroll
    for (int i = 0; i < kHalves; ++i) {
#pragma unroll
      for (int e = 0; e < kFragC; ++e) s[i].v[e] *= a.scale * kLog2E;
    }
    if (edge || a.cap > 0) {
#pragma unroll
      for (int i = 0; i < kHalves; ++i) {
        Cap(a.cap * kLog2E, s[i].v);
        Mask(r, first + 2 * i, s[i]);
      }
    }
    float high[2], keep[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {  // every tile holds a position that is seen: `high` is finite
      high[h] = Max(Max(Max(s[0].v[h], s[0].v[h + 2]), Max(s[1].v[h], s[1].v[h + 2])), top[h]);
      for (int mask = 4; mask < kLanes; mask *= 2) high[h] = Max(high[h], ShuffleXor(high[h], mask));
      keep[h] = Exp2(top[h] - high[h]);
      top[h] = high[h];
      sum[h] *= keep[h];
    }
#pragma unroll
    for (int i = 0; i < kHalves; ++i) {
#pragma unroll
      for (int e = 0; e < kFragC; ++e) {
        s[i].v[e] = Exp2(s[i].v[e] - high[e % 2]);
        sum[e % 2] += s[i].v[e];
      }
    }
    const Values v1 = LoadValues(values, 1);
#pragma unroll
    for (int j = 0; j < kSteps; ++j) {
#pragma unroll
      for (int e = 0; e < kFragC; ++e) out[j].v[e] *= keep[e % 2];
    }
    Add(v0, s[0]);
    Add(v1, s[1]);
    if (edge) FenceAsync();  // orders the zeros before the copies that follow
  }

  // Zeros in place of values that there are not: a weight of zero must not meet a NaN.
  UM_DEVICE void Blank(int values, int rows) {
    constexpr int kParts = kDims / 8;
    for (int i = rows * kParts + Lane(); i < kRingTile * kParts; i += kLanes) {
      ring.Set16(values + L::Row(i / kParts) + i % kParts * 8, Vec16{});
    }
    GroupSync();  // orders the zeros before they are read
  }

  // Leaves the group's sums in shared memory: [group][head][kPitch].
  UM_DEVICE void Leave(Shared<float>& states) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      for (int mask = 4; mask < kLanes; mask *= 2) sum[h] += ShuffleXor(sum[h], mask);
      if (2 * c + h >= heads) continue;
      const int at = (Group() * heads + 2 * c + h) * L::kPitch;
#pragma unroll
      for (int j = 0; j < kSteps; ++j) {
        states.Set(at + j * 16 + g, out[j].v[h]);
        states.Set(at + j * 16 + 8 + g, out[j].v[2 + h]);
      }
      if (g != 0) continue;
      states.Set(at + kDims, top[h]);
      states.Set(at + kDims + 1, sum[h]);
    }
  }
};

// Walks the block's run: group Group() takes every kRingReaders-th of its tiles.
template <class T, int kDims>
UM_DEVICE void ReadRing(const AttentionArgs& a, const RingDeal& d) {
  using L = RingLayout<kDims>;
  WaitForPrevious();
  RingReader<T, kDims> reader{a};
  RingMerge<T, kDims> merge{a};
  int row = d.row, head = d.head, tile = d.tile, next = Group();  // the group's next tile of the run
  if (d.count > 0) reader.Ask(row, head);
  for (int done = 0; done < d.count; tile = 0) {
    const RingRow r(a, row);
    const int left = d.count - done, count = r.tiles - tile < left ? r.tiles - tile : left;
    const RingPiece piece(d, row, head, d.begin + done - tile, r.tiles);
    if (++head == a.kv_heads) {
      head = 0;
      ++row;
    }
    reader.Begin();
    if (count < left) reader.Ask(row, head);
    for (; next < done + count; next += kRingReaders) {
      const int slot = next % L::kSlots;
      RingWaitFull(L::kBarriers, slot, next / L::kSlots % 2);
      reader.Take(slot, r, (r.first + tile + next - done) * kRingTile);
      GroupSync();  // orders the reads of all lanes before the slot is filled again
      if (Lane() == 0) RingRelease(L::kBarriers, slot);
    }
    if (done > 0) SomeBarrier(kRingThreads);  // orders the reads of the piece before from the states before this one's
    reader.Leave(merge.states);
    SomeBarrier(kRingThreads);  // orders the states before they are read
    merge.Run(piece);
    done += count;
  }
}

template <class T, int kDims>
UM_DEVICE void AttentionRing(const AttentionArgs& a) {
  using L = RingLayout<kDims>;
  LetNextStart();
  Shared<int> deal(L::kDeal);
  if (Group() == kRingReaders) {
    const RingDeal d = RingDeal::Make(a);
    if (Lane() == 0) d.Leave(deal);
  } else if (Thread() == 0) {
    RingInit(L::kBarriers, L::kSlots, 1);
  }
  Barrier();  // orders the deal and the barriers before they are used
  const RingDeal d = RingDeal::Read(deal);
  if (Group() == kRingReaders) {
    RingFeeder<T, kDims>{a, d}.Run();
  } else {
    ReadRing<T, kDims>(a, d);
  }
}

}  // namespace unimax::gpu
