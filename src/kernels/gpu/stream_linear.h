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
#include "kernels/gpu/stream_words.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kUnitRows = 2 * kTileRows;  // threads of a column: one a row of a unit

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
  // Copies x to shared memory: a piece of 8 elements is 4 words, in the same order there.
  UM_DEVICE void StageX() {
    constexpr int kAhead = 4;
    const int pieces = s.k / 8 * a.m;
    const unsigned epoch = t.EpochOf(a, s.x_from);
    for (int first = Thread(); first < pieces; first += kAhead * kStreamThreads) {
      EightWords e[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int piece = first + i * kStreamThreads;
        if (piece < pieces) e[i] = LoadEight(WordPointer(s.x, piece * 4));
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int piece = first + i * kStreamThreads;
        if (piece < pieces) x.Set16(piece * 8, AwaitEight(a, t, WordPointer(s.x, piece * 4), e[i], epoch));
      }
    }
  }
  // 1 / rms of each row of x, from the sums of its units, in an order that M does not change.
  UM_DEVICE void Scales() {
    const unsigned epoch = t.EpochOf(a, s.x_from);
    for (int row = Group(); row < a.m; row += kStreamGroups) {
      float sum = 0;
      for (int u = Lane(); u < s.sum_units; u += kLanes) {
        const char* p = WordPointer(s.x_sums, SumAt(u, row, s.sum_units));
        sum += AwaitFloat(a, t, p, LoadWord(p), epoch);
      }
      sum = GroupSum(sum);
      if (Lane() == 0) scales.Set(row, Rsqrt(sum / static_cast<float>(s.k) + s.eps));
    }
  }

  // ---- the product ----
  struct DirectX {  // x of one k-tile on its way from L2
    EightWords words;
    const char* from = nullptr;
  };
  UM_DEVICE void FetchX(DirectX& d, int tile, int tiles) const {
    if (tile >= tiles || XColumn() >= a.m) return;
    d.from = WordPointer(s.x, (tile * a.m + XColumn()) * 16 + XStart() / 2);
    d.words = LoadEight(d.from);
  }
  template <bool kStaged>
  UM_DEVICE FragB<T> TakeX(DirectX& d, int tile, int tiles) {
    if constexpr (kStaged) {  // columns that nobody wants repeat the last one
      const int column = XColumn() < a.m ? XColumn() : a.m - 1;
      return XOperand<T>(x.Get16((tile * a.m + column) * kTileK + XStart()));
    } else {
      Vec16 v = {};
      if (XColumn() < a.m) v = AwaitEight(a, t, d.from, d.words, t.EpochOf(a, s.x_from));
      FetchX(d, tile + kStreamGroups, tiles);
      return XOperand<T>(v);
    }
  }
  template <int kStrips, bool kStaged>
  UM_DEVICE void Multiply(FragC (&sum)[2], int tiles, int ring) {
    constexpr int kChunkTiles = kStreamSlotBytes / kTileBytes / kStrips, kEach = kChunkTiles / kStreamGroups;
    const Shared<T> slots(ring);
    DirectX d;
    if constexpr (!kStaged) FetchX(d, Group(), tiles);
    for (int chunk = 0; chunk < tiles; chunk += kChunkTiles) {
      RingWaitFull(StreamLayout::kBarriers, t.slot, t.turn);
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        const int local = i * kStreamGroups + Group(), tile = chunk + local;
        if (tile >= tiles) break;
        const int from = t.slot * (kStreamSlotBytes / 2) + local * (kTileBytes / 2);
        const FragB<T> b = TakeX<kStaged>(d, tile, tiles);
#pragma unroll
        for (int strip = 0; strip < kStrips; ++strip) {
          Mma<T>(sum[strip], LoadTileShared<T>(slots, from + strip * kChunkTiles * (kTileBytes / 2)), b);
        }
      }
      GroupSync();  // orders the reads of all lanes before the slot is filled again
      if (Lane() == 0) RingRelease(StreamLayout::kBarriers, t.slot);
      t.NextSlot(a);
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
    float v[1] = {sum * scale + e.bias};
    Activate(s.act, v);
    if (s.flags & kStreamGated) v[0] *= up * scale + e.up_bias;
    v[0] *= s.scale;
    if (s.residual != nullptr && e.valid) {
      v[0] +=
          AwaitFloat(a, t, WordPointer(s.residual, WideAt(e.n, e.row, a.m)), e.residual, t.EpochOf(a, s.residual_from));
    }
    Cap(s.cap, v);
    return v[0];
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
    if (s.y_wide != nullptr && e.valid) {
      StoreWord(WordPointer(s.y_wide, WideAt(e.n, e.row, a.m)), BitCopy<uint32_t>(value), epoch);
    }
    const T narrow = FromFloat<T>(s.norm != nullptr ? value * e.norm : value);
    const int bits = BitCopy<uint16_t>(narrow), other = ShuffleXor(bits, 1);
    if (e.valid && s.y != nullptr && e.n % 2 == 0) {
      StoreWord(WordPointer(s.y, NarrowAt(e.n, e.row, a.m)), static_cast<uint32_t>(other << 16 | bits), epoch);
    }
    if (s.y_sums == nullptr) return;
    float square = e.valid ? value * value : 0.0f;
#pragma unroll
    for (int mask = kUnitRows / 2; mask > 0; mask /= 2) square += ShuffleXor(square, mask);
    if (e.valid && Lane() % kUnitRows == 0) {
      StoreWord(WordPointer(s.y_sums, SumAt(unit, e.row, s.units)), BitCopy<uint32_t>(square), epoch);
    }
  }

  template <bool kStaged>
  UM_DEVICE void Unit(int unit, int buffer, int tiles, int ring) {
    End e = EndOf(unit, Thread());
    FragC sum[2] = {};
    s.strips == 2 ? Multiply<2, kStaged>(sum, tiles, ring) : Multiply<1, kStaged>(sum, tiles, ring);
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

  template <bool kStaged>
  UM_DEVICE void Units() {
    const int ring = at.ring(a.x_bytes), tiles = s.k / kTileK;
    int buffer = 0;
    for (int unit = FirstUnit(); unit < s.units; unit += GridX(), buffer ^= 1) Unit<kStaged>(unit, buffer, tiles, ring);
  }
  UM_DEVICE void Run() {
    if (FirstUnit() < s.units) {
      const bool staged = s.k * a.m * 2 <= a.x_bytes;
      if (staged) StageX();
      if (s.sum_units > 0) Scales();
      SomeBarrier(kStreamThreads);  // orders x and its scales before they are read
      staged ? Units<true>() : Units<false>();
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
        const int id = a.ids[e.row];
        const T* tile = static_cast<const T*>(s.w) +
                        (static_cast<int64_t>(id / kTileRows) * tiles + e.n / kTileK) * (kTileRows * kTileK);
        value = ToFloat(tile[PackedIndex(id % kTileRows, e.n % kTileK)]) * s.scale;
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
