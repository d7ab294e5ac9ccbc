// SPDX-License-Identifier: Apache-2.0
// stream_ask: brings the query of each run of attention to shared memory, ahead of the readers, and for the run that
//            holds the newest position its key and value as well, which also go to the cache.
// Who calls: stream; two groups take the runs in turn.
// Work:      a lane looks at its pieces of 8 elements until they hold; then heads are turned by the row's position.
// Bound:     latency: one way through L2 a run.
// Launch:    that of stream.
// Reference: RefRope. Sum order: none.
// Source:    Su et al. 2021 (RoPE).
#pragma once

#include "kernels/gpu/stream_runs.h"

namespace unimax::UM_PORT_NAMESPACE {

template <class T, int kDims, int kG>
struct StreamAsk {
  static constexpr int kOfHead = kDims / 8;  // pieces
  static constexpr int kPieces = ((kG + 2) * kOfHead + kLanes - 1) / kLanes;
  static constexpr int kAngles = (kDims / 2 + kLanes - 1) / kLanes;
  const StreamArgs& a;
  StreamThread& t;
  StreamLayout at{a.m};
  const int heads = a.heads / a.kv_heads;

  UM_DEVICE StreamAsk(const StreamArgs& args, StreamThread& thread) : a(args), t(thread) {}

  // Rows of the run's memory: q of all heads, k at kG, v at kG + 1.
  UM_DEVICE int RowOf(int piece) const {
    return piece / kOfHead < heads ? piece / kOfHead : piece / kOfHead - heads + kG;
  }
  UM_DEVICE const char* Pointer(const StreamStage& s, const StreamRun& r, int piece) const {
    const int row = RowOf(piece),
              from = row < kG ? (r.head * heads + row) * kDims : (row == kG ? s.k_at : s.v_at) + r.head * kDims;
    return WordPointer(s.x, NarrowAt(from + piece % kOfHead * 8, r.row, a.m));
  }
  UM_DEVICE void Await(const StreamStage& s, const StreamRun& r, int pieces, EightWords (&e)[kPieces]) const {
    const unsigned epoch = t.EpochOf(a, s.x_from);
    unsigned odd;
    StreamWait wait;
    do {  // looks at all of them together
      odd = epoch;
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        const int piece = Lane() + i * kLanes;
        if (piece < pieces && e[i].Odd(epoch) != epoch) e[i] = LoadEight(Pointer(s, r, piece));
      }
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        if (Lane() + i * kLanes < pieces && e[i].Odd(epoch) != epoch) odd = e[i].Odd(epoch);
      }
    } while (odd != epoch && wait.Again(a, r.stage, odd, epoch));
  }
  // Turns all rows but v; a lane has the pairs Lane(), Lane() + kLanes, ... of each.
  UM_DEVICE void Turn(Shared<T>& fresh, const StreamStage& s, bool newest, const float (&c)[kAngles],
                      const float (&sine)[kAngles]) const {
    const int half = s.rotary / 2;
#pragma unroll
    for (int i = 0; i < kAngles; ++i) {
      const int pair = Lane() + i * kLanes;
      const int low = s.interleaved ? 2 * pair : pair, high = s.interleaved ? 2 * pair + 1 : pair + half;
      float u[kG + 1] = {}, w[kG + 1] = {};
      const auto turns = [&](int row) { return pair < half && (row < kG ? row < heads : newest); };
#pragma unroll
      for (int row = 0; row <= kG; ++row) {
        if (turns(row)) u[row] = ToFloat(fresh.Get(row * kDims + low)), w[row] = ToFloat(fresh.Get(row * kDims + high));
      }
#pragma unroll
      for (int row = 0; row <= kG; ++row) {
        if (!turns(row)) continue;
        fresh.Set(row * kDims + low, FromFloat<T>(u[row] * c[i] + -w[row] * sine[i]));
        fresh.Set(row * kDims + high, FromFloat<T>(w[row] * c[i] + u[row] * sine[i]));
      }
    }
  }
  UM_DEVICE void Store(const Shared<T>& fresh, const StreamStage& s, int64_t to) const {
    for (int i = Lane(); i < 2 * kOfHead; i += kLanes) {
      const int e = i % kOfHead * 8;
      Store16(static_cast<T*>(i < kOfHead ? s.k_cache : s.v_cache) + to + e,
              fresh.Get16((kG + i / kOfHead) * kDims + e));
    }
  }
  UM_DEVICE void Bring(const StreamRun& r, const StreamStage& s) {
    const bool newest = r.kind == StreamRunKind::kNewest;
    const int pieces = (heads + (newest ? 2 : 0)) * kOfHead, half = s.rotary / 2;
    const float* angles = s.cos_sin + static_cast<int64_t>(a.rows[r.row].rope_row) * s.rotary;
    const int64_t place = PageAt(a, r, r.position / kStreamPageTokens) + r.position % kStreamPageTokens * kDims;
    float c[kAngles] = {}, sine[kAngles] = {};
#pragma unroll
    for (int i = 0; i < kAngles; ++i) {
      const int pair = Lane() + i * kLanes;
      if (pair < half) {
        c[i] = angles[2 * pair];
        sine[i] = angles[2 * pair + 1];
      }
    }
    AwaitOpened(r);
    EightWords e[kPieces] = {};  // no word has epoch 0
    Await(s, r, pieces, e);
    constexpr int kBytes = StreamLayout::AskedBytes(kDims, kG);
    const int to = at.x() + t.run % StreamLayout::kAsked * kBytes;
    Shared<T> fresh(to);
    AwaitDone(t.run - StreamLayout::kAsked);
    if (Lane() == 0) HandOver(to, kBytes);
    GroupSync();  // orders what one lane has told the race check before all lanes write
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const int piece = Lane() + i * kLanes;
      if (piece < pieces) fresh.Set16(RowOf(piece) * kDims + piece % kOfHead * 8, e[i].Elements());
    }
    GroupSync();  // orders all elements before they are turned
    Turn(fresh, s, newest, c, sine);
    GroupSync();  // orders the turned elements before they are handed over, and stored
    if (newest) {
      Store(fresh, s, place);
      GroupSync();  // orders all lanes' reads before readers, who may write x there once they are done with the run
    }
    if (Lane() == 0) {
      HandOver(to, kBytes);
      TellAsked(t.run);
    }
  }
  // Of `askers` groups this one takes the runs first, first + askers, ...
  UM_DEVICE void Run(int first, int askers) {
    StreamStage s = a.stages[0];
    int stage = 0;
#pragma unroll 1
    for (t.run = first;; t.run += askers) {
      const StreamRun r = AwaitNoted(t.run);
      if (r.kind == StreamRunKind::kQuit) return;
      if (r.stage != stage) s = a.stages[stage = r.stage];
      if (r.kind != StreamRunKind::kEnd) {
        Bring(r, s);
        continue;
      }
      GroupSync();  // orders the reads of the note before it is given back
      if (Lane() == 0) TellAsked(t.run);
    }
  }
};

}  // namespace unimax::UM_PORT_NAMESPACE
