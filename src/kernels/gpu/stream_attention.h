// SPDX-License-Identifier: Apache-2.0
// stream_attention: decode attention of the stream kernel, one query token a row, over pages of 32 positions.
// Who calls: stream, for stages kAttention and kMerge.
// Work:      a unit is a run of pages of one row and KV head. The pages come through the ring, the query from
//            stream_ask, ahead of them; two groups take the halves of every fourth page of the run. The run that holds
//            the newest position counts its key and value from where the query lies. No group waits for another: each
//            goes on to the next run when it has left its sums, which another group puts together (stream_merge).
//            kMerge puts the runs of a head together.
// Bound:     memory. bytes = 2 * tokens * kv_heads * head_dim * element.
// Launch:    that of stream.
// Reference: RefAttentionRow, RefRope. Sum order: halves of pages of a group in turn, groups in turn, runs in turn;
//            where a row is cut follows from its own length, never from the rows beside it.
// Source:    Flash-Decoding (split over tokens); Milakov & Gimelshein 2018 (online softmax).
#pragma once

#include "kernels/gpu/stream_linear.h"
#include "kernels/gpu/stream_runs.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr float kStreamLog2E = 1.4426950408889634f;

// kG: bound on the query heads of a KV head.
template <class T, int kDims, int kG>
struct StreamAttention {
  static constexpr int kLanesOfRow = kDims / 8,
                       kTogether = kLanes / kLanesOfRow;  // positions that a group reads at once
  // Positions of a page that a group takes: the fewer, the sooner is a page done with, and its slot free.
  static constexpr int kPart = kTogether > 4 ? 4 * kTogether : 16, kParts = kStreamPageTokens / kPart;
  static constexpr int kTiles = kPart / kTileCols, kPitch = kDims + 4;  // of a state
  static constexpr int kScratch = kG * kPart + 8;  // f32 a group: weights, then factors of the sums so far
  static_assert(kStreamGroups * kScratch * 4 <= StreamLayout::kScratchBytes);
  const StreamArgs& a;
  const StreamStage& s;
  StreamThread& t;
  StreamLayout at{a.m};
  Shared<T> fresh{at.x()};  // of kAsked runs, [kG + 2][kDims]: q of all heads, then the newest k and v
  Shared<float> states{at.x() + StreamLayout::kAsked * StreamLayout::AskedBytes(kDims, kG)};  // [group][kG][kPitch]
  Shared<float> scratch{StreamLayout::kSums};
  const int heads = a.heads / a.kv_heads;

  // Set even where a run sets them again: what has no value on some way takes a register all the way from the start.
  FragA<T> q[kDims / kTileK] = {};
  float acc[kG][8] = {};                           // of 8 dims, over this lane's positions
  float top[kRowsHeld] = {}, sum[kRowsHeld] = {};  // of the heads whose scores this lane holds

  UM_DEVICE StreamAttention(const StreamArgs& args, const StreamStage& stage, StreamThread& thread)
      : a(args), s(stage), t(thread) {}

  // Products to scores, times log2 e.
  template <int kCount>
  UM_DEVICE void ToScores(float (&v)[kCount]) const {
    const float scale = a.attention_scale * kStreamLog2E;
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] *= scale;
  }
  // Nothing seen yet, or the newest token.
  UM_DEVICE void BeginSums(bool newest) {
    const int here = t.run % StreamLayout::kAsked * (kG + 2) * kDims;
#pragma unroll
    for (int k = 0; k < kDims / kTileK; ++k) q[k] = LoadRowsShared<T>(fresh, here + k * kTileK, kDims, heads);
    FragC c = {};
    if (newest) {
#pragma unroll
      for (int k = 0; k < kDims / kTileK; ++k)
        Mma<T>(c, q[k], LoadXShared<T>(fresh, here + kG * kDims + k * kTileK, 0));
    }
    ToScores(c.v);
#pragma unroll
    for (int i = 0; i < kFragC; ++i) {
      top[RowHeld(i)] = newest ? c.v[i] : -Infinity();
      sum[RowHeld(i)] = newest ? 1.0f : 0.0f;
    }
    const bool mine = newest && Lane() < kLanesOfRow;
    const Vec16 v = mine ? fresh.Get16(here + (kG + 1) * kDims + Lane() * 8) : Vec16{};
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const float value = mine ? ToFloat(v.template As<T>(e)) : 0.0f;
#pragma unroll
      for (int g = 0; g < kG; ++g) acc[g][e] = value;
    }
  }

  // Scores of a part's positions: their weights and the factors of older sums go to the group's scratch. Rows beyond
  // the heads are zeros; they are computed and forgotten.
  UM_DEVICE void Weigh(const Shared<T>& slots, int keys, int first, int start, int end) {
    float score[kTiles * kFragC], high[kRowsHeld], fresh_sum[kRowsHeld], factor[kRowsHeld];
    {
      FragC c[kTiles] = {};
#pragma unroll
      for (int k = 0; k < kDims / kTileK; ++k) {
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
          Mma<T>(c[n], q[k], LoadXShared<T>(slots, keys + n * kTileCols * kDims + k * kTileK, kDims));
        }
      }
#pragma unroll
      for (int i = 0; i < kTiles * kFragC; ++i) score[i] = c[i / kFragC].v[i % kFragC];
    }
    ToScores(score);
    const auto position = [&](int i) { return i / kFragC * kTileCols + CCol(i % kFragC); };
#pragma unroll
    for (int r = 0; r < kRowsHeld; ++r) high[r] = top[r];
#pragma unroll
    for (int i = 0; i < kTiles * kFragC; ++i) {
      if (first + position(i) < start || first + position(i) >= end) score[i] = -Infinity();
      high[RowHeld(i % kFragC)] = Max(high[RowHeld(i % kFragC)], score[i]);
    }
#pragma unroll
    for (int r = 0; r < kRowsHeld; ++r) {
#pragma unroll
      for (int mask = 1; mask < kRowPeers; mask *= 2) high[r] = Max(high[r], ShuffleXor(high[r], mask));
      factor[r] = top[r] == -Infinity() ? 0.0f : Exp2(top[r] - high[r]);
      top[r] = high[r];
      fresh_sum[r] = 0;
    }
    const int base = Group() * kScratch;
    GroupSync();  // orders the reads of the part before, of all lanes, before its weights are overwritten
#pragma unroll
    for (int i = 0; i < kTiles * kFragC; ++i) {
      const float weight = score[i] == -Infinity() ? 0.0f : Exp2(score[i] - top[RowHeld(i % kFragC)]);
      fresh_sum[RowHeld(i % kFragC)] += weight;
      if (CRow(i % kFragC) < kG) scratch.Set(base + CRow(i % kFragC) * kPart + position(i), weight);
    }
#pragma unroll
    for (int r = 0; r < kRowsHeld; ++r) {
#pragma unroll
      for (int mask = 1; mask < kRowPeers; mask *= 2) fresh_sum[r] += ShuffleXor(fresh_sum[r], mask);
      sum[r] = sum[r] * factor[r] + fresh_sum[r];
    }
#pragma unroll
    for (int i = 0; i < kFragC; ++i) {
      if (CCol(i) == 0 && CRow(i) < kG) scratch.Set(base + kG * kPart + CRow(i), factor[RowHeld(i)]);
    }
    GroupSync();  // orders weights and factors before all lanes read them
  }
  // acc = acc * factor + weights * values. A lane takes 8 dims of kEach neighbouring positions; one that is not seen is
  // left out, since 0 * NaN is NaN.
  UM_DEVICE void Add(const Shared<T>& slots, int values, int first, int start, int end) {
    constexpr int kEach = kPart / kTogether, kAhead = 4;
    const int base = Group() * kScratch, dims = Lane() % kLanesOfRow * 8, mine = Lane() / kLanesOfRow * kEach;
#pragma unroll
    for (int g = 0; g < kG; ++g) {
      const float factor = scratch.Get(base + kG * kPart + g);
#pragma unroll
      for (int e = 0; e < 8; ++e) acc[g][e] *= factor;
    }
#pragma unroll 1
    for (int j = 0; j < kEach; j += kAhead) {
      Vec16 v[kAhead], weight[kG];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) v[i] = slots.Get16(values + (mine + j + i) * kDims + dims);
#pragma unroll
      for (int g = 0; g < kG; ++g) weight[g] = scratch.Get16(base + g * kPart + mine + j);
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int position = first + mine + j + i;
        if (position < start || position >= end) v[i] = {};
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          const float value = ToFloat(v[i].template As<T>(e));
#pragma unroll
          for (int g = 0; g < kG; ++g) acc[g][e] += weight[g].template As<float>(i) * value;
        }
      }
    }
  }
  // Leaves the group's sums; where it has counted nothing, only that.
  UM_DEVICE void Leave(bool counted) {
    constexpr int kOfGroup = kG * kPitch, kOfRun = kStreamGroups * kOfGroup;
    const int ahead = StreamLayout::StatesOf(kDims, kG, a.x_bytes);
    const int to = (t.run & (ahead - 1)) * kOfRun + Group() * kOfGroup;
    const int bytes = at.x() + StreamLayout::kAsked * StreamLayout::AskedBytes(kDims, kG) + to * 4;
    AwaitDone(t.run - ahead);
    if (Lane() == 0) HandOver(bytes, kOfGroup * 4);
    GroupSync();  // orders what one lane has told the race check before all lanes write
#pragma unroll
    for (int g = 0; g < kG; ++g) {
      if (!counted) break;
#pragma unroll
      for (int e = 0; e < 8; ++e) {
#pragma unroll
        for (int mask = kLanesOfRow; mask < kLanes; mask *= 2) acc[g][e] += ShuffleXor(acc[g][e], mask);
      }
      if (Lane() >= kLanesOfRow || g >= heads) continue;
#pragma unroll
      for (int e = 0; e < 8; e += 4) {
        Vec16 v;
#pragma unroll
        for (int i = 0; i < 4; ++i) v.template Put<float>(i, acc[g][e + i]);
        states.Set16(to + g * kPitch + Lane() * 8 + e, v);
      }
    }
#pragma unroll
    for (int i = 0; i < kFragC; ++i) {
      if (CCol(i) != 0 || CRow(i) >= heads) continue;
      states.Set(to + CRow(i) * kPitch + kDims, counted ? top[RowHeld(i)] : -Infinity());
      states.Set(to + CRow(i) * kPitch + kDims + 1, counted ? sum[RowHeld(i)] : 0.0f);
    }
    GroupSync();  // orders the sums of all lanes before they are told
    if (Lane() == 0) HandOver(bytes, kOfGroup * 4);
  }

  // The group takes page `mine` of the run, and every kPairs-th behind it.
  static constexpr int kPairs = kStreamGroups / kParts;
  UM_DEVICE void Pages(const StreamRun& r, int mine) {
    const Shared<T> slots(at.ring(a.x_bytes));
    const int pages = r.pages, part = Group() % kParts * kPart, start = r.start, end = r.position;
    int first = r.first * kStreamPageTokens + part;
#pragma unroll 1
    for (int page = 0; page < pages; ++page, first += kStreamPageTokens) {
      RingWaitFull(StreamLayout::kBarriers, t.slot, t.turn);
      if (page % kPairs == mine) {
        const int keys = t.slot * (kStreamSlotBytes / 2) + part * kDims;
        Weigh(slots, keys, first, start, end);
        Add(slots, keys + kStreamPageTokens * kDims, first, start, end);
      }
      GroupSync();  // orders the reads of all lanes before the slot is filled again
      if (Lane() == 0) RingRelease(StreamLayout::kBarriers, t.slot);
      t.NextSlot(a);
    }
  }

  // All runs of this stage.
  UM_DEVICE void Run() {
    if (Thread() == 0) TellOpened();
#pragma unroll 1
    for (bool begun = false;; begun = true, ++t.run) {
      const StreamRun& r = AwaitAsked(t.run);
      if (!begun && Thread() == 0) TellReady(a, t.stage);
      if (r.kind == StreamRunKind::kEnd) break;
      // The pair of groups that would take the last of four pages begins with the newest token.
      const int mine = (Group() / kParts + kPairs - r.lead % kPairs) % kPairs;
      const bool newest = r.kind == StreamRunKind::kNewest && mine == kPairs - 1 && Group() % kParts == 0;
      const bool counted = newest || mine < r.pages;
      if (counted) BeginSums(newest);
      Pages(r, mine);
      Leave(counted);
      if (Lane() == 0) TellLeft(t.run);
    }
    GroupSync();  // orders the reads of the note before it is given back
    if (Lane() == 0) TellLeft(t.run);
    AwaitDone(t.run++);  // all sums are read: x may be written
  }
};

}  // namespace unimax::UM_PORT_NAMESPACE
