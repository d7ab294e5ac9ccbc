// SPDX-License-Identifier: Apache-2.0
// attention_fixed: attention_ring whose sums depend on the row alone, for --deterministic: not on the rows beside it,
//            their order, or the device.
// Who calls: op Attention under --deterministic, in 16-bit types, heads of kDims elements, on Hopper.
// Work:      a row is cut into units of kUnitTiles tiles, or into MostUnits larger ones if it is long. Blocks take runs
// of
//            units of equal size. Within a unit the tiles go to three chains in turn, a chain to whichever group its
//            first tile meets. A block folds the units of a row and head that it has as a whole; those that blocks
//            share are left one by one, for the blocks whose run ends with the row and head, as in attention_ring.
// Bound:     that of attention_ring, and three times through L2 what is left: 16 bytes a unit and two elements.
// Launch:    that of attention_ring.
// Reference: RefAttentionRow. Sum order: tiles of a chain in turn, chains in turn, units in turn, which makes the same
//            bits wherever it is done.
// Source:    that of attention_ring.
#pragma once

#include "kernels/args.h"
#include "kernels/nvidia/attention_fixed_deal.h"
#include "kernels/nvidia/attention_ring.h"

namespace unimax::UM_PORT_NAMESPACE {

// Both, in this order; the compiler has no choice how. One without a unit in it is like none.
UM_DEVICE RingMix Joined(const RingMix& a, const RingMix& b) {
  const float top = Max(a.top, b.top), of_a = QuickExp2(a.top - top), of_b = QuickExp2(b.top - top);
  return {Fma(a.low, of_a, b.low * of_b), Fma(a.high, of_a, b.high * of_b), top, Fma(a.sum, of_a, b.sum * of_b)};
}

// Where the units of a row and head lie.
struct UnitPlace {
  int row, head, number, units;
  int words;        // where its units are left, in units; -1: nobody else has any of them
  int first, last;  // this block's share of the pairs of elements, at the end of its run
  UM_DEVICE static UnitPlace Of(const RingDeal& d, const UnitWalk& w, int pairs) {
    const int units = OverUp(w.r.tiles, w.unit), from = w.place - w.tile, end = from + units * w.unit;
    UnitPlace p = {w.Row(w.pair), w.Head(w.pair), Over(w.tile, w.unit), units, -1, 0, 0};
    if (d.step > 1) return p;
    const int first_block = Over(from, d.each), last_block = Over(end - w.unit, d.each);
    if (first_block == last_block) return p;
    p.words = first_block * MostUnits(w.a.kv_heads);
    const bool ends = d.step == 0 || end >= (last_block + 1) * d.each;  // the last block's run, too
    const int part = BlockX() - first_block, mergers = last_block - first_block + (ends ? 1 : 0);
    if (part >= mergers) return p;
    p.first = Over(pairs * part, mergers);
    p.last = Over(pairs * (part + 1), mergers);
    return p;
  }
  UM_DEVICE bool Shares() const { return words >= 0; }
  static constexpr int kInts = 7;
  UM_DEVICE void Leave(Shared<int>& to) const {
    const int ints[kInts] = {row, head, number, units, words, first, last};
#pragma unroll
    for (int i = 0; i < kInts; ++i) to.Set(i, ints[i]);
  }
  UM_DEVICE static UnitPlace Read(const Shared<int>& from) {
    return {from.Get(0), from.Get(1), from.Get(2), from.Get(3), from.Get(4), from.Get(5), from.Get(6)};
  }
};

template <class T, int kDims>
struct UnitMerge : RingMerge<T, kDims> {
  using Ring = RingMerge<T, kDims>;
  using Ring::a;
  using Ring::heads;
  using Ring::kPairs;
  using Ring::set;
  using Ring::states;
  UM_DEVICE UnitMerge(const AttentionArgs& args, int number) : Ring{args, number} {}

  UM_DEVICE void Write(const UnitPlace& p, int i, const RingMix& mix) const {
    Ring::Write({p.row, p.head, 0, 0, 0, 0, 0, 0}, i, mix);
  }
  UM_DEVICE char* Word(const UnitPlace& p, int unit, int i) const {
    return static_cast<char*>(a.words) +
           (static_cast<int64_t>(p.words + unit) * (heads * kPairs) + i) * sizeof(RingMix);
  }
  // As RingMerge::Own, but the compiler has no choice how.
  UM_DEVICE RingMix Own(int i) const { return Own(i / kPairs, i % kPairs); }
  UM_DEVICE RingMix Own(int head, int of_head) const {
    RingMix of[kRingReaders], mix;
#pragma unroll
    for (int g = 0; g < kRingReaders; ++g) {
      const int at = ((set * kRingReaders + g) * heads + head) * Ring::L::kPitch, pair = at + of_head * 2;
      of[g] = {states.Get(pair), states.Get(pair + 1), states.Get(at + kDims), states.Get(at + kDims + 1)};
      mix.top = Max(mix.top, of[g].top);
    }
#pragma unroll
    for (int g = 0; g < kRingReaders; ++g) {
      const float weight = QuickExp2(of[g].top - mix.top);
      mix.low = Fma(of[g].low, weight, mix.low);
      mix.high = Fma(of[g].high, weight, mix.high);
      mix.sum = Fma(of[g].sum, weight, mix.sum);
    }
    return mix;
  }
  // Leaves the unit's pairs but those of this block's share.
  UM_DEVICE void Leave(const UnitPlace& p, int thread, int threads, int first, int last) const {
#pragma unroll 2
    for (int i = thread; i < heads * kPairs; i += threads) {
      if (i < first || i >= last) StoreWhole(Word(p, p.number, i), Own(i));
    }
  }

  // Pair number i of all units in turn, some of which are awaited together.
  UM_DEVICE RingMix All(const UnitPlace& p, int i) const {
    constexpr int kUnits = Ring::kAhead;
    const int step = heads * kPairs * static_cast<int>(sizeof(RingMix));
    char* words = Word(p, 0, i);
    const RingMix own = Own(i);
    RingMix mix;
#pragma unroll 1
    for (int first = 0; first < p.units; first += kUnits, words += kUnits * step) {
      const int units = p.units - first, mine = p.number - first;
      RingMix of[kUnits];
      bool there = false;
      for (int looks = 0; !there && looks < Ring::kPatience; ++looks) {
        there = true;
#pragma unroll
        for (int k = 0; k < kUnits; ++k) {  // what is not awaited is loaded all the same: no branch between loads
          const bool whole = LoadWhole(&of[k], words + (k < units ? k : 0) * step);
          there &= whole || k >= units || k == mine;
        }
        if (!there) Pause();
      }
      if (!there) Fail();  // another process holds multiprocessors: what comes late would meet the next launch
#pragma unroll
      for (int k = 0; k < kUnits; ++k) {
        if (k >= units) continue;
        if (k == mine) of[k] = own;
        mix = Joined(mix, of[k]);
        if (k != mine) StoreEmpty(words + k * step);
      }
    }
    return mix;
  }

  // The last unit of a block's run, whose row and head it shares. There is one copy of this code, and it is short: it
  // comes from memory when it is needed, a microsecond and more if it is long.
  UM_DEVICE void Finish(const UnitPlace& p) const {
    constexpr int kThreads = (kRingReaders + kRingMergers) * kLanes;
    Leave(p, Thread(), kThreads, p.first, p.last);
#pragma unroll 1
    for (int i = p.first + Thread(); i < p.last; i += kThreads) Write(p, i, All(p, i));
  }
};

// Folds the units of a row and head that a block has as a whole, kMine pairs a thread.
template <class T, int kDims>
struct UnitFold {
  static constexpr int kPairs = kDims / 2, kAtOnce = kRingMergers * kLanes / kPairs, kMine = kRingHeads / kAtOnce;
  RingMix mix[kMine];
  UM_DEVICE void Take(const UnitMerge<T, kDims>& merge, const UnitPlace& p) {
    const int thread = Thread() - kRingReaders * kLanes, first = thread / kPairs, of_head = thread % kPairs;
#pragma unroll
    for (int k = 0; k < kMine; ++k) {
      const int head = first + k * kAtOnce;
      if (head >= merge.heads) break;
      mix[k] = Joined(mix[k], merge.Own(head, of_head));
      if (p.number + 1 < p.units) continue;
      merge.Write(p, head * kPairs + of_head, mix[k]);
      mix[k] = {};
    }
  }
};

// As ReadRing, unit by unit. The number of the last one.
template <class T, int kDims>
UM_DEVICE int ReadUnits(const AttentionArgs& a, const RingDeal& d) {
  using L = RingLayout<kDims>;
  RingReader<T, kDims> reader{a};
  const RingStates<kDims> states{a};
  UnitWalk w(a, d);
  int next = Group();  // the group's next tile of the run
  WaitForPrevious();
  reader.Ask(d.row, d.head);
  while (true) {
    const int end = w.End(), first = w.r.first + w.tile - w.done;
    reader.Begin();
    if (w.EndsPair() && end < d.count) reader.Ask(w.Row(w.NextPair()), w.Head(w.NextPair()));
    for (; next < end; next += kRingReaders) {
      const int slot = next % L::kSlots;
      RingWaitFull(L::kBarriers, slot, next / L::kSlots % 2);
      reader.Take(slot, w.r, (first + next) * kRingTile);
      GroupSync();  // orders the reads of all lanes before the slot is filled again
      if (Lane() == 0) RingRelease(L::kBarriers, slot);
    }
    states.WaitFree(w.number);
    Shared<float> sums(L::kStates);
    reader.Leave(sums, states.Set(w.number), (next - w.done) % kRingReaders);
    GroupSync();  // orders the sums of all lanes before they are shown
    if (Lane() == 0) states.Show(w.number);
    if (end >= d.count) return w.number;
    w.Pass();
  }
}

// Puts sums together behind the readers, all but those of a last unit whose row and head is shared. Its number.
template <class T, int kDims>
UM_DEVICE int MergeUnits(const AttentionArgs& a, const RingDeal& d) {
  using L = RingLayout<kDims>;
  const RingStates<kDims> states{a};
  UnitFold<T, kDims> fold;
  UnitWalk w(a, d);
  UnitPlace p = UnitPlace::Of(d, w, a.heads / a.kv_heads * kDims / 2);
  while (true) {
    const bool last = w.End() >= d.count, ends = w.EndsPair();
    if (Thread() == kRingReaders * kLanes) {
      Shared<int> piece(L::kPiece);
      if (last) p.Leave(piece);
      states.Show(w.number);
    }
    if (last && p.Shares()) return w.number;
    states.WaitFull(w.number);
    const UnitMerge<T, kDims> merge(a, states.Set(w.number));
    if (!p.Shares()) {
      fold.Take(merge, p);
    } else {
      merge.Leave(p, Thread() - kRingReaders * kLanes, kRingMergers * kLanes, 0, 0);
    }
    GroupSync();  // orders the reads of all lanes before the sums are overwritten
    if (Lane() == 0) states.Release(w.number);
    if (last) return w.number;
    w.Pass();
    ++p.number;
    if (ends) p = UnitPlace::Of(d, w, a.heads / a.kv_heads * kDims / 2);
  }
}

template <class T, int kDims>
UM_DEVICE void AttentionFixed(const AttentionArgs& a) {
  using L = RingLayout<kDims>;
  constexpr int kFeeder = kRingReaders + kRingMergers;
  LetNextStart();
  Shared<int> deal(L::kDeal);
  if (Thread() == 0) {
    RingStates<kDims>::Init();
    RingInit(L::kBarriers, L::kSlots, 1);
  }
  if (Group() == kFeeder) {
    const RingDeal d = DealUnits(a);
    if (Lane() == 0) d.Leave(deal);
  }
  Barrier();  // orders the deal and the barriers before they are used
  const RingDeal d = RingDeal::Read(deal);
  if (Group() == kFeeder) return RingFeeder<T, kDims>{a, d}.Run();
  if (d.count <= 0) return WaitForPrevious();
  // What mergers read follows what the readers do after they have waited.
  const int number = Group() < kRingReaders ? ReadUnits<T, kDims>(a, d) : MergeUnits<T, kDims>(a, d);
  const RingStates<kDims> states{a};
  states.WaitFull(number);
  const UnitPlace p = UnitPlace::Read(Shared<int>(L::kPiece));
  if (p.Shares()) UnitMerge<T, kDims>(a, states.Set(number)).Finish(p);
}

}  // namespace unimax::UM_PORT_NAMESPACE
