// SPDX-License-Identifier: Apache-2.0
// draw_filter: the candidates of a draw, and the filters that leave the best of them: the k best, or those that have
//            the share p of all mass.
// Who calls: draw.h.
// Work:      a filter is a search for the last id that stays. Each pass over the logits adds up a finer set of buckets,
//            until the bucket that holds it has few enough ids for a list. Two passes do it unless many are nearly
//            equal.
// Bound:     arithmetic in double; bytes = 4 * vocab a pass.
// Launch:    of draw.h.
// Reference: RefDraw.
// Source:    selection by digits: Alabi et al. 2012, "Fast k-selection algorithms for graphics processing units".
#pragma once

#include "base/draw_mass.h"
#include "kernels/draw_args.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kDrawMassesAt = kDrawBuckets * 8, kDrawValuesAt = kDrawMassesAt + kDrawList * 8,
                     kDrawScanAt = kDrawValuesAt + kDrawList * 8, kDrawIdsAt = kDrawScanAt + 2 * kDrawThreads * 8,
                     kDrawStateAt = kDrawIdsAt + kDrawList * 4;
// Ints of the state: the bucket of each level, how many are listed, the id at the cut, whether an entry was found.
inline constexpr int kDrawListed = 16, kDrawCutId = 17, kDrawFound = 18;

// The candidates: ids whose value is above the cut, or equal to it with an id up to the cut's, and not too far below
// the largest.
struct DrawSet {
  const float* logits;
  const DrawEntry* entries;
  int vocab;
  double temperature = 1, scale = 1;
  double largest = 0, least = -Infinity();  // least: of x - largest
  double cut = -Infinity();
  int cut_id = -1;

  UM_DEVICE double Value(float logit) const {
    if (IsFinite(logit)) return static_cast<double>(logit) / temperature;
    return entries[BitCopy<uint32_t>(logit) & 0x3fffffu].x;
  }
  UM_DEVICE bool Holds(double x, int id) const {
    return (x > cut || (x == cut && id <= cut_id)) && x - largest >= least;
  }
  UM_DEVICE uint64_t Mass(double x) const { return DrawMass<Exact>(x - largest, scale); }
};

// visit(id, value) for each candidate, a thread every BlockThreads()-th id.
template <class Visit>
UM_DEVICE void ForEachOf(const DrawSet& set, Visit visit) {
  constexpr int kAhead = 4;  // logits in flight
  for (int first = Thread(); first < set.vocab; first += kAhead * BlockThreads()) {
    float logit[kAhead];
#pragma unroll
    for (int r = 0; r < kAhead; ++r) {
      const int id = first + r * BlockThreads();
      logit[r] = id < set.vocab ? set.logits[id] : 0.0f;
    }
#pragma unroll
    for (int r = 0; r < kAhead; ++r) {
      const int id = first + r * BlockThreads();
      if (id >= set.vocab) break;
      const double x = set.Value(logit[r]);
      if (set.Holds(x, id)) visit(id, x);
    }
  }
}

// The sum of `own` over the threads before this one; `all`: over all threads.
UM_DEVICE uint64_t SumBefore(uint64_t own, uint64_t* all) {
  Shared<uint64_t> scan(kDrawScanAt);
  int from = 0;
  scan.Set(Thread(), own);
  Barrier();  // every thread's own before it is added to others
  for (int step = 1; step < BlockThreads(); step *= 2) {
    const int to = BlockThreads() - from;
    const uint64_t left = Thread() >= step ? scan.Get(from + Thread() - step) : 0;
    scan.Set(to + Thread(), scan.Get(from + Thread()) + left);
    Barrier();  // this round's sums before the next one reads them and writes over the last round's
    from = to;
  }
  *all = scan.Get(from + BlockThreads() - 1);
  const uint64_t before = scan.Get(from + Thread()) - own;
  Barrier();  // reads of the sums before the next call writes
  return before;
}

// The largest value and its lowest id; -1 where there is no candidate.
UM_DEVICE int Best(const DrawSet& set, double* largest) {
  Shared<double> values(kDrawValuesAt);
  Shared<int> ids(kDrawIdsAt);
  double best = -Infinity();
  int best_id = -1;
  const auto take = [&](int id, double x) {
    if (id < 0 || (best_id >= 0 && (x < best || (x == best && id > best_id)))) return;
    best = x;
    best_id = id;
  };
  ForEachOf(set, take);
  for (int half = BlockThreads() / 2;; half /= 2) {
    values.Set(Thread(), best);
    ids.Set(Thread(), best_id);
    Barrier();  // bests of the upper half before the lower half takes them
    if (half == 0) break;
    if (Thread() < half) take(ids.Get(Thread() + half), values.Get(Thread() + half));
    Barrier();  // those reads before the next round writes
  }
  *largest = values.Get(0);
  const int id = ids.Get(0);
  Barrier();  // reads before the list is written
  return id;
}

constexpr int kDrawValueLevels = 6, kDrawLevels = 9;

// The bucket of a candidate, the better ones in lower buckets: first by 32nds of the distance from the largest, then by
// the bits of the value, 11 a level, at last by the id.
UM_DEVICE int BucketAt(int level, const DrawSet& set, double x, int id) {
  constexpr int kBits = 11, kAllBits = 8 * sizeof(double);
  constexpr uint64_t kSign = 0x8000000000000000;
  if (level == 0) {
    const double distance = (set.largest - x) * 32;
    return distance < kDrawBuckets - 1 ? static_cast<int>(distance) : kDrawBuckets - 1;
  }
  if (level > kDrawValueLevels) return (level == kDrawLevels - 2 ? id >> kBits : id) & (kDrawBuckets - 1);
  const uint64_t bits = BitCopy<uint64_t>(x + 0.0);  // -0 is 0
  const uint64_t ordered = bits & kSign ? ~bits : bits | kSign;
  const int shift = level == kDrawValueLevels ? 0 : kAllBits - kBits * level;
  return kDrawBuckets - 1 - static_cast<int>(ordered >> shift & (kDrawBuckets - 1));
}

// What a filter or a draw counts: ids, or their masses.
UM_DEVICE uint64_t Weight(const DrawSet& set, bool by_mass, double x) { return by_mass ? set.Mass(x) : 1; }

// The index of the first of `count` sums in shared memory that brings their running sum to `target` or above; its
// predecessors' sum goes into *before. The caller has checked that the sums reach it.
UM_DEVICE int Cross(int count, uint64_t own, uint64_t before_own, uint64_t target, uint64_t* before) {
  Shared<uint64_t> sums(0), values(kDrawMassesAt);
  Shared<int> state(kDrawStateAt);
  if (before_own < target && target <= before_own + own) {  // one thread
    const int each = count / BlockThreads();
    int index = Thread() * each;
    uint64_t sum = before_own;
    while (sum + sums.Get(index) < target) sum += sums.Get(index++);
    state.Set(kDrawCutId, index);
    values.Set(0, sum);
  }
  Barrier();  // the one thread's finding before all read it
  *before = values.Get(0);
  const int index = state.Get(kDrawCutId);
  Barrier();  // those reads before the next finding
  return index;
}

// This thread's run of sums.
UM_DEVICE uint64_t OwnOf(int count) {
  Shared<uint64_t> sums(0);
  const int each = count / BlockThreads();
  uint64_t own = 0;
  for (int i = 0; i < each; ++i) own += sums.Get(Thread() * each + i);
  return own;
}

// Cuts at the listed id that brings the sum, `before` above the list, to `target`.
UM_DEVICE void CutInList(DrawSet& set, bool by_mass, int listed, uint64_t before, uint64_t target) {
  Shared<uint64_t> masses(kDrawMassesAt);
  Shared<double> values(kDrawValuesAt);
  Shared<int> ids(kDrawIdsAt), state(kDrawStateAt);
  for (int i = Thread(); i < listed; i += BlockThreads()) masses.Set(i, Weight(set, by_mass, values.Get(i)));
  Barrier();  // all masses before they are added up
  for (int i = Thread(); i < listed; i += BlockThreads()) {
    const double x = values.Get(i);
    const int id = ids.Get(i);
    uint64_t above = before;
    for (int k = 0; k < listed; ++k) {
      const double other = values.Get(k);
      if (other > x || (other == x && ids.Get(k) < id)) above += masses.Get(k);
    }
    if (above < target && target <= above + masses.Get(i)) state.Set(kDrawCutId, i);  // one thread
  }
  Barrier();  // the one thread's finding before all read it
  const int last = state.Get(kDrawCutId);
  set.cut = values.Get(last);
  set.cut_id = by_mass ? ids.Get(last) : set.vocab;  // top-k keeps ties
  Barrier();                                         // reads of the list before the next filter writes it
}

// Top-k: the candidates with fewer than `value` better ones. Top-p: those with less than DrawKept of the mass above.
UM_DEVICE void CutTop(DrawSet& set, bool by_mass, double value) {
  Shared<uint64_t> sums(0);
  Shared<double> values(kDrawValuesAt);
  Shared<int> ids(kDrawIdsAt), state(kDrawStateAt);
  uint64_t before = 0, target = by_mass ? 0 : static_cast<uint64_t>(value);
  const auto chosen = [&](int levels, double x, int id) {
    for (int l = 0; l < levels; ++l) {
      if (BucketAt(l, set, x, id) != state.Get(l)) return false;
    }
    return true;
  };
  for (int level = 0; level < kDrawLevels; ++level) {
    for (int b = Thread(); b < kDrawBuckets; b += BlockThreads()) sums.Set(b, 0);
    if (Thread() == 0) state.Set(kDrawListed, 0);
    Barrier();  // the zeros before they are added to
    ForEachOf(set, [&](int id, double x) {
      if (chosen(level, x, id)) sums.Add(BucketAt(level, set, x, id), Weight(set, by_mass, x));
    });
    Barrier();  // all additions before they are read
    uint64_t all;
    const uint64_t own = OwnOf(kDrawBuckets), before_own = before + SumBefore(own, &all);
    if (level == 0 && by_mass) target = DrawKept(value, all);
    if (level == 0 && all < target) return;  // fewer than k
    const int bucket = Cross(kDrawBuckets, own, before_own, target, &before);
    if (Thread() == 0) state.Set(level, bucket);
    Barrier();  // the level's bucket before it is read
    ForEachOf(set, [&](int id, double x) {
      if (!chosen(level + 1, x, id)) return;
      const int at = state.Add(kDrawListed, 1);
      if (at >= kDrawList) return;
      values.Set(at, x);
      ids.Set(at, id);
    });
    Barrier();  // the list before it is read
    const int listed = state.Get(kDrawListed);
    if (listed <= kDrawList) return CutInList(set, by_mass, listed, before, target);
    if (level == kDrawValueLevels && !by_mass) {  // all of them are equal, and all stay
      set.cut = values.Get(0);
      set.cut_id = set.vocab;
      Barrier();  // reads of the list before the next filter writes it
      return;
    }
    Barrier();  // reads of the list's length before it is set back
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
