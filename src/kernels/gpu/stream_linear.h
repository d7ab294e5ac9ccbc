// SPDX-License-Identifier: Apache-2.0
// stream_linear: the products of the stream kernel: y[M, N] = x[M, K] * w[N, K]^T for M <= kTileCols.
// Who calls: stream, for stages kLinear; its ends also serve kEmbed.
// Work:      a block owns units of 16 or 32 weight rows and all of K. Their tiles come through the ring; group g takes
//            the k-tiles g, g + 8, ...; the groups' sums meet in shared memory, and the outputs leave as words. Where
//            x comes from is told in stream_x.
// Bound:     memory. bytes = N*K*2.
// Launch:    that of stream.
// Reference: RefLinear; the norm before it RefNorm. Sum order: k-tiles of a group in turn, then groups in turn.
// Source:    FlashDecoding++ (arXiv 2311.01282), section 4; norm behind the product: r = 1 / rms(x) is a factor of the
//            whole row, so the product takes x * weight and its result is scaled, and nobody waits for the sum. A mean
//            goes in the same way: w ((x - mean) * weight) = w (x * weight) - mean * (w weight).
#pragma once

#include "kernels/gpu/activation.h"
#include "kernels/gpu/rowwise.h"
#include "kernels/gpu/stream_x.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kUnitRows = 2 * kTileRows;  // threads of a column: one a row of a unit

UM_DEVICE_CALL float StreamActivate(Activation act, float v) {
  float values[1] = {v};
  Activate(act, values);
  return values[0];
}
UM_DEVICE_CALL float StreamCap(float cap, float v) {
  float values[1] = {v};
  Cap(cap, values);
  return values[0];
}

template <class T>
struct StreamLinear {
  const StreamArgs& a;
  const StreamStage& s;
  StreamThread& t;
  StreamLayout at{a.m};
  StreamX<T> x{a, s, t};
  Shared<float> scales{StreamLayout::kScales};
  float best = -Infinity();  // of the logits of this block's units, in the threads of a column
  int best_index;

  UM_DEVICE StreamLinear(const StreamArgs& args, const StreamStage& stage, StreamThread& thread)
      : a(args), s(stage), t(thread), best_index(args.vocab) {}

  UM_DEVICE int FirstUnit() const { return (BlockX() - s.first + GridX()) % GridX(); }
  UM_DEVICE int Outputs() const { return s.flags & kStreamGated ? s.n / 2 : s.n; }

  // ---- x ----
  // What a row of x is normed by, by the group of its number. Without `await` it runs for nothing.
  UM_DEVICE void Scale(StreamSums& sums, bool await) {
    if (!sums.wanted) return;
    const StreamSums::Norm norm = sums.Find(t, await);
    if (Lane() != 0) return;
    scales.Set(Group(), norm.scale);
    scales.Set(kStreamMostRows + Group(), norm.mean * norm.scale);
  }

  // ---- the product ----
  // The group takes every kStreamGroups-th k-tile: a chunk of two strips brings it one, of one strip two. Returns what
  // the feeder noted with the last chunk. A slot is given back before its tiles are multiplied.
  template <bool kStaged, int kStrips>
  UM_DEVICE int Multiply(FragC (&sum)[2], int tiles, bool keep) {
    constexpr int kEach = 2 / kStrips, kAhead = kStaged ? kEach : kStreamXAhead;
    const Shared<T> slots(at.ring(a.x_bytes));
    const int end = (tiles + kStreamGroups - 1) / kStreamGroups * kStreamGroups;  // the same for all groups
    int note = -1;
    EightWords words[kAhead] = {};
    if constexpr (!kStaged) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) x.Fetch(words[i], i * kStreamGroups + Group(), tiles);
    }
#pragma unroll 1
    for (int begin = 0; begin < end; begin += kAhead * kStreamGroups) {
#pragma unroll
      for (int c = 0; c < kAhead; c += kEach) {
        const int first = begin + c * kStreamGroups + Group();
        if (c > 0 && first >= end) break;
        RingWaitFull(StreamLayout::kBarriers, t.slot, t.turn);
        FragA<T> w[2];
        FragB<T> b[kEach];
#pragma unroll
        for (int i = 0; i < 2; ++i) {  // a tile that is not there: the first one of the chunk, for nothing
          const int tile = first + i % kEach * kStreamGroups, half = tile < tiles || i < kEach ? i : 0;
          const int local = half * kStreamGroups + (tile < tiles ? Group() : 0);
          w[i] = LoadTileShared<T>(slots, t.slot * (kStreamSlotBytes / 2) + local * (kTileBytes / 2));
        }
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
          const int tile = first + i * kStreamGroups;
          b[i] = kStaged ? x.Staged(tile, tiles) : x.Take(words, c + i, tile, tiles, keep);
        }
        note = RingNoted(StreamLayout::kNotes, t.slot);
        GroupSync();  // orders the reads of all lanes before the slot is filled again
        if (Lane() == 0) RingRelease(StreamLayout::kBarriers, t.slot);
        t.NextSlot(a);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          if (first + i % kEach * kStreamGroups < tiles) Mma<T>(sum[i / kEach], w[i], b[i % kEach]);
        }
      }
    }
    return note;
  }

  // ---- the ends ----
  // What a thread's output wants beside the sum, asked for before the product.
  struct End {
    int n = 0, row = 0;
    bool valid = false;
    Word residual = {};
    float bias = 0, up_bias = 0, norm = 0, slope = 0;
  };
  UM_DEVICE End EndOf(int unit, int i) const {
    const int r = i % kUnitRows, each = s.flags & kStreamGated ? kTileRows : s.strips * kTileRows;
    End e;
    e.row = i / kUnitRows;
    e.n = unit * each + r;
    e.valid = e.row < a.m && r < each && e.n < Outputs();
    if (!e.valid) return e;
    if (s.residual != nullptr) e.residual = LoadWord(WordPointer(s.residual, WideAt(e.n, e.row, a.m)));
    if (s.bias != nullptr) e.bias = s.bias[e.n];
    if (s.bias != nullptr && (s.flags & kStreamGated)) e.up_bias = s.bias[e.n + Outputs()];
    if (s.norm != nullptr) e.norm = s.norm[e.n];
    if (s.slope != nullptr) e.slope = s.slope[e.n];
    return e;
  }
  UM_DEVICE float Finish(const End& e, float sum, float up) {
    const float scale = s.sum_units > 0 && e.valid ? scales.Get(e.row) : 1.0f;
    float v = sum * scale + e.bias;
    if (s.slope != nullptr && e.valid) v -= scales.Get(kStreamMostRows + e.row) * e.slope;
    if (s.act != Activation::kNone) v = StreamActivate(s.act, v);
    if (s.flags & kStreamGated) v *= up * scale + e.up_bias;
    v *= s.scale;
    if (s.residual != nullptr && e.valid) {
      v +=
          AwaitFloat(a, t, WordPointer(s.residual, WideAt(e.n, e.row, a.m)), e.residual, t.EpochOf(a, s.residual_from));
    }
    return s.cap > 0.0f ? StreamCap(s.cap, v) : v;
  }
  // The sum over the outputs of a unit, of one row of the step.
  UM_DEVICE static float OfUnit(float v) {
#pragma unroll
    for (int mask = kUnitRows / 2; mask > 0; mask /= 2) v += ShuffleXor(v, mask);
    return v;
  }
  // Writes one output, or none where it is not valid; all lanes take part.
  UM_DEVICE void Emit(const End& e, int unit, float value) {
    const unsigned epoch = t.EpochOf(a, t.stage);
    if (s.flags & kStreamLogits) {
      if (e.valid) {
        static_cast<float*>(s.y)[static_cast<int64_t>(e.row) * Outputs() + e.n] = value;
        TakeBetter(best, best_index, value, IsFinite(value) ? e.n : -1);
      }
      return;
    }
    const T narrow = FromFloat<T>(s.norm != nullptr ? value * (e.norm + s.norm_offset) : value);
    const int bits = BitCopy<uint16_t>(narrow), other = ShuffleXor(bits, 1);
    if (e.valid && s.y != nullptr && e.n % 2 == 0) {
      StoreWord(WordPointer(s.y, NarrowAt(e.n, e.row, a.m)), static_cast<uint32_t>(other << 16 | bits), epoch);
    }
    if (s.y_sums != nullptr) {
      float mean = 0;
      if (s.flags & kStreamMoments) {
        mean = OfUnit(e.valid ? value : 0.0f) * (s.strips == 2 ? 1.0f / kUnitRows : 1.0f / kTileRows);
      }
      const float apart = value - mean, squares = OfUnit(e.valid ? apart * apart : 0.0f);
      if (e.valid && Lane() % kUnitRows == 0) {
        StoreWords(WordPointer(s.y_sums, SumAt(unit, e.row, s.units)), BitCopy<uint32_t>(mean),
                   BitCopy<uint32_t>(squares), epoch);
      }
    }
    if (s.y_wide != nullptr && e.valid) {  // last: its reader comes late
      StoreWord(WordPointer(s.y_wide, WideAt(e.n, e.row, a.m)), BitCopy<uint32_t>(value), epoch);
    }
  }

  // Returns the next unit of this block, or -1.
  UM_DEVICE int Unit(int unit, int buffer, StreamSums& sums, StreamXFrom from) {
    const int tiles = s.k / kTileK;
    const bool staged = from == StreamXFrom::kShared, keep = from == StreamXFrom::kMemoryOnce;
    End e = EndOf(unit, Thread());
    FragC sum[2] = {};
    int next;
    if (s.strips == 2) {
      next = staged ? Multiply<true, 2>(sum, tiles, false) : Multiply<false, 2>(sum, tiles, keep);
    } else {
      next = staged ? Multiply<true, 1>(sum, tiles, false) : Multiply<false, 1>(sum, tiles, keep);
    }
    if (keep) Scale(sums, true);
    Shared<float> cells(StreamLayout::kSums + buffer * at.sum_bytes());
    const int strip_cells = a.m * StreamLayout::kPitch;
#pragma unroll
    for (int strip = 0; strip < 2; ++strip) {
#pragma unroll
      for (int i = 0; i < kFragC; ++i) {
        if (CCol(i) >= a.m) continue;
        cells.Set((Group() * 2 + strip) * strip_cells + CCol(i) * StreamLayout::kPitch + CRow(i), sum[strip].v[i]);
      }
    }
    SomeBarrier(kStreamThreads);  // orders the sums of all groups before they are read
    const int r = Thread() % kUnitRows;
    const int column = e.row * StreamLayout::kPitch + r % kTileRows;
    const bool gated = s.flags & kStreamGated;
    float total = 0, up = 0;
    if (e.valid) {
#pragma unroll
      for (int g = 0; g < kStreamGroups; ++g) {
        total += cells.Get((g * 2 + (gated ? 0 : r / kTileRows)) * strip_cells + column);
        if (gated) up += cells.Get((g * 2 + 1) * strip_cells + column);
      }
    }
    Emit(e, unit, Finish(e, total, up));
    return next;
  }

  UM_DEVICE void Run() {
    if (FirstUnit() < s.units) {
      StreamXFrom from = x.From();
      const bool once = from == StreamXFrom::kMemoryOnce;
      StreamSums sums(a, s);
      // The scales are computed once for nothing, or their instructions would be fetched when x is there at last.
#pragma unroll 1
      for (int pass = 0; pass < 2; ++pass) {
        if (pass > 0) x.Stage(sums);
        Scale(sums, pass > 0 && !once);
      }
      SomeBarrier(kStreamThreads);  // orders x and its scales before they are read
      if (Thread() == 0) TellReady(a, t.stage);
      int buffer = 0;
#pragma unroll 1
      for (int unit = FirstUnit(); unit >= 0; buffer ^= 1) {
        unit = Unit(unit, buffer, sums, from);
        if (once) from = StreamXFrom::kShared;
      }
    }
    if (s.flags & kStreamLogits) TellBest();
  }

  // Embedding: each unit is 32 columns of all rows, without a product.
  UM_DEVICE void Embed() {
    const int tiles = s.n / kTileK;
#pragma unroll 1
    for (int unit = FirstUnit(); unit < s.units; unit += GridX()) {
      const End e = EndOf(unit, Thread());
      float value = 0;
      if (e.valid) {
        const int given = a.rows[e.row].id, chosen = given < 0 ? a.previous[-1 - given] : given;
        const int id = chosen < 0 ? 0 : chosen;  // not finite: the row is thrown away later
        const T* tile = static_cast<const T*>(s.w) +
                        (static_cast<int64_t>(id / kTileRows) * tiles + e.n / kTileK) * (kTileRows * kTileK);
        value = ToFloat(tile[PackedIndex(id % kTileRows, e.n % kTileK)]) * s.scale;
        if (s.places != nullptr) {
          value += s.places[static_cast<int64_t>(a.rows[e.row].position + s.first_place) * s.n + e.n];
        }
      }
      Emit(e, unit, value);
    }
  }

  UM_DEVICE void TellBest() {
#pragma unroll
    for (int mask = kUnitRows / 2; mask > 0; mask /= 2) {
      const float other = ShuffleXor(best, mask);
      const int other_index = ShuffleXor(best_index, mask);
      TakeBetter(best, best_index, other, other_index);
    }
    const int row = Thread() / kUnitRows;
    if (row >= a.m || Thread() % kUnitRows != 0) return;
    StoreWords(WordPointer(a.best, (BlockX() * a.m + row) * 2), BitCopy<uint32_t>(best),
               static_cast<uint32_t>(best_index), t.EpochOf(a, t.stage));
  }
};

}  // namespace unimax::UM_PORT_NAMESPACE
