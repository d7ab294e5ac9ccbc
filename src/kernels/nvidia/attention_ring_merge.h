// SPDX-License-Identifier: Apache-2.0
// attention_ring_merge: how the sums of a row and KV head come together in attention_ring: of the groups of a block,
//            and of the blocks that share its tiles.
// Who calls: attention_ring.
// Work:      a block whose run goes on leaves its sums and does not wait. Those whose run ends with the row and head
//            deal its elements among them, and look at the others' sums until they are there: one way through L2.
// Bound:     latency. bytes = blocks * head_dim / 2 * 16 a query head.
// Launch:    that of attention_ring: as many blocks as multiprocessors, so none waits for one that cannot start.
// Reference: RefAttentionRow. Sum order: groups in turn, then blocks in turn.
// Source:    the LL protocol of NCCL, with words that are flags themselves.
#pragma once

#include "kernels/args.h"
#include "kernels/nvidia/attention_ring_deal.h"

namespace unimax::UM_PORT_NAMESPACE {

// Two neighbouring elements of a head, their weights relative to 2^top.
struct RingMix {
  float low = 0, high = 0, top = -Infinity(), sum = 0;
  UM_DEVICE void Add(const RingMix& o, float weight) {
    low += o.low * weight;
    high += o.high * weight;
    sum += o.sum * weight;
  }
};

// A mix goes from block to block through memory without a flag beside it: a word of it has not come as long as all its
// bits are set, which no result has (NaNs of the device are 0x7fffffff, and others become that). Whoever reads it sets
// them again for the next launch.
inline constexpr uint32_t kRingEmpty = 0xffffffffu;
UM_DEVICE void StoreWhole(void* to, const RingMix& mix) {
  Vec16 v = BitCopy<Vec16>(mix);
#pragma unroll
  for (uint32_t& w : v.w) w = w == kRingEmpty ? 0x7fffffffu : w;
  StoreRelaxed(to, v);
}
UM_DEVICE void StoreEmpty(void* to) { StoreRelaxed(to, {{kRingEmpty, kRingEmpty, kRingEmpty, kRingEmpty}}); }
UM_DEVICE bool LoadWhole(RingMix* mix, const void* from) {
  const Vec16 v = LoadRelaxed(from);
  *mix = BitCopy<RingMix>(v);
  return v.w[0] != kRingEmpty && v.w[1] != kRingEmpty && v.w[2] != kRingEmpty && v.w[3] != kRingEmpty;
}

// A piece of a run: tiles of one row and KV head, of which other blocks may have more. Blocks whose run ends with their
// piece put the row and head together, each its share of the elements; the others left theirs long before.
struct RingPiece {
  int row, head, part, parts, first_block;
  int late;         // 1: the first block's piece is not the first of its run
  int first, last;  // this block's share of the pairs of elements; none where the run goes on
  UM_DEVICE static RingPiece Of(const RingDeal& d, const RingWalk& w, int tiles, int pairs) {
    const int from = d.begin + w.done - w.tile, end = from + tiles;
    RingPiece p = {w.row, w.head, 0, 1, BlockX(), 0, 0, 0};
    if (d.step > 1 || tiles == w.Count(tiles)) return p;
    p.first_block = from / d.each;
    p.late = from % d.each != 0 ? 1 : 0;
    p.part = BlockX() - p.first_block;
    p.parts = (end - 1) / d.each + 1 - p.first_block;
    const int mergers = end == d.all || end % d.each == 0 ? p.parts : p.parts - 1;
    if (p.part >= mergers) return p;
    p.first = pairs * p.part / mergers;
    p.last = pairs * (p.part + 1) / mergers;
    return p;
  }
  static constexpr int kWords = 8;
  UM_DEVICE void Leave(Shared<int>& to) const {
    const int words[kWords] = {row, head, part, parts, first_block, late, first, last};
#pragma unroll
    for (int i = 0; i < kWords; ++i) to.Set(i, words[i]);
  }
  UM_DEVICE static RingPiece Read(const Shared<int>& from) {
    return {from.Get(0), from.Get(1), from.Get(2), from.Get(3), from.Get(4), from.Get(5), from.Get(6), from.Get(7)};
  }
  // Where a part's sums lie: those of the piece its run begins with, or ends with.
  UM_DEVICE int Place(int of) const { return 2 * (first_block + of) + (of == 0 ? late : 0); }
};

// The readers' sums on their way to the mergers: two sets where few heads leave room.
template <int kDims>
struct RingStates {
  using L = RingLayout<kDims>;
  const AttentionArgs& a;
  const int sets = a.heads <= kRingHeads / 2 * a.kv_heads ? 2 : 1;
  UM_DEVICE static void Init() {
    for (int set = 0; set < 2; ++set) {
      InitBarrier(SharedOffset(L::kStateBarriers + set * 16), kRingReaders + 1);
      InitBarrier(SharedOffset(L::kStateBarriers + set * 16 + 8), kRingMergers);
    }
  }
  // Of piece number `number` of the run.
  UM_DEVICE int Set(int number) const { return number % sets; }
  UM_DEVICE int Turn(int number) const { return number / sets % 2; }
  UM_DEVICE void WaitFree(int number) const { RingWaitFree(L::kStateBarriers, Set(number), Turn(number)); }
  UM_DEVICE void Show(int number) const { Arrive(SharedOffset(L::kStateBarriers + Set(number) * 16)); }
  UM_DEVICE void WaitFull(int number) const { RingWaitFull(L::kStateBarriers, Set(number), Turn(number)); }
  UM_DEVICE void Release(int number) const { RingRelease(L::kStateBarriers, Set(number)); }
};

// Puts the groups' sums of a piece together, and the pieces of a row and head.
template <class T, int kDims>
struct RingMerge {
  using L = RingLayout<kDims>;
  static constexpr int kPairs = kDims / 2, kPatience = 1 << 22, kAhead = 8;
  const AttentionArgs& a;
  const int set;  // of the sums
  const int heads = a.heads / a.kv_heads;
  Shared<float> states{L::kStates};

  // Pair number i of the heads' elements, of this block's groups in turn; one may have had no tile.
  UM_DEVICE RingMix Own(int i) const {
    RingMix of[kRingReaders], mix;
#pragma unroll
    for (int g = 0; g < kRingReaders; ++g) {
      const int at = ((set * kRingReaders + g) * heads + i / kPairs) * L::kPitch, pair = at + i % kPairs * 2;
      of[g] = {states.Get(pair), states.Get(pair + 1), states.Get(at + kDims), states.Get(at + kDims + 1)};
      mix.top = Max(mix.top, of[g].top);
    }
#pragma unroll
    for (int g = 0; g < kRingReaders; ++g) mix.Add(of[g], QuickExp2(of[g].top - mix.top));
    return mix;
  }
  UM_DEVICE void Write(const RingPiece& p, int i, const RingMix& mix) const {
    T* y = static_cast<T*>(a.y) + (static_cast<int64_t>(p.row) * a.heads + p.head * heads) * kDims;
    const float scale = Reciprocal(mix.sum);
    reinterpret_cast<uint32_t*>(y)[i] = Pair<T>(mix.low * scale, mix.high * scale);
  }
  UM_DEVICE char* Word(const RingPiece& p, int part, int i) const {
    return static_cast<char*>(a.words) + (static_cast<int64_t>(p.Place(part)) * heads * kPairs + i) * sizeof(RingMix);
  }

  // Pair number i of all blocks in turn, some of which are awaited together.
  UM_DEVICE RingMix All(const RingPiece& p, int i) const {
    const RingMix own = Own(i);
    RingMix mix;
    for (int first = 0; first < p.parts; first += kAhead) {
      RingMix of[kAhead];
      bool there = false;
      for (int looks = 0; !there && looks < kPatience; ++looks) {
        there = true;
#pragma unroll
        for (int k = 0; k < kAhead; ++k) {
          of[k].top = -Infinity();
          if (first + k < p.parts && first + k != p.part) there &= LoadWhole(&of[k], Word(p, first + k, i));
        }
        if (!there) Pause();
      }
      if (!there) Fail();  // another process holds multiprocessors: what comes late would meet the next launch
      float most = mix.top;
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        if (first + k == p.part) of[k] = own;
        most = Max(most, of[k].top);
      }
      const float keep = QuickExp2(mix.top - most);
      mix = {mix.low * keep, mix.high * keep, most, mix.sum * keep};
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        mix.Add(of[k], QuickExp2(of[k].top - most));
        if (first + k < p.parts && first + k != p.part) StoreEmpty(Word(p, first + k, i));
      }
    }
    return mix;
  }

  // `together`: with the readers' threads, of a block's last piece.
  UM_DEVICE void Run(const RingPiece& p, bool together) const {
    constexpr int kReading = kRingReaders * kLanes, kMerging = kRingMergers * kLanes;
    const int thread = together ? Thread() : Thread() - kReading, threads = together ? kReading + kMerging : kMerging;
    const int pairs = heads * kPairs;
    if (p.parts == 1) {
#pragma unroll 4
      for (int i = thread; i < pairs; i += threads) Write(p, i, Own(i));
      return;
    }
#pragma unroll 2
    for (int i = thread; i < pairs; i += threads) {
      if (i < p.first || i >= p.last) StoreWhole(Word(p, p.part, i), Own(i));
    }
    for (int i = p.first + thread; i < p.last; i += threads) Write(p, i, All(p, i));
  }
};

}  // namespace unimax::UM_PORT_NAMESPACE
