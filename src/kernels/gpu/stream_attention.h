// SPDX-License-Identifier: Apache-2.0
// stream_attention: decode attention of the stream kernel, one query token a row, over pages of 32 positions.
// Who calls: stream, for stages kAttention and kMerge.
// Work:      a unit is a run of pages of one row and KV head. The pages come through the ring, the query from
//            stream_ask, ahead of them; a group takes every eighth page of the run. The run that holds the newest
//            position counts its key and value from where the query lies. No group waits for another: each goes on to
//            the next run when it has left its sums, which another group puts together (stream_merge).
//            kMerge puts the runs of a head together.
// Bound:     memory. bytes = 2 * tokens * kv_heads * head_dim * element.
// Launch:    that of stream.
// Reference: RefAttentionRow, RefRope. Sum order: pages of a group in turn, groups in turn, runs in turn;
//            where a row is cut follows from its own length, never from the rows beside it.
// Source:    Flash-Decoding (split over tokens); Milakov & Gimelshein 2018 (online softmax).
#pragma once

#include "kernels/gpu/head_tile.h"
#include "kernels/gpu/stream_linear.h"
#include "kernels/gpu/stream_runs.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr float kStreamLog2E = 1.4426950408889634f;

// kG: bound on the query heads of a KV head.
template <class T, int kDims, int kG>
struct StreamAttention : HeadTile<T, kDims> {
  using Tile = HeadTile<T, kDims>;
  using Tile::c, Tile::g, Tile::kQueries, Tile::out, Tile::q, Tile::sum, Tile::top;
  static constexpr int kPitch = kDims + 4;  // of a state
  const StreamArgs& a;
  const StreamStage& s;
  StreamThread& t;
  StreamLayout at{a.m};
  Shared<T> fresh{at.x()};  // of kAsked runs, [kG + 2][kDims]: q of all heads, then the newest k and v
  Shared<float> states{at.x() + StreamLayout::kAsked * StreamLayout::AskedBytes(kDims, kG)};  // [group][kG][kPitch]
  Shared<T> slots{at.ring(a.x_bytes)};
  const int heads = a.heads / a.kv_heads;
  const float scale = a.attention_scale * kStreamLog2E;

  UM_DEVICE StreamAttention(const StreamArgs& args, const StreamStage& stage, StreamThread& thread)
      : a(args), s(stage), t(thread) {}

  // Nothing seen yet, or the newest token.
  UM_DEVICE void BeginSums(bool newest) {
    const int here = t.run % StreamLayout::kAsked * (kG + 2) * kDims, key = here + kG * kDims, value = key + kDims;
#pragma unroll
    for (int k = 0; k < kQueries; ++k) q[k] = g < heads ? fresh.Get16(here + g * kDims + k * kTileK + c * 8) : Vec16{};
    Tile::Clear();
    if (!newest) return;
    const FragC score = Tile::Score(fresh, key, 0);  // the one position in all rows
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      top[h] = score.v[h] * scale;
      sum[h] = g == 0 ? 1.0f : 0.0f;
    }
#pragma unroll
    for (int j = 0; j < Tile::kOut; ++j) {
#pragma unroll
      for (int i = 0; i < kFragC; ++i) out[j].v[i] = ToFloat(fresh.Get(value + Tile::Element(i / 2) + j));
    }
  }

  // Zeros in place of values that the query does not see: 0 * NaN is NaN.
  UM_DEVICE void Blank(int values, int first, int start, int end) {
    constexpr int kOfRow = kDims / 8;
    for (int i = Lane(); i < kStreamPageTokens * kOfRow; i += kLanes) {
      const int position = first + i / kOfRow;
      if (position < start || position >= end) slots.Set16(values + i * 8, Vec16{});
    }
    FenceAsync();
    GroupSync();  // orders the zeros before all lanes read them
  }
  // Takes in a page, whose first position is `first`.
  UM_DEVICE void Take(int keys, int first, int start, int end) {
    const int values = keys + kStreamPageTokens * kDims;
    const bool edge = first < start || first + kStreamPageTokens > end;
    if (edge) Blank(values, first, start, end);
    Tile::template Take<false>(slots, keys, values, [&](FragC(&score)[2]) {
#pragma unroll
      for (int i = 0; i < 2 * kFragC; ++i) {
        const int position = first + g + i / 2 * 8;
        float& v = score[i / kFragC].v[i % kFragC];
        v = edge && (position < start || position >= end) ? -Infinity() : v * scale;
      }
    });
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
    Tile::AddUp();
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (2 * c + h >= heads) continue;
      const int of_head = to + (2 * c + h) * kPitch;
      if (counted) {
        Tile::Leave(states, of_head, h, top[h], sum[h]);
      } else if (g == 0) {
        states.Set(of_head + kDims, -Infinity());
        states.Set(of_head + kDims + 1, 0);
      }
    }
    GroupSync();  // orders the sums of all lanes before they are told
    if (Lane() == 0) HandOver(bytes, kOfGroup * 4);
  }

  // The group takes page `mine` of the run, and every kStreamGroups-th behind it.
  UM_DEVICE void Pages(const StreamRun& r, int mine) {
    const int pages = r.pages, start = r.start, end = r.position;
    int first = r.first * kStreamPageTokens;
#pragma unroll 1
    for (int page = 0; page < pages; ++page, first += kStreamPageTokens) {
      RingWaitFull(StreamLayout::kBarriers, t.slot, t.turn);
      if (page % kStreamGroups == mine) Take(t.slot * (kStreamSlotBytes / 2), first, start, end);
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
      // The group that would take the last of eight pages begins with the newest token.
      const int mine = (Group() + kStreamGroups - r.lead % kStreamGroups) % kStreamGroups;
      const bool newest = r.kind == StreamRunKind::kNewest && mine == kStreamGroups - 1;
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
