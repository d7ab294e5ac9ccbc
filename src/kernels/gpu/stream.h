// SPDX-License-Identifier: Apache-2.0
// stream: a whole decode step in one launch. Every block walks the same list of stages; one of its groups only feeds:
//            it copies weights, keys and values into a ring, in the order in which they will be used, as far ahead as
//            there is room, across the borders of stages, because none of them depends on what the step computes.
// Who calls: exec/stream, once a decode step.
// Work:      units of a stage are dealt over the blocks, those of a product beyond one a block claimed by whoever is
//            done first; what a block tells others it writes as words that carry an epoch, and readers look until they
//            hold: no flags, no barrier of the grid.
// Bound:     memory: every weight, and every cached key and value of the step's rows, once.
// Launch:    grid: one block a multiprocessor, all at once; threads (kStreamGroups + kStreamFeeders) *
//            kLanes; shared StreamLayout::ring(x_bytes) + slots * kStreamSlotBytes.
// Reference: the graph executor's rows, op by op. Sum order: that of each part; none depends on M.
// Source:    this project's design (docs/architecture.md); persistent decoding kernels: Hazy Research, "Look Ma, No
//            Bubbles" (2025).
#pragma once

#include "kernels/gpu/stream_ask.h"
#include "kernels/gpu/stream_attention.h"
#include "kernels/gpu/stream_linear.h"
#include "kernels/gpu/stream_merge.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kStreamAskers = 2;  // of the groups beside the readers; one feeds, one tells the sums of runs

// What the feeding thread does for a product: chunks of k-tiles of one or two strips, strip behind strip in a slot.
UM_DEVICE void FeedLinear(const StreamArgs& a, const StreamStage& s, StreamThread& t, int ring) {
  constexpr int kClaimAhead = 3;  // chunks before the end of a unit: they hide the way to the count and back
  const int tiles = s.k / kTileK, strips = (s.n + kTileRows - 1) / kTileRows;
  const int chunk = kStreamSlotBytes / kTileBytes / s.strips;
  const int claim = tiles - kClaimAhead * chunk > 0 ? (tiles - kClaimAhead * chunk) / chunk * chunk : 0;
  const int64_t strip_bytes = static_cast<int64_t>(tiles) * kTileBytes;
  const unsigned claimed = a.steps * static_cast<unsigned>(s.units) - static_cast<unsigned>(GridX());
  int unit = (BlockX() - s.first + GridX()) % GridX(), next = -1;
#pragma unroll 1
  for (; unit >= 0 && unit < s.units; unit = next) {
    const char* w = static_cast<const char*>(s.w) + unit * s.strips * strip_bytes;
    const int take = strips - unit * s.strips < s.strips ? 1 : s.strips;  // of an odd number the last stands alone
#pragma unroll 1
    for (int tile = 0; tile < tiles; tile += chunk) {
      const int bytes = (tiles - tile < chunk ? tiles - tile : chunk) * kTileBytes;
      const int to = ring + t.slot * kStreamSlotBytes;
      if (tile == claim && s.units > GridX()) next = static_cast<int>(Claim(a.claims + t.stage) - claimed);
      RingWaitFree(StreamLayout::kBarriers, t.slot, t.turn);
      if (tile + chunk >= tiles) {
        next = next < s.units ? next : -1;
        RingNote(StreamLayout::kNotes, t.slot, next);
      }
      RingExpect(StreamLayout::kBarriers, t.slot, bytes * take);
#pragma unroll 1
      for (int strip = 0; strip < take; ++strip) {
        RingCopy(StreamLayout::kBarriers, t.slot, to + strip * chunk * kTileBytes,
                 w + strip * strip_bytes + static_cast<int64_t>(tile) * kTileBytes, bytes);
      }
      t.NextSlot(a);
    }
  }
}
// Pages of a run: keys, then values. Those of older positions were written by older launches.
UM_DEVICE void FeedAttention(const StreamArgs& a, const StreamStage& s, StreamThread& t, int ring, int opened) {
  const int bytes = kStreamPageTokens * a.head_dim * 2;
  StreamRow row;
  StreamRun r;
  r.stage = t.stage;
  r.opened = opened;
  int unit = (BlockX() - s.first + GridX()) % GridX();
#pragma unroll 1
  while (FindRun(a, s, unit, row, r)) {
    NoteRun(r, t.run++);
    unit = GridX() + static_cast<int>(Claim(a.claims + t.stage));
#pragma unroll 1
    for (int page = 0; page < r.pages; ++page) {
      const int64_t from = PageAt(a, r, r.first + page) * 2;
      const int to = ring + t.slot * kStreamSlotBytes;
      RingWaitFree(StreamLayout::kBarriers, t.slot, t.turn);
      RingExpect(StreamLayout::kBarriers, t.slot, 2 * bytes);
      RingCopy(StreamLayout::kBarriers, t.slot, to, static_cast<const char*>(s.k_cache) + from, bytes);
      RingCopy(StreamLayout::kBarriers, t.slot, to + bytes, static_cast<const char*>(s.v_cache) + from, bytes);
      t.NextSlot(a);
    }
  }
  r.kind = StreamRunKind::kEnd;
  NoteRun(r, t.run++);
}
UM_DEVICE void Feed(const StreamArgs& a) {
  const int ring = StreamLayout{a.m}.ring(a.x_bytes);
  StreamThread t;
  StreamStage s = a.stages[0];
  int opened = 0;
#pragma unroll 1
  for (int i = 0; i < a.count; ++i) {
    const StreamStage next = a.stages[i + 1 < a.count ? i + 1 : i];  // on its way while this one is fed
    t.stage = i;
    if (s.kind == StreamKind::kLinear) FeedLinear(a, s, t, ring);
    if (s.kind == StreamKind::kAttention) FeedAttention(a, s, t, ring, opened++);
    Mark(a, i, StreamMark::kFed);
    s = next;
  }
  StreamRun quit = {};
  quit.kind = StreamRunKind::kQuit;
  for (int i = 0; i < kStreamAskers; ++i) NoteRun(quit, t.run++);
}

// The choice of a row from the largest logits of all blocks, by one group.
UM_DEVICE void Choose(const StreamArgs& a, const StreamStage& s, StreamThread& t) {
  if (Group() != 0) return;
  const unsigned epoch = t.EpochOf(a, s.x_from);
#pragma unroll 1
  for (int row = BlockX(); row < a.m; row += GridX()) {
    float best = -Infinity();
    int index = a.vocab;
#pragma unroll 1
    for (int block = Lane(); block < GridX(); block += kLanes) {
      const char* p = WordPointer(a.best, (block * a.m + row) * 2);
      const Words w = Await(a, t, p, LoadWords(p), epoch);
      TakeBetter(best, index, BitCopy<float>(w.payload0), static_cast<int>(w.payload1));
    }
#pragma unroll
    for (int mask = kLanes / 2; mask > 0; mask /= 2) {
      const float other = ShuffleXor(best, mask);
      const int other_index = ShuffleXor(index, mask);
      TakeBetter(best, index, other, other_index);
    }
    if (Lane() == 0) a.chosen[row] = index;
  }
  if (BlockX() != 0) return;
  // All blocks are done with attention: they have told their largest logits.
  for (int i = Lane(); i < a.count; i += kLanes) {
    if (a.stages[i].kind == StreamKind::kAttention) a.claims[i] = 0;
  }
}

template <class T, int kDims, int kG>
UM_DEVICE void Compute(const StreamArgs& a) {
  // The next stage is fetched while this one runs: its first use would wait for memory that weights keep busy.
  constexpr int kStageWords = sizeof(StreamStage) / 16;
  Shared<float> stages(StreamLayout::kStages);
  Vec16 next = {};
  const auto fetch = [&](int i) {
    if (Thread() < kStageWords && i < a.count)
      next = Load16Here(reinterpret_cast<const char*>(a.stages + i) + Thread() * 16);
  };
  StreamThread t;
  fetch(0);
  for (int i = 0; i < a.count; ++i) {
    const int slot = i % 2 * kStageWords * 4;
    if (Thread() < kStageWords) stages.Set16(slot + Thread() * 4, next);
    SomeBarrier(kStreamThreads);  // orders the last reads of shared memory in a stage before the writes of the next
    const StreamStage& s = SharedObject<StreamStage>(StreamLayout::kStages + slot * 4);
    fetch(i + 1);
    t.stage = i;
    if (Thread() == 0) Mark(a, i, StreamMark::kBegin);
    switch (s.kind) {
      case StreamKind::kEmbed:
        StreamLinear<T>(a, s, t).Embed();
        break;
      case StreamKind::kLinear:
        StreamLinear<T>(a, s, t).Run();
        break;
      case StreamKind::kAttention:
        StreamAttention<T, kDims, kG>(a, s, t).Run();
        break;
      case StreamKind::kMerge:
        StreamMerge<T, kDims, kG>(a, s, t).Run();
        break;
      case StreamKind::kChoose:
        Choose(a, s, t);
        break;
    }
    if (Thread() == 0) Mark(a, i, StreamMark::kEnd);
  }
}

template <class T, int kDims, int kG>
UM_DEVICE void Stream(const StreamArgs& a) {
  if (Thread() == 0) {
    RingInit(StreamLayout::kBarriers, a.slots, kStreamGroups);
    RingInit(StreamLayout::kRunBars, StreamLayout::kRunsAhead, 1);
    RingInit(StreamLayout::kAskBars, StreamLayout::kRunsAhead + 1, kStreamGroups);
  }
  Barrier();  // orders the ring's barriers before they are used
  if (Group() < kStreamGroups) {
    TakeRegisters<kStreamReaderRegisters>();
    Compute<T, kDims, kG>(a);
  } else {
    GiveRegisters<kStreamFeederRegisters>();
    StreamThread t;
    const int which = Group() - kStreamGroups;
    if (which == 0) {
      if (Lane() == 0) Feed(a);
    } else if (which <= kStreamAskers) {
      StreamAsk<T, kDims, kG>(a, t).Run(which - 1, kStreamAskers);
    } else {
      FinishRuns<T, kDims, kG>(a, t);
    }
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
