// SPDX-License-Identifier: Apache-2.0
// attention_ring: decode attention over pages at the memory's rate: keys and values come through a ring in shared
//            memory, filled by the copy engine far ahead of the arithmetic, up to eight query heads a KV head together.
// Who calls: op Attention of decode steps, in 16-bit types, heads of kDims elements, on Hopper.
// Work:      the tiles of 32 positions of all rows and KV heads are dealt to the blocks in equal runs. A block
//            walks its run piece by piece, a piece being of one row and KV head: one group fills the ring, three take
//            its tiles in turn, each with an online softmax of its own, two put their sums together behind them.
// Bound:     memory. bytes = 2 * tokens * kv_heads * head_dim * element. The first tiles of a run, but for what the
//            launch before writes (the newest position), are on their way before that launch has ended.
// Launch:    grid the multiprocessors; threads kRingGroups groups; shared kRingShared, so that a block of this launch
//            and one of the next fit a multiprocessor together.
// Reference: RefAttentionRow. Sum order: tiles of a group in turn, groups in turn, blocks in turn; where a row is cut
//            follows from all rows of the step and from the device.
// Source:    Flash-Decoding (split over tokens); FlashAttention-2 (arXiv 2307.08691); Stream-K (arXiv 2301.03598) for
//            the equal runs.
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/head_tile.h"
#include "kernels/nvidia/attention_ring_merge.h"

namespace unimax::UM_PORT_NAMESPACE {

// (Runs of rows that were moved by parts of a line of banks need no order of halves, as HeadTile has, but copies to
// places that are no multiple of 128 bytes took a tenth of the rate.)
template <class T, int kDims>
struct RingReader : HeadTile<T, kDims> {
  using L = RingLayout<kDims>;
  using Tile = HeadTile<T, kDims>;
  using Tile::c, Tile::g, Tile::kQueries, Tile::q, Tile::sum, Tile::top;
  const AttentionArgs& a;
  const int heads = a.heads / a.kv_heads;
  Shared<T> ring{0};
  Vec16 next_q[kQueries];

  UM_DEVICE explicit RingReader(const AttentionArgs& args) : a(args) {}

  // Asks for the queries of a piece, which Begin awaits.
  UM_DEVICE void Ask(int row, int kv_head) {
    const T* from =
        static_cast<const T*>(a.q) + static_cast<int64_t>(row) * a.q_stride + (kv_head * heads + g) * kDims + c * 8;
#pragma unroll
    for (int k = 0; k < kQueries; ++k) next_q[k] = g < heads ? Load16(from + k * kTileK) : Vec16{};
  }
  UM_DEVICE void Begin() {
#pragma unroll
    for (int k = 0; k < kQueries; ++k) q[k] = next_q[k];
    Tile::Clear();
  }

  // cap * tanh(score / cap), in units of 1 / log2 e.
  UM_DEVICE void QuickCap(FragC& s) const {
    const float cap = a.cap * kLog2E, twice = 2 / a.cap;
#pragma unroll
    for (int e = 0; e < kFragC; ++e) s.v[e] = cap - 2 * cap * Reciprocal(1 + QuickExp2(s.v[e] * twice));
  }
  // What is not seen scores -infinity.
  UM_DEVICE void Mask(const RingRow& r, int first, FragC& s) const {
#pragma unroll
    for (int e = 0; e < kFragC; ++e) {
      const int at = first + g + e / 2 * 8;
      if (at < r.start || at >= r.tokens) s.v[e] = -Infinity();
    }
  }

  // Takes in the tile in a slot, whose first position is `first`.
  UM_DEVICE void Take(int slot, const RingRow& r, int first) {
    const int keys = slot * (L::kSlotBytes / 2), values = keys + L::kValues;
    const bool edge = first < r.start || first + kRingTile > r.tokens;
    if (edge) Blank(values, r.tokens - first);
    Tile::template Take<true>(ring, keys, values, [&](FragC(&s)[2]) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int e = 0; e < kFragC; ++e) s[i].v[e] *= a.scale * kLog2E;
      }
      if (!edge && a.cap <= 0) return;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (a.cap > 0) QuickCap(s[i]);
        Mask(r, first + i * Tile::kHalf, s[i]);
      }
    });
    if (edge) FenceAsync();  // orders the zeros before the copies that follow
  }

  // Zeros in place of values that there are not: a weight of zero must not meet a NaN.
  UM_DEVICE void Blank(int values, int rows) {
    constexpr int kParts = kDims / 8;
    for (int i = rows * kParts + Lane(); i < kRingTile * kParts; i += kLanes) {
      ring.Set16(values + i * 8, Vec16{});
    }
    GroupSync();  // orders the zeros before they are read
  }

  // Leaves the group's sums in shared memory: [set][place][head][kPitch].
  UM_DEVICE void Leave(Shared<float>& states, int set, int place) {
    Tile::AddUp();
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (2 * c + h >= heads) continue;
      Tile::Leave(states, ((set * kRingReaders + place) * heads + 2 * c + h) * L::kPitch, h, top[h], sum[h]);
    }
  }
};

// Group Group() of the readers takes every kRingReaders-th tile of the block's run. Then they help with its last piece.
template <class T, int kDims>
UM_DEVICE void ReadRing(const AttentionArgs& a, const RingDeal& d) {
  using L = RingLayout<kDims>;
  RingReader<T, kDims> reader{a};
  const RingStates<kDims> states{a};
  RingWalk w{a, d};
  RingRow r(a, w.row);  // the launch before writes no positions
  int next = Group();   // the group's next tile of the run
  WaitForPrevious();
  reader.Ask(w.row, w.head);
  while (true) {
    const int number = w.number, before = w.done - w.tile;
    w.Pass(w.Count(r.tiles));
    reader.Begin();
    if (w.Holds()) reader.Ask(w.row, w.head);
    for (; next < w.done; next += kRingReaders) {
      const int slot = next % L::kSlots;
      RingWaitFull(L::kBarriers, slot, next / L::kSlots % 2);
      reader.Take(slot, r, (r.first + next - before) * kRingTile);
      GroupSync();  // orders the reads of all lanes before the slot is filled again
      if (Lane() == 0) RingRelease(L::kBarriers, slot);
    }
    states.WaitFree(number);
    Shared<float> sums(L::kStates);
    reader.Leave(sums, states.Set(number), Group());
    GroupSync();  // orders the sums of all lanes before they are shown
    if (Lane() == 0) states.Show(number);
    if (!w.Holds()) break;
    r = RingRow(a, w.row);
  }
  states.WaitFull(w.number - 1);
  RingMerge<T, kDims>{a, states.Set(w.number - 1)}.Run(RingPiece::Read(Shared<int>(L::kPiece)), true);
}

// Puts sums together: of all pieces but the last behind the readers, of the last one with them.
template <class T, int kDims>
UM_DEVICE void MergeRing(const AttentionArgs& a, const RingDeal& d) {
  using L = RingLayout<kDims>;
  const RingStates<kDims> states{a};
  for (RingWalk w{a, d}; w.Holds();) {
    const int tiles = RingRow(a, w.row).tiles, number = w.number;
    const RingPiece piece = RingPiece::Of(d, w, tiles, a.heads / a.kv_heads * kDims / 2);
    w.Pass(w.Count(tiles));
    if (Thread() == kRingReaders * kLanes) {
      Shared<int> last(L::kPiece);
      if (!w.Holds()) piece.Leave(last);
      states.Show(number);
    }
    states.WaitFull(number);
    RingMerge<T, kDims>{a, states.Set(number)}.Run(piece, !w.Holds());
    GroupSync();  // orders the reads of all lanes before the sums are overwritten
    if (Lane() == 0) states.Release(number);
  }
}

template <class T, int kDims>
UM_DEVICE void AttentionRing(const AttentionArgs& a) {
  using L = RingLayout<kDims>;
  constexpr int kFeeder = kRingReaders + kRingMergers;
  LetNextStart();
  Shared<int> deal(L::kDeal);
  if (Group() == kFeeder) {
    const RingDeal d = RingDeal::Make(a);
    if (Lane() == 0) d.Leave(deal);
  } else if (Thread() == 0) {
    RingStates<kDims>::Init();
    RingInit(L::kBarriers, L::kSlots, 1);
  }
  Barrier();  // orders the deal and the barriers before they are used
  const RingDeal d = RingDeal::Read(deal);
  if (Group() == kFeeder) return RingFeeder<T, kDims>{a, d}.Run();
  if (d.count <= 0) return WaitForPrevious();
  if (Group() < kRingReaders) return ReadRing<T, kDims>(a, d);
  MergeRing<T, kDims>(a, d);  // what it reads follows what the readers do after they have waited
}

}  // namespace unimax::UM_PORT_NAMESPACE
