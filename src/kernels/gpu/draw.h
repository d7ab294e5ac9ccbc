// SPDX-License-Identifier: Apache-2.0
// draw: chooses the token of each row with penalties, temperature, top-k, top-p and min-p, as the sampler of the host
//            does (engine/sampler_candidates.h): the same id for the same logits, for sums are of whole numbers.
// Who calls: the graph executor behind op Sample, where a step brings rows to draw (Step::draws).
// Work:      one block a row. Values that only some ids have (penalties, bias) stand in entries; their logits become
//            NaNs that name them for as long as the kernel runs.
// Bound:     arithmetic in double. bytes = 4 * M * vocab for each pass: 2 with the temperature alone, 2 more a filter.
// Launch:    grid M; threads a power of two up to kDrawThreads; shared kDrawShared.
// Reference: RefDraw.
// Source:    top-p: arXiv 1904.09751; min-p: arXiv 2407.01082; penalties: arXiv 1909.05858.
#pragma once

#include "kernels/gpu/draw_filter.h"

namespace unimax::UM_PORT_NAMESPACE {

// The sum of masses over a group: whole numbers, so in any order.
UM_DEVICE uint64_t GroupSumOf(uint64_t v) {
  struct Halves {
    int a, b;
  };
  for (int mask = kLanes / 2; mask > 0; mask /= 2) {
    const Halves own = BitCopy<Halves>(v);
    v += BitCopy<uint64_t>(Halves{ShuffleXor(own.a, mask), ShuffleXor(own.b, mask)});
  }
  return v;
}

// The id, in their order, that brings the sum of masses above DrawTarget.
UM_DEVICE int DrawById(const DrawSet& set, double uniform) {
  Shared<uint64_t> sums(0);
  Shared<int> state(kDrawStateAt);
  const auto mass = [&](int id) {
    const double x = set.Value(set.logits[id]);
    return set.Holds(x, id) ? set.Mass(x) : 0;
  };
  constexpr int kLeast = 8;  // ids a lane in a run
  const int rounds = (set.vocab + kDrawBuckets * kLanes - 1) / (kDrawBuckets * kLanes);
  const int run = kLanes * (rounds > kLeast ? rounds : kLeast);
  for (int r = Group(); r < kDrawBuckets; r += Groups()) {
    uint64_t sum = 0;
    const int from = r * run, left = set.vocab - from;
    for (int i = Lane(); i < run && i < left; i += kLanes) sum += mass(from + i);
    if (left > 0) sum = GroupSumOf(sum);
    if (Lane() == 0) sums.Set(r, sum);
  }
  Barrier();  // the runs' sums before they are read
  uint64_t all, before;
  const uint64_t own = OwnOf(kDrawBuckets), before_own = SumBefore(own, &all);
  const uint64_t target = DrawTarget(uniform, all) + 1;
  const int from = Cross(kDrawBuckets, own, before_own, target, &before) * run;
  const int each = (run + BlockThreads() - 1) / BlockThreads();
  const int first = from + Thread() * each, end = first + each < from + run ? first + each : from + run;
  uint64_t mine = 0;
  for (int id = first; id < end && id < set.vocab; ++id) mine += mass(id);
  uint64_t above = before + SumBefore(mine, &all);
  if (above < target && target <= above + mine) {  // one thread
    int id = first;
    for (;; ++id) {
      above += mass(id);
      if (above >= target) break;
    }
    state.Set(kDrawCutId, id);
  }
  Barrier();  // the one thread's finding before all read it
  return state.Get(kDrawCutId);
}

// A penalty on one id's value, in the host's order of operations.
UM_DEVICE double Penalised(const DrawStep& step, const DrawEntry& entry, double length, double x) {
  const double turned = x < 0 ? Exact::Mul(x, step.value) : x / step.value;
  switch (step.kind) {
    case DrawKind::kRepetition:
      return entry.all > 0 ? turned : x;
    case DrawKind::kFrequency:
      return entry.generated > 0 ? Exact::Add(x, -Exact::Mul(step.value, entry.generated)) : x;
    case DrawKind::kPresence:
      return entry.generated > 0 ? Exact::Add(x, -step.value) : x;
    case DrawKind::kFrequencyShare:
      return entry.all > 0 ? Exact::Add(x, -(Exact::Mul(step.value, entry.all) / length)) : x;
    case DrawKind::kFrequencySigned:
      return entry.all > 0 && entry.id != 0 ? Exact::Add(x, -Exact::Mul(entry.all, turned)) : x;
    case DrawKind::kTemperature:
      return x / step.value;
    default:
      return x;
  }
}

// The row's entries with the newest id counted, their values computed and their logits made to name them. How many.
UM_DEVICE int Enter(const DrawArgs& a, const DrawRow& row, float* logits) {
  Shared<int> state(kDrawStateAt);
  DrawEntry* entries = a.entries + row.first;
  const int newest = row.pending < 0 ? -1 : Max(a.previous[row.pending], 0);
  int count = row.entries;
  if (newest >= 0) {
    if (Thread() == 0) state.Set(kDrawFound, 0);
    Barrier();  // the zero before it is set
    for (int e = Thread(); e < count; e += BlockThreads()) {
      if (entries[e].id != newest) continue;
      ++entries[e].all;
      ++entries[e].generated;
      state.Set(kDrawFound, 1);  // one thread: an id has one entry
    }
    Barrier();  // what was found before it is read
    if (state.Get(kDrawFound) == 0) {
      if (count % BlockThreads() == Thread()) entries[count] = {0, newest, 1, 1, 0};
      ++count;
    }
  }
  for (int e = Thread(); e < count; e += BlockThreads()) {  // each its own
    DrawEntry entry = entries[e];
    entry.logit = logits[entry.id];
    entry.x = Exact::Add(static_cast<double>(entry.logit), entry.x);
    for (int s = 0; s < row.steps; ++s) entry.x = Penalised(row.step[s], entry, row.length, entry.x);
    entries[e] = entry;
    logits[entry.id] = BitCopy<float>(0x7fc00000u | static_cast<uint32_t>(e));
  }
  Barrier();  // all entries before any value is read
  return count;
}

UM_DEVICE void Draw(const DrawArgs& a) {
  WaitForPrevious();
  LetNextStart();
  const DrawRow& row = a.rows[BlockX()];
  if (row.mode == DrawRow::kLeave || a.ids[BlockX()] < 0) return;
  float* logits = a.logits + static_cast<int64_t>(BlockX()) * a.vocab;
  const int count = Enter(a, row, logits);
  DrawSet set{logits, a.entries + row.first, a.vocab};
  set.scale = DrawScale(a.vocab);
  for (int s = 0; s < row.steps; ++s) {
    if (row.step[s].kind == DrawKind::kTemperature) set.temperature = row.step[s].value;
  }
  int id = Best(set, &set.largest);
  if (row.mode == DrawRow::kWeighted && id >= 0) {
    for (int s = 0; s < row.steps; ++s) {
      const DrawStep& step = row.step[s];
      if (step.kind == DrawKind::kMinP) set.least = step.value;
      if (step.kind == DrawKind::kTopK) CutTop(set, false, step.value);
      if (step.kind == DrawKind::kTopP) CutTop(set, true, step.value);
    }
    id = DrawById(set, row.uniform);
  }
  Barrier();  // reads of the logits before they are as they were
  for (int e = Thread(); e < count; e += BlockThreads())
    logits[a.entries[row.first + e].id] = a.entries[row.first + e].logit;
  if (Thread() == 0) a.ids[BlockX()] = id;
}

}  // namespace unimax::UM_PORT_NAMESPACE
