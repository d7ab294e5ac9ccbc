// SPDX-License-Identifier: Apache-2.0
// stream_linear: the products of the stream kernel: y[M, N] = x[M, K] * w[N, K]^T for M <= kTileCols.
// Who calls: stream, for stages kLinear; its ends also serve kEmbed.
// Work:      a block owns units of 16 or 32 weight rows and all of K. Their tiles come through the ring; group g takes
//            the k-tiles g, g + 8, ...; the groups' sums meet in shared memory, and the outputs leave as words. x is
//            copied to shared memory where it fits, else read from L2.
// Bound:     memory. bytes = N*K*2; x is read from L2 once a stage (staged) or once a unit.
// Launch:    that of stream.
// Reference: RefLinear; the norm before it RefNorm. Sum order: k-tiles of a group in turn, then groups in turn.
// Source:    FlashDecoding++ (arXiv 2311.01282), section 4; norm behind the product: r = 1 / rms(x) is a factor of the
//            whole row, so the product takes x * weight and its result is scaled, and nobody waits for the sum.
#pragma once

#include "kernels/gpu/activation.h"
#include "kernels/gpu/rowwise.h"
#include "kernels/gpu/stream_norm.h"

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
  StreamLayout at{kTileCols};
  Shared<T> x{at.x()};
  Shared<float> scales{StreamLayout::kScales};
  float best = -Infinity();  // of the logits of this block's units, in the threads of a column
  int best_index;

  UM_DEVICE StreamLinear(const StreamArgs& args, const StreamStage& stage, StreamThread& thread)
      : a(args), s(stage), t(thread), best_index(args.vocab) {}

  UM_DEVICE int FirstUnit() const { return (BlockX() - s.first + GridX()) % GridX(); }
  UM_DEVICE int Outputs() const { return s.flags & kStreamGated ? s.n / 2 : s.n; }

  // ---- x ----
  // 1 / rms of a row of x, by the group of its number, from the sums of its units in an order that M does not change.
  // The first of them are asked for before x is awaited.
  static constexpr int kSumsAhead = 4;
  UM_DEVICE const char* SumPointer(int unit) const { return WordPointer(s.x_sums, SumAt(unit, Group(), s.sum_units)); }
  UM_DEVICE void FetchSums(Word (&w)[kSumsAhead], int first) const {
#pragma unroll
    for (int i = 0; i < kSumsAhead; ++i) {
      if (first + i * kLanes < s.sum_units) w[i] = LoadWord(SumPointer(first + i * kLanes));
    }
  }
  UM_DEVICE void Scale(Word (&w)[kSumsAhead]) {
    float sum = 0;
    for (int first = Lane(); first < s.sum_units; first += kSumsAhead * kLanes) {
      if (first != Lane()) FetchSums(w, first);
#pragma unroll
      for (int i = 0; i < kSumsAhead; ++i) {
        const int unit = first + i * kLanes;
        if (unit < s.sum_units) sum += AwaitFloat(a, t, SumPointer(unit), w[i], t.EpochOf(a, s.x_from));
      }
    }
    sum = GroupSum(sum);
    if (Lane() == 0) scales.Set(Group(), Rsqrt(sum / static_cast<float>(s.k) + s.eps));
  }

  // ---- the product ----
  // x that does not fit into shared memory is on its way from L2 for so many k-tiles of the group.
  static constexpr int kDirectAhead = 4;
  UM_DEVICE const char* XPointer(int tile) const {
    return WordPointer(s.x, (tile * a.m + XColumn()) * 16 + XStart() / 2);
  }
  UM_DEVICE void FetchX(EightWords& words, int tile, int tiles) const {
    if (tile < tiles && XColumn() < a.m) words = LoadEight(XPointer(tile));
  }
  template <bool kStaged>
  UM_DEVICE FragB<T> TakeX(EightWords& words, int tile, int tiles) {
    if constexpr (kStaged) {  // columns that nobody wants repeat the last one
      const int column = XColumn() < a.m ? XColumn() : a.m - 1;
      return XOperand<T>(x.Get16((tile * a.m + column) * kTileK + XStart()));
    } else {
      Vec16 v = {};
      if (XColumn() < a.m) {
        const unsigned epoch = t.EpochOf(a, s.x_from);
        StreamWait wait;
        while (words.Odd(epoch) != epoch && wait.Again(a, t.stage, words.Odd(epoch), epoch)) {
          words = LoadEight(XPointer(tile));
        }
        v = words.Elements();
      }
      FetchX(words, tile + kDirectAhead * kStreamGroups, tiles);
      return XOperand<T>(v);
    }
  }
  // One k-tile of the ring for one strip or two. `at_tile`: its first element there.
  template <bool kStaged>
  UM_DEVICE void MultiplyTile(FragC (&sum)[2], const Shared<T>& slots, EightWords& words, int at_tile, int tile,
                              int tiles) {
    const FragB<T> b = TakeX<kStaged>(words, tile, tiles);
    Mma<T>(sum[0], LoadTileShared<T>(slots, at_tile), b);
    if (s.strips == 2) Mma<T>(sum[1], LoadTileShared<T>(slots, at_tile + kStreamSlotBytes / 4), b);
  }
  // The group takes every kStreamGroups-th k-tile; a chunk of two strips brings it one, of one strip two.
  template <bool kStaged>
  UM_DEVICE void Multiply(FragC (&sum)[2], int tiles) {
    constexpr int kAhead = kStaged ? 1 : kDirectAhead;
    const Shared<T> slots(at.ring(a.x_bytes));
    const int each = 2 / s.strips;
    EightWords words[kAhead];
    if constexpr (!kStaged) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) FetchX(words[i], i * kStreamGroups + Group(), tiles);
    }
    int left = 0;  // tiles of this chunk that the group has not taken
    for (int first = 0; first < tiles; first += kAhead * kStreamGroups) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int begin = first + i * kStreamGroups, tile = begin + Group();
        if (begin >= tiles) break;
        if (left == 0) {
          RingWaitFull(StreamLayout::kBarriers, t.slot, t.turn);
          left = each;
        }
        const int local = (each - left) * kStreamGroups + Group();
        const int at_tile = t.slot * (kStreamSlotBytes / 2) + local * (kTileBytes / 2);
        if (tile < tiles) MultiplyTile<kStaged>(sum, slots, words[i], at_tile, tile, tiles);
        if (--left > 0 && begin + kStreamGroups < tiles) continue;
        left = 0;
        GroupSync();  // orders the reads of all lanes before the slot is filled again
        if (Lane() == 0) RingRelease(StreamLayout::kBarriers, t.slot);
        t.NextSlot(a);
      }
    }
  }

  // ---- the ends ----
  // What a thread's output wants beside the sum, asked for before the product.
  struct End {
    int n, row;
    bool valid;
    Word residual;
    float bias = 0, up_bias = 0, norm = 0;
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
    if (s.norm != nullptr) e.norm = s.norm[e.n] + s.norm_offset;
    return e;
  }
  UM_DEVICE float Finish(const End& e, float sum, float up) {
    const float scale = s.sum_units > 0 && e.valid ? scales.Get(e.row) : 1.0f;
    float v = sum * scale + e.bias;
    if (s.act != Activation::kNone) v = StreamActivate(s.act, v);
    if (s.flags & kStreamGated) v *= up * scale + e.up_bias;
    v *= s.scale;
    if (s.residual != nullptr && e.valid) {
      v +=
          AwaitFloat(a, t, WordPointer(s.residual, WideAt(e.n, e.row, a.m)), e.residual, t.EpochOf(a, s.residual_from));
    }
    return s.cap > 0.0f ? StreamCap(s.cap, v) : v;
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
    const T narrow = FromFloat<T>(s.norm != nullptr ? value * e.norm : value);
    const int bits = BitCopy<uint16_t>(narrow), other = ShuffleXor(bits, 1);
    if (e.valid && s.y != nullptr && e.n % 2 == 0) {
      StoreWord(WordPointer(s.y, NarrowAt(e.n, e.row, a.m)), static_cast<uint32_t>(other << 16 | bits), epoch);
    }
    if (s.y_sums != nullptr) {
      float square = e.valid ? value * value : 0.0f;
#pragma unroll
      for (int mask = kUnitRows / 2; mask > 0; mask /= 2) square += ShuffleXor(square, mask);
      if (e.valid && Lane() % kUnitRows == 0) {
        StoreWord(WordPointer(s.y_sums, SumAt(unit, e.row, s.units)), BitCopy<uint32_t>(square), epoch);
      }
    }
    if (s.y_wide != nullptr && e.valid) {  // last: its reader comes late
      StoreWord(WordPointer(s.y_wide, WideAt(e.n, e.row, a.m)), BitCopy<uint32_t>(value), epoch);
    }
  }

  UM_DEVICE void Unit(int unit, int buffer, int tiles, bool staged) {
    End e = EndOf(unit, Thread());
    FragC sum[2] = {};
    staged ? Multiply<true>(sum, tiles) : Multiply<false>(sum, tiles);
    Shared<float> cells(StreamLayout::kSums + buffer * at.sum_bytes());
    constexpr int kStrip = kTileCols * StreamLayout::kPitch;
#pragma unroll
    for (int strip = 0; strip < 2; ++strip) {
#pragma unroll
      for (int i = 0; i < kFragC; ++i) {
        cells.Set((Group() * 2 + strip) * kStrip + CCol(i) * StreamLayout::kPitch + CRow(i), sum[strip].v[i]);
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
        total += cells.Get((g * 2 + (gated ? 0 : r / kTileRows)) * kStrip + column);
        if (gated) up += cells.Get((g * 2 + 1) * kStrip + column);
      }
    }
    Emit(e, unit, Finish(e, total, up));
  }

  UM_DEVICE void Run() {
    if (FirstUnit() < s.units) {
      const bool staged = s.k * a.m * 2 <= a.x_bytes;
      const bool scales_row = s.sum_units > 0 && Group() < a.m;
      Word sums[kSumsAhead];
      if (scales_row) FetchSums(sums, Lane());
      if (s.flags & kStreamNormX) {
        StreamLayerNorm<T>(a, s, t).Stage(x);
      } else if (staged) {
        StageWords<T>(a, t, s.x, s.k / 8 * a.m, t.EpochOf(a, s.x_from), x);
      }
      if (scales_row) Scale(sums);
      SomeBarrier(kStreamThreads);  // orders x and its scales before they are read
      int buffer = 0;
      for (int unit = FirstUnit(); unit < s.units; unit += GridX(), buffer ^= 1) {
        Unit(unit, buffer, s.k / kTileK, staged);
      }
    }
    if (s.flags & kStreamLogits) TellBest();
  }

  // Embedding: each unit is 32 columns of all rows, without a product.
  UM_DEVICE void Embed() {
    const int tiles = s.n / kTileK;
    for (int unit = FirstUnit(); unit < s.units; unit += GridX()) {
      const End e = EndOf(unit, Thread());
      float value = 0;
      if (e.valid) {
        const int given = a.ids[e.row], chosen = given < 0 ? a.previous[-1 - given] : given;
        const int id = chosen < 0 ? 0 : chosen;  // not finite: the row is thrown away later
        const T* tile = static_cast<const T*>(s.w) +
                        (static_cast<int64_t>(id / kTileRows) * tiles + e.n / kTileK) * (kTileRows * kTileK);
        value = ToFloat(tile[PackedIndex(id % kTileRows, e.n % kTileK)]) * s.scale;
        if (s.places != nullptr) {
          value += s.places[static_cast<int64_t>(a.positions[e.row] + s.first_place) * s.n + e.n];
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
