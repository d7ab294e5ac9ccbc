// SPDX-License-Identifier: Apache-2.0
// stream_feed: the thread of the stream kernel that fills the ring: weights, keys and values, in the order in which
//            they will be used.
// Who calls: stream.
// Work:      a chunk a slot, as soon as the slot is free. Not all slots are on their way at once: what blocks tell
//            each other comes over the same links and queues behind whatever was asked for before, so a reader that
//            waits for x would wait for the whole ring. 96 KB of a multiprocessor on their way are enough for the read
//            rate, and 32 or 48 KB while its readers wait; once the ring is full, what follows comes to L2, over other
//            links.
// Bound:     memory. The thread itself has 900 clocks a chunk.
// Launch:    that of stream; one thread.
// Reference: none of its own.
// Source:    this project's design (docs/architecture.md), measured in docs/performance.md.
#pragma once

#include "kernels/gpu/stream_runs.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kStreamAskers = 2;  // of the groups beside the readers; one feeds, one tells the sums of runs

struct StreamFeed {
  // In chunks: on their way at most; brought to L2 while a slot is awaited; left of a unit when the next one is
  // claimed, which hides the way to the count and back.
  static constexpr int kFlying = 6, kNear = 4, kClaimAhead = 3;
  const StreamArgs& a;
  StreamThread& t;
  const int ring = StreamLayout{a.m}.ring(a.x_bytes);
  const uint32_t base = RingBase();
  const int flying_early = a.m == 1 ? 3 : 2;  // while their readers wait for x
  const int flying = a.slots < kFlying ? a.slots : kFlying;

  UM_DEVICE StreamFeed(const StreamArgs& args, StreamThread& thread) : a(args), t(thread) {}

  // The readers of what is fed still wait for x.
  UM_DEVICE bool Early() const { return RingNoted(StreamLayout::kReady, 0, base) < t.stage; }
  // Until few enough chunks are on their way: one of those before has landed.
  UM_DEVICE void AwaitCalm() const {
    int slot = t.slot - (Early() ? flying_early : flying), turn = t.turn;
    if (slot < 0) {
      slot += a.slots;
      turn ^= 1;
    }
    RingWaitFull(StreamLayout::kBarriers, slot, turn, base);
  }
  UM_DEVICE void Copy(int to, const char* from, int bytes) const {
    RingCopy(StreamLayout::kBarriers, t.slot, to, from, bytes, base);
  }

  // Weights of a unit that are still to come: of a strip `left` bytes from `w` on, `near` of them behind the next chunk
  // in L2, and where there are two strips the other's `apart` bytes behind.
  struct Rest {
    const char* w;
    int left, near, apart;
  };
  // Has what follows brought to L2 while the next chunk waits for its slot.
  UM_DEVICE void FetchNear(Rest& r, int chunk) const {
    r.near = r.near > 0 ? r.near - chunk : 0;
#pragma unroll 1
    while (r.near < kNear * chunk && r.near < r.left - chunk && Early() &&
           !RingIsFree(StreamLayout::kBarriers, t.slot, t.turn, base)) {
      r.near += chunk;
      const int bytes = r.left - r.near < chunk ? r.left - r.near : chunk;
      RingFetchNear(r.w + r.near, bytes);
      if (r.apart > 0) RingFetchNear(r.w + r.near + r.apart, bytes);
    }
  }
  // Chunks of k-tiles of one or two strips, strip behind strip in a slot.
  UM_DEVICE void Linear(const StreamStage& s) {
    const int strips = (s.n + kTileRows - 1) / kTileRows, strip_bytes = s.k / kTileK * kTileBytes;
    const int chunk = kStreamSlotBytes / s.strips;
    const unsigned claimed = a.steps * static_cast<unsigned>(s.units) - static_cast<unsigned>(GridX());
    int unit = (BlockX() - s.first + GridX()) % GridX(), next = -1;
#pragma unroll 1
    for (; unit >= 0 && unit < s.units; unit = next) {
      const bool two = s.strips == 2 && unit * 2 + 1 < strips;  // of an odd number the last stands alone
      Rest r = {static_cast<const char*>(s.w) + static_cast<int64_t>(unit) * s.strips * strip_bytes, strip_bytes, 0,
                two ? strip_bytes : 0};
      bool claim = s.units > GridX();
#pragma unroll 1
      for (; r.left > 0; r.left -= chunk, r.w += chunk) {
        const int bytes = r.left < chunk ? r.left : chunk, to = ring + t.slot * kStreamSlotBytes;
        if (claim && r.left <= kClaimAhead * chunk) {
          next = static_cast<int>(Claim(a.claims + t.stage) - claimed);
          claim = false;
        }
        AwaitCalm();
        FetchNear(r, chunk);
        RingWaitFree(StreamLayout::kBarriers, t.slot, t.turn, base);
        if (r.left <= chunk) {
          next = next < s.units ? next : -1;
          RingNote(StreamLayout::kNotes, t.slot, next, base);
        }
        RingExpect(StreamLayout::kBarriers, t.slot, two ? 2 * bytes : bytes, base);
        Copy(to, r.w, bytes);
        if (two) Copy(to + chunk, r.w + strip_bytes, bytes);
        t.NextSlot(a);
      }
    }
  }
  // Pages of a run: keys, then values. Those of older positions were written by older launches.
  UM_DEVICE void Attention(const StreamStage& s, int opened) {
    const int bytes = kStreamPageTokens * a.head_dim * 2;
    StreamRow row;
    StreamRun r;
    r.stage = t.stage;
    r.opened = opened;
    int unit = (BlockX() - s.first + GridX()) % GridX();
    const int runs = RunsOf(a, s);
#pragma unroll 1
    while (FindRun(a, s, unit, row, r)) {
      NoteRun(r, t.run++);
      unit = runs > GridX() ? GridX() + static_cast<int>(Claim(a.claims + t.stage)) : runs;
#pragma unroll 1
      for (int page = 0; page < r.pages; ++page) {
        const int64_t from = PageAt(a, r, r.first + page) * 2;
        const int to = ring + t.slot * kStreamSlotBytes;
        AwaitCalm();
        RingWaitFree(StreamLayout::kBarriers, t.slot, t.turn, base);
        RingExpect(StreamLayout::kBarriers, t.slot, 2 * bytes, base);
        Copy(to, static_cast<const char*>(s.k_cache) + from, bytes);
        Copy(to + bytes, static_cast<const char*>(s.v_cache) + from, bytes);
        t.NextSlot(a);
      }
    }
    r.kind = StreamRunKind::kEnd;
    NoteRun(r, t.run++);
  }
  UM_DEVICE void Run() {
    StreamStage s = a.stages[0];
    int opened = 0;
#pragma unroll 1
    for (int i = 0; i < a.count; ++i) {
      const StreamStage next = a.stages[i + 1 < a.count ? i + 1 : i];  // on its way while this one is fed
      t.stage = i;
      if (s.kind == StreamKind::kLinear) Linear(s);
      if (s.kind == StreamKind::kAttention) Attention(s, opened++);
      Mark(a, i, StreamMark::kFed);
      s = next;
    }
    StreamRun quit = {};
    quit.kind = StreamRunKind::kQuit;
    for (int i = 0; i < kStreamAskers; ++i) NoteRun(quit, t.run++);
  }
};

}  // namespace unimax::UM_PORT_NAMESPACE
