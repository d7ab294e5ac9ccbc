// SPDX-License-Identifier: Apache-2.0
// stream_attention: decode attention of the stream kernel, one query token a row, over pages of 32 positions.
// Who calls: stream, for stages kAttention and kMerge.
// Work:      a unit is a run of pages of one row and KV head. The pages come through the ring, far ahead of the query;
//            group g takes the pages g, g + 8, ... of the run. The run that holds the newest position turns its key,
//            stores key and value, and counts them straight from the words. kMerge puts the runs of a head together.
// Bound:     memory. bytes = 2 * tokens * kv_heads * head_dim * element.
// Launch:    that of stream.
// Reference: RefAttentionRow, RefRope. Sum order: pages of a group in turn, groups in turn, runs in turn; where a row
//            is cut follows from its own length, never from the rows beside it.
// Source:    Flash-Decoding (split over tokens); Milakov & Gimelshein 2018 (online softmax).
#pragma once

#include "kernels/gpu/stream_linear.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr float kStreamLog2E = 1.4426950408889634f;

// A run of pages. `base` counts the runs of the rows before: with head and run it numbers the run of the step.
struct StreamRun {
  int row = 0, head = 0, run = 0, runs = 1, base = 0;
  int position = 0;            // of the newest token
  int first = 0, pages = 0;    // pages of the sequence that hold older positions of this run
  int start = 0;               // first position that the query sees
  const int* table = nullptr;  // the row's pages
};

// The runs of row `row`: fills all but head, run, first and pages. Returns its pages with older positions.
UM_DEVICE int RunsOfRow(const StreamArgs& a, const StreamStage& s, int row, StreamRun& r) {
  r.row = row;
  r.position = a.positions[row];
  r.table = a.page_table + static_cast<int64_t>(a.sequences[row]) * a.max_pages;
  const int hidden = s.window > 0 && r.position + 1 > s.window ? r.position + 1 - s.window : 0;
  r.start = hidden;
  r.first = hidden / kStreamPageTokens;
  const int pages = (r.position + kStreamPageTokens - 1) / kStreamPageTokens - r.first;
  r.runs = pages < a.splits ? (pages < 1 ? 1 : pages) : a.splits;
  return pages > 0 ? pages : 0;
}
// Run number `unit` of the step; false where there are not so many.
UM_DEVICE bool FindRun(const StreamArgs& a, const StreamStage& s, int unit, StreamRun& r) {
  r.base = 0;
  for (int row = 0; row < a.m; ++row) {
    const int pages = RunsOfRow(a, s, row, r), runs = a.kv_heads * r.runs;
    if (unit < r.base + runs) {
      r.head = (unit - r.base) / r.runs;
      r.run = (unit - r.base) % r.runs;
      const int begin = pages * r.run / r.runs;
      r.pages = pages * (r.run + 1) / r.runs - begin;
      r.first += begin;
      return true;
    }
    r.base += runs;
  }
  return false;
}
UM_DEVICE int64_t PageAt(const StreamArgs& a, const StreamRun& r, int page) {
  return (static_cast<int64_t>(r.table[r.first + page]) * a.kv_heads + r.head) * (kStreamPageTokens * a.head_dim);
}

// kG: bound on the query heads of a KV head.
template <class T, int kDims, int kG>
struct StreamAttention {
  static constexpr int kLanesOfRow = kDims / 8,
                       kTogether = kLanes / kLanesOfRow;  // positions that a group reads at once
  static constexpr int kTiles = kStreamPageTokens / kTileCols, kPitch = kDims + 2;
  static constexpr int kScratch = kG * kStreamPageTokens + 8;  // f32 a group: weights, then factors of the sums so far
  const StreamArgs& a;
  const StreamStage& s;
  StreamThread& t;
  StreamLayout at{kTileCols};
  Shared<T> fresh{at.x()};                              // [kG + 2][kDims]: q of all heads, then the newest k and v
  Shared<float> states{at.x() + (kG + 2) * kDims * 2};  // [group][kG][kPitch]
  Shared<float> scratch{StreamLayout::kSums};
  const int heads = a.heads / a.kv_heads;

  FragA<T> q[kDims / kTileK];
  float acc[kG][8];                      // of 8 dims, over this lane's positions
  float top[kRowsHeld], sum[kRowsHeld];  // of the heads whose scores this lane holds

  UM_DEVICE StreamAttention(const StreamArgs& args, const StreamStage& stage, StreamThread& thread)
      : a(args), s(stage), t(thread) {}

  // Element e of head `head` in row r's words of q, k or v, turned by its position where it is to be.
  UM_DEVICE float Turned(const StreamRun& r, int column, int e, bool turns) {
    const unsigned epoch = t.EpochOf(a, s.x_from);
    const int half = s.rotary / 2;
    turns = turns && e < s.rotary;
    const int mate = !turns ? e : s.interleaved ? e ^ 1 : e < half ? e + half : e - half;
    const char* p = WordPointer(s.x, NarrowAt(column + e, r.row, a.m));
    const char* other = WordPointer(s.x, NarrowAt(column + mate, r.row, a.m));
    const Word first = LoadWord(p), second = LoadWord(other);
    const int pair = s.interleaved ? e / 2 : e < half ? e : e - half;
    const float* angle = s.cos_sin + static_cast<int64_t>(a.rope_rows[r.row]) * s.rotary + 2 * pair;
    const float c = turns ? angle[0] : 1.0f, sine = turns ? angle[1] : 0.0f;
    const float u = Half(Await(a, t, p, first, epoch), e), w = Half(Await(a, t, other, second, epoch), mate);
    if (!turns) return u;
    return e < mate ? u * c - w * sine : u * c + w * sine;
  }
  UM_DEVICE static float Half(uint32_t word, int e) {
    return ToFloat(BitCopy<T>(static_cast<uint16_t>(e % 2 ? word >> 16 : word & 0xffffu)));
  }
  // Brings q, and in the last run the newest k and v, to shared memory, and k and v to the cache as well.
  UM_DEVICE void Fetch(const StreamRun& r, bool newest) {
    const int count = (heads + (newest ? 2 : 0)) * kDims;
    for (int i = Thread(); i < count; i += kStreamThreads) {
      const int which = i / kDims, e = i % kDims;
      const bool is_q = which < heads, is_k = which == heads;
      const int column = is_q ? (r.head * heads + which) * kDims : (is_k ? s.k_at : s.v_at) + r.head * kDims;
      const T v = FromFloat<T>(Turned(r, column, e, is_q || is_k));
      fresh.Set((is_q ? which : is_k ? kG : kG + 1) * kDims + e, v);
      if (is_q) continue;
      const int64_t page = r.table[r.position / kStreamPageTokens];
      const int64_t place = (page * a.kv_heads + r.head) * kStreamPageTokens + r.position % kStreamPageTokens;
      static_cast<T*>(is_k ? s.k_cache : s.v_cache)[place * kDims + e] = v;
    }
  }

  // Products to scores, times log2 e.
  template <int kCount>
  UM_DEVICE void ToScores(float (&v)[kCount]) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] *= a.attention_scale;
    if (s.cap > 0.0f) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) v[i] = StreamCap(s.cap, v[i]);
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] *= kStreamLog2E;
  }
  // Nothing seen yet; group 0 begins with the newest token where the run holds it.
  UM_DEVICE void Begin(bool newest) {
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

  // Scores of a page's positions: their weights and the factors of older sums go to the group's scratch. Rows beyond
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
    GroupSync();  // orders the reads of the page before, of all lanes, before its weights are overwritten
#pragma unroll
    for (int i = 0; i < kTiles * kFragC; ++i) {
      const float weight = score[i] == -Infinity() ? 0.0f : Exp2(score[i] - top[RowHeld(i % kFragC)]);
      fresh_sum[RowHeld(i % kFragC)] += weight;
      if (CRow(i % kFragC) < kG) scratch.Set(base + CRow(i % kFragC) * kStreamPageTokens + position(i), weight);
    }
#pragma unroll
    for (int r = 0; r < kRowsHeld; ++r) {
#pragma unroll
      for (int mask = 1; mask < kRowPeers; mask *= 2) fresh_sum[r] += ShuffleXor(fresh_sum[r], mask);
      sum[r] = sum[r] * factor[r] + fresh_sum[r];
    }
#pragma unroll
    for (int i = 0; i < kFragC; ++i) {
      if (CCol(i) == 0 && CRow(i) < kG) scratch.Set(base + kG * kStreamPageTokens + CRow(i), factor[RowHeld(i)]);
    }
    GroupSync();  // orders weights and factors before all lanes read them
  }
  // acc = acc * factor + weights * values. A lane takes 8 dims of kEach neighbouring positions; one that is not seen is
  // left out, since 0 * NaN is NaN.
  UM_DEVICE void Add(const Shared<T>& slots, int values, int first, int start, int end) {
    constexpr int kEach = kStreamPageTokens / kTogether, kAhead = 4;
    const int base = Group() * kScratch, dims = Lane() % kLanesOfRow * 8, mine = Lane() / kLanesOfRow * kEach;
#pragma unroll
    for (int g = 0; g < kG; ++g) {
      const float factor = scratch.Get(base + kG * kStreamPageTokens + g);
#pragma unroll
      for (int e = 0; e < 8; ++e) acc[g][e] *= factor;
    }
#pragma unroll
    for (int j = 0; j < kEach; j += kAhead) {
      Vec16 v[kAhead], weight[kG];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) v[i] = slots.Get16(values + (mine + j + i) * kDims + dims);
#pragma unroll
      for (int g = 0; g < kG; ++g) weight[g] = scratch.Get16(base + g * kStreamPageTokens + mine + j);
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
    for (int page = 0; page < r.pages; ++page) {
      RingWaitFull(StreamLayout::kBarriers, t.slot, t.turn);
      if (page % kStreamGroups == Group()) {
        const int keys = t.slot * (kStreamSlotBytes / 2), first = (r.first + page) * kStreamPageTokens;
        Weigh(slots, keys, first, r.start, r.position);
        Add(slots, keys + kStreamPageTokens * kDims, first, r.start, r.position);
      }
      GroupSync();  // orders the reads of all lanes before the slot is filled again
      if (Lane() == 0) RingRelease(StreamLayout::kBarriers, t.slot);
      t.NextSlot(a);
    }
  }

  // The state of all groups for one run, in shared memory.
  UM_DEVICE void Take(const StreamRun& r) {
    const bool newest = r.run == r.runs - 1;
    Fetch(r, newest);
    SomeBarrier(kStreamThreads);  // orders q, k and v, and the last reads of the states before, before what follows
    Begin(newest && Group() == 0);
    Pages(r);
    Leave();
    SomeBarrier(kStreamThreads);  // orders the states before they are read, and the reads of q before the next
  }
};

}  // namespace unimax::UM_PORT_NAMESPACE
