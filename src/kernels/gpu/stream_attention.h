// SPDX-License-Identifier: Apache-2.0
// stream_attention: decode attention of the stream kernel, one query token a row, over pages of 32 positions.
// Who calls: stream, for stages kAttention and kMerge.
// Work:      a unit is a run of pages of one row and KV head. The pages come through the ring, far ahead of the query;
//            two groups take the halves of every fourth page of the run. The run that holds the newest position turns
//            its key, stores key and value, and counts them straight from the words. kMerge puts the runs of a head
//            together.
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
  static constexpr int kTiles = kPart / kTileCols, kPitch = kDims + 2;
  static constexpr int kScratch = kG * kPart + 8;  // f32 a group: weights, then factors of the sums so far
  static_assert(kStreamGroups * kScratch * 4 <= StreamLayout::kScratchBytes);
  const StreamArgs& a;
  const StreamStage& s;
  StreamThread& t;
  StreamLayout at{a.m};
  Shared<T> fresh{at.x()};                              // [kG + 2][kDims]: q of all heads, then the newest k and v
  Shared<float> states{at.x() + (kG + 2) * kDims * 2};  // [group][kG][kPitch]
  Shared<float> scratch{StreamLayout::kSums};
  const int heads = a.heads / a.kv_heads;

  // Set even where a run sets them again: what has no value on some way takes a register all the way from the start.
  FragA<T> q[kDims / kTileK] = {};
  float acc[kG][8] = {};                           // of 8 dims, over this lane's positions
  float top[kRowsHeld] = {}, sum[kRowsHeld] = {};  // of the heads whose scores this lane holds

  UM_DEVICE StreamAttention(const StreamArgs& args, const StreamStage& stage, StreamThread& thread)
      : a(args), s(stage), t(thread) {}

  // What a thread brings of a run: element Thread() + j * kStreamThreads of q of all heads, then the newest k, then v.
  // An element and its mate are turned by the row's position; an element that nothing turns is its own mate.
  struct Turn {
    int mate = 0;
    float c = 1, sine = 0;
    Word first = {}, second = {};
  };
  static constexpr int kElements = ((kG + 2) * kDims + kStreamThreads - 1) / kStreamThreads;
  Turn turn[kElements] = {};

  UM_DEVICE static bool Newest(const StreamRun& r) { return r.run == r.runs - 1; }
  UM_DEVICE int Elements(const StreamRun& r) const { return (heads + (Newest(r) ? 2 : 0)) * kDims; }
  UM_DEVICE void Look(const StreamRun& r, int j) {
    const int i = Thread() + j * kStreamThreads, which = i / kDims;
    const int column =
        which < heads ? (r.head * heads + which) * kDims : (which == heads ? s.k_at : s.v_at) + r.head * kDims;
    turn[j].first = LoadWord(WordPointer(s.x, NarrowAt(column + i % kDims, r.row, a.m)));
    turn[j].second = LoadWord(WordPointer(s.x, NarrowAt(column + turn[j].mate, r.row, a.m)));
  }
  // Asks for the elements of a run, which Begin awaits.
  UM_DEVICE void Ask(const StreamRun& r) {
    const float* angles = s.cos_sin + static_cast<int64_t>(a.rope_rows[r.row]) * s.rotary;
    const int half = s.rotary / 2;
#pragma unroll
    for (int j = 0; j < kElements; ++j) {
      const int i = Thread() + j * kStreamThreads, e = i % kDims;
      if (i >= Elements(r)) continue;
      const bool turns = i / kDims <= heads && e < s.rotary;
      const int pair = s.interleaved ? e / 2 : e < half ? e : e - half;
      turn[j].mate = !turns ? e : s.interleaved ? e ^ 1 : e < half ? e + half : e - half;
      turn[j].c = turns ? angles[2 * pair] : 1.0f;
      turn[j].sine = turns ? angles[2 * pair + 1] : 0.0f;
      Look(r, j);
    }
  }
  UM_DEVICE void AwaitElements(const StreamRun& r) {
    const unsigned epoch = t.EpochOf(a, s.x_from);
    StreamWait wait;
    while (true) {  // looks at all of them together
      unsigned odd = epoch;
#pragma unroll
      for (int j = 0; j < kElements; ++j) {
        if (Thread() + j * kStreamThreads >= Elements(r)) continue;
        if (turn[j].first.epoch != epoch) odd = turn[j].first.epoch;
        if (turn[j].second.epoch != epoch) odd = turn[j].second.epoch;
      }
      if (odd == epoch || !wait.Again(a, t.stage, odd, epoch)) return;
#pragma unroll
      for (int j = 0; j < kElements; ++j) {
        if (Thread() + j * kStreamThreads < Elements(r)) Look(r, j);
      }
    }
  }
  UM_DEVICE static float Half(uint32_t word, int e) {
    return ToFloat(BitCopy<T>(static_cast<uint16_t>(e % 2 ? word >> 16 : word & 0xffffu)));
  }
  // Brings q, and in the last run the newest k and v, to shared memory, and k and v to the cache as well.
  UM_DEVICE void Fetch(const StreamRun& r) {
    AwaitElements(r);
    const int64_t page = Newest(r) ? r.table[r.position / kStreamPageTokens] : 0;
#pragma unroll
    for (int j = 0; j < kElements; ++j) {
      const int i = Thread() + j * kStreamThreads, which = i / kDims, e = i % kDims;
      if (i >= Elements(r)) continue;
      const float u = Half(turn[j].first.payload, e), w = Half(turn[j].second.payload, turn[j].mate);
      const float turned = u * turn[j].c + (e < turn[j].mate ? -w : w) * turn[j].sine;
      const T v = FromFloat<T>(turn[j].mate == e ? u : turned);
      fresh.Set((which < heads ? which : which == heads ? kG : kG + 1) * kDims + e, v);
      if (which < heads) continue;
      const int64_t place = (page * a.kv_heads + r.head) * kStreamPageTokens + r.position % kStreamPageTokens;
      static_cast<T*>(which == heads ? s.k_cache : s.v_cache)[place * kDims + e] = v;
    }
  }

  // Products to scores, times log2 e.
  template <int kCount>
  UM_DEVICE void ToScores(float (&v)[kCount]) const {
    const float scale = a.attention_scale * kStreamLog2E;
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] *= scale;
  }
  // Nothing seen yet; group 0 begins with the newest token where the run holds it.
  UM_DEVICE void BeginSums(bool newest) {
#pragma unroll
    for (int k = 0; k < kDims / kTileK; ++k) q[k] = LoadRowsShared<T>(fresh, k * kTileK, kDims, heads);
    FragC c = {};
    if (newest) {
#pragma unroll
      for (int k = 0; k < kDims / kTileK; ++k) Mma<T>(c, q[k], LoadXShared<T>(fresh, kG * kDims + k * kTileK, 0));
    }
    ToScores(c.v);
#pragma unroll
    for (int i = 0; i < kFragC; ++i) {
      top[RowHeld(i)] = newest ? c.v[i] : -Infinity();
      sum[RowHeld(i)] = newest ? 1.0f : 0.0f;
    }
    const bool mine = newest && Lane() < kLanesOfRow;
    const Vec16 v = mine ? fresh.Get16((kG + 1) * kDims + Lane() * 8) : Vec16{};
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
  // Leaves the group's state for the block.
  UM_DEVICE void Leave() {
#pragma unroll
    for (int g = 0; g < kG; ++g) {
#pragma unroll
      for (int e = 0; e < 8; ++e) {
#pragma unroll
        for (int mask = kLanesOfRow; mask < kLanes; mask *= 2) acc[g][e] += ShuffleXor(acc[g][e], mask);
        if (Lane() < kLanesOfRow && g < heads) states.Set((Group() * kG + g) * kPitch + Lane() * 8 + e, acc[g][e]);
      }
    }
#pragma unroll
    for (int i = 0; i < kFragC; ++i) {
      if (CCol(i) != 0 || CRow(i) >= heads) continue;
      states.Set((Group() * kG + CRow(i)) * kPitch + kDims, top[RowHeld(i)]);
      states.Set((Group() * kG + CRow(i)) * kPitch + kDims + 1, sum[RowHeld(i)]);
    }
  }

  UM_DEVICE void Pages(const StreamRun& r) {
    const Shared<T> slots(at.ring(a.x_bytes));
#pragma unroll 1
    for (int page = 0; page < r.pages; ++page) {
      RingWaitFull(StreamLayout::kBarriers, t.slot, t.turn);
      if (page % (kStreamGroups / kParts) == Group() / kParts) {
        const int part = Group() % kParts * kPart;
        const int keys = t.slot * (kStreamSlotBytes / 2) + part * kDims;
        const int first = (r.first + page) * kStreamPageTokens + part;
        Weigh(slots, keys, first, r.start, r.position);
        Add(slots, keys + kStreamPageTokens * kDims, first, r.start, r.position);
      }
      GroupSync();  // orders the reads of all lanes before the slot is filled again
      if (Lane() == 0) RingRelease(StreamLayout::kBarriers, t.slot);
      t.NextSlot(a);
    }
  }

  // A run that was asked for; afterwards the next one may be.
  UM_DEVICE void Begin(const StreamRun& r) {
    Fetch(r);
    SomeBarrier(kStreamThreads);  // orders q, k and v, and the last reads of the states before, before what follows
    if (Thread() == 0) Mark(a, t.stage, StreamMark::kReady);
    BeginSums(Newest(r) && Group() == 0);
  }
  // The state of all groups for the run, in shared memory.
  UM_DEVICE void End(const StreamRun& r) {
    Pages(r);
    Leave();
    SomeBarrier(kStreamThreads);  // orders the states before they are read, and the reads of q before the next
  }
};

}  // namespace unimax::UM_PORT_NAMESPACE
