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
#include "kernels/gpu/stream_feed.h"
#include "kernels/gpu/stream_linear.h"
#include "kernels/gpu/stream_merge.h"

namespace unimax::UM_PORT_NAMESPACE {

// The choice of a row from the largest logits of all blocks, by one group.
UM_DEVICE void Choose(const StreamArgs& a, const StreamStage& s, StreamThread& t) {
  constexpr int kAhead = 5;  // words of a lane: a Hopper has 132 blocks
  if (Group() != 0) return;
  const unsigned epoch = t.EpochOf(a, s.x_from);
#pragma unroll 1
  for (int row = BlockX(); row < a.m; row += GridX()) {
    float best = -Infinity();
    int index = a.vocab;
#pragma unroll 1
    for (int first = Lane(); first - Lane() < GridX(); first += kAhead * kLanes) {
      Words w[kAhead] = {};  // no word has epoch 0
      AwaitAll(a, t.stage, epoch, first, GridX(), w,
               [&](int block) { return LoadWords(WordPointer(a.best, (block * a.m + row) * 2)); });
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (first + i * kLanes >= GridX()) continue;
        TakeBetter(best, index, BitCopy<float>(w[i].payload0), static_cast<int>(w[i].payload1));
      }
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
      case StreamKind::kNorm:
        StreamLayerNorm<T>(a, s, t);
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
    RingNote(StreamLayout::kReady, 0, -1);
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
      if (OneLane()) StreamFeed(a, t).Run();
    } else if (which <= kStreamAskers) {
      StreamAsk<T, kDims, kG>(a, t).Run(which - 1, kStreamAskers);
    } else {
      FinishRuns<T, kDims, kG>(a, t);
    }
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
