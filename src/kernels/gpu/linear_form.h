// SPDX-License-Identifier: Apache-2.0
// linear_form: y[M, N] = x[M, K] * w[N, K]^T for 1 <= M <= 16, w in a form of fewer bits.
// Who calls: op Linear when the plan says "q4", "e4m3" or "int8".
// Work:      as linear_flat: one block owns 32 weight rows and all of K; its groups deal the chunks of
// base/chunk_form.h. Bound:     memory. bytes = N*K*5/8 (q4) or N*K (others) + M*(K+N)*2; the next chunk is in flight
// while one is multiplied. Launch:    grid ceil(N/32); threads 256; shared groups * 2 * 16 * 16 * 4.
// Reference: RefLinear over the values that the form stands for. Sum order: chunks of a group in turn, then groups in
// turn. Source:    scales applied to sums, not to weights: FlashDecoding++ section 4 leaves the order of the epilogue
// free;
//            integers in the mantissa of 16-bit floats: "Who Says Elephants Can't Run" (arXiv 2211.10017), section 4.
#pragma once

#include "base/chunk_form.h"
#include "kernels/args.h"
#include "kernels/gpu/linear_flat.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kFormColumns = 16 / kTileCols;  // column tiles

// Two 16-bit floats 128 (bf16) or 1024 (f16): an integer below 16 in the lowest bits of each mantissa is added to it.
template <class T>
inline constexpr float kIntegerBase = 128;
template <>
inline constexpr float kIntegerBase<f16> = 1024;
template <class T>
UM_DEVICE uint32_t TwoOf(float value) {
  const uint32_t bits = BitCopy<uint16_t>(FromFloat<T>(value));
  return bits | bits << 16;
}

// k-tile `at` of a column tile of x, of a kernel whose x is T.
template <class T>
UM_DEVICE FragB<T> XOfTile(const LinearArgs& a, int column, int at) {
  const T* x = static_cast<const T*>(a.x) + static_cast<int64_t>(column) * kTileCols * a.x_stride;
  return LoadX<T>(x + at, a.x_stride, a.m - column * kTileCols, a.k - at);
}

// A form gives: what is summed, a chunk in registers, how it is loaded, and how its products with
// the rows of x are added to the sums of a block's strips; k is the chunk's first.
template <class T>
struct FormQ4 : AsTheyAre {
  using Sum = FragC;
  static constexpr ChunkForm kForm = ChunkForm::kQ4;
  struct Chunk {
    FragA<T> q;
    Vec16 scale[kRowsHeld];
  };

  UM_DEVICE static void Load(Chunk& c, const char* p) {
    c.q = LoadTile<T>(p);
#pragma unroll
    for (int h = 0; h < kRowsHeld; ++h) c.scale[h] = Load16Once(p + kQ4Scales + CRow(h * (kFragC / kRowsHeld)) * 16);
  }

  // k-tile `tile` as base + q.
  UM_DEVICE static FragA<T> Expand(const FragA<T>& q, int tile, uint32_t base) {
    FragA<T> w;
#pragma unroll
    for (int i = 0; i < kTileWords; ++i) {
#pragma unroll
      for (int p = 0; p < 4; ++p) w.v[i].w[p] = (q.v[i].w[tile] >> (4 * p) & 0x000f000fu) | base;
    }
    return w;
  }

  // sum += d * (base + q) x + (m - base * d) * x, where the second x is a row's sum, from a product with ones.
  UM_DEVICE static void Add(Sum (&sum)[kFlatStrips][kFormColumns], const Chunk (&c)[kFlatStrips], const LinearArgs& a,
                            int k) {
    const uint32_t base = TwoOf<T>(kIntegerBase<T>), one = TwoOf<T>(1.0f);
    FragA<T> ones;
#pragma unroll
    for (int i = 0; i < kTileWords; ++i) ones.v[i] = {{one, one, one, one}};
#pragma unroll
    for (int tile = 0; tile < 4; ++tile) {
      FragA<T> w[kFlatStrips];
#pragma unroll
      for (int s = 0; s < kFlatStrips; ++s) w[s] = Expand(c[s].q, tile, base);
#pragma unroll
      for (int column = 0; column < kFormColumns; ++column) {
        const FragB<T> b = XOfTile<T>(a, column, k + tile * kTileK);
        FragC rows = {};
        Mma<T>(rows, ones, b);
#pragma unroll
        for (int s = 0; s < kFlatStrips; ++s) {
          FragC part = {};
          Mma<T>(part, w[s], b);
#pragma unroll
          for (int i = 0; i < kFragC; ++i) {
            const float d = ToFloat(c[s].scale[RowHeld(i)].template As<f16>(2 * tile));
            const float m = ToFloat(c[s].scale[RowHeld(i)].template As<f16>(2 * tile + 1));
            sum[s][column].v[i] += d * part.v[i] + (m - kIntegerBase<T> * d) * rows.v[i];
          }
        }
      }
    }
  }
};

template <class T>
struct FormE4M3 {
  using Sum = FragC;
  static constexpr ChunkForm kForm = ChunkForm::kE4M3;
  using Chunk = FragA<T>;

  UM_DEVICE static void Load(Chunk& c, const char* p) { c = LoadTile<T>(p); }

  // The byte's bits as exponent and mantissa of an f32 give the value times 2^-120, subnormals too. What comes of it
  // fits both 16-bit types exactly.
  UM_DEVICE static uint16_t Widen(uint32_t byte) {
    const float small = BitCopy<float>((byte & 0x80u) << 24 | (byte & 0x7fu) << 20);
    return Exactly(T(), small * 0x1p120f);
  }
  UM_DEVICE static uint16_t Exactly(bf16, float v) { return static_cast<uint16_t>(BitCopy<uint32_t>(v) >> 16); }
  UM_DEVICE static uint16_t Exactly(f16, float v) { return BitCopy<uint16_t>(FromFloat<f16>(v)); }
  UM_DEVICE static FragA<T> Expand(const Chunk& c, int tile) {
    FragA<T> w;
#pragma unroll
    for (int i = 0; i < kTileWords; ++i) {
#pragma unroll
      for (int p = 0; p < 4; ++p) {
        const uint32_t two = c.v[i].w[2 * tile + p / 2] >> (16 * (p % 2));
        w.v[i].w[p] = Widen(two) | static_cast<uint32_t>(Widen(two >> 8)) << 16;
      }
    }
    return w;
  }

  UM_DEVICE static void Add(Sum (&sum)[kFlatStrips][kFormColumns], const Chunk (&c)[kFlatStrips], const LinearArgs& a,
                            int k) {
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
      FragA<T> w[kFlatStrips];
#pragma unroll
      for (int s = 0; s < kFlatStrips; ++s) w[s] = Expand(c[s], tile);
#pragma unroll
      for (int column = 0; column < kFormColumns; ++column) {
        const FragB<T> b = XOfTile<T>(a, column, k + tile * kTileK);
#pragma unroll
        for (int s = 0; s < kFlatStrips; ++s) Mma<T>(sum[s][column], w[s], b);
      }
    }
  }

  UM_DEVICE float operator()(const LinearArgs& a, float sum, int /*row*/, int n) const {
    return n < a.n ? sum * a.w_scale[n] : 0.0f;
  }
};

struct FormI8 {
  using Sum = FragI;
  static constexpr ChunkForm kForm = ChunkForm::kI8;
  using Chunk = FragA<i8x2>;

  UM_DEVICE static void Load(Chunk& c, const char* p) { c = LoadTile<i8x2>(p); }

  UM_DEVICE static void Add(Sum (&sum)[kFlatStrips][kFormColumns], const Chunk (&c)[kFlatStrips], const LinearArgs& a,
                            int k) {
    const int stride = a.x_stride / 2, first = k / 2;  // pairs
#pragma unroll
    for (int column = 0; column < kFormColumns; ++column) {
      const i8x2* x = static_cast<const i8x2*>(a.x) + static_cast<int64_t>(column) * kTileCols * stride;
      const FragB<i8x2> b = LoadX<i8x2>(x + first, stride, a.m - column * kTileCols, a.k / 2 - first);
#pragma unroll
      for (int s = 0; s < kFlatStrips; ++s) Mma(sum[s][column], c[s], b);
    }
  }

  UM_DEVICE float operator()(const LinearArgs& a, int sum, int row, int n) const {
    return n < a.n ? static_cast<float>(sum) * a.x_scale[row] * a.w_scale[n] : 0.0f;
  }
};

template <class Form>
UM_DEVICE void LoadChunks(typename Form::Chunk (&c)[kFlatStrips], const char* w, int64_t second, int chunk) {
  constexpr int64_t kBytes = FormBytes(Form::kForm);
  Form::Load(c[0], w + chunk * kBytes);
  Form::Load(c[1], w + second + chunk * kBytes);
}

// T: of y, and of x but for int8.
template <class T, class Form>
UM_DEVICE void LinearForm(const LinearArgs& a) {
  constexpr int kK = FormK(Form::kForm);
  const int chunks = (a.k + kK - 1) / kK;
  const int64_t strip_bytes = static_cast<int64_t>(chunks) * FormBytes(Form::kForm);
  const int strips = (a.n + kTileRows - 1) / kTileRows;
  const int first = BlockX() * kFlatStrips;
  // The last block of an odd number of strips reads its first strip twice and drops the second result.
  const int64_t second = first + 1 < strips ? strip_bytes : 0;
  const char* w = static_cast<const char*>(a.w) + first * strip_bytes;

  LetNextStart();
  typename Form::Chunk even[kFlatStrips], odd[kFlatStrips];
  const int step = Groups();
  int chunk = Group();
  if (kTwoBuffers && chunk < chunks) LoadChunks<Form>(even, w, second, chunk);
  WaitForPrevious();
  typename Form::Sum sum[kFlatStrips][kFormColumns] = {};
  while (chunk < chunks) {  // two buffers in turn, as in LinearFlat
    if (!kTwoBuffers) LoadChunks<Form>(even, w, second, chunk);
    if (kTwoBuffers && chunk + step < chunks) LoadChunks<Form>(odd, w, second, chunk + step);
    Form::Add(sum, even, a, chunk * kK);
    if ((chunk += step) >= chunks) break;
    if (!kTwoBuffers) continue;
    if (chunk + step < chunks) LoadChunks<Form>(even, w, second, chunk + step);
    Form::Add(sum, odd, a, chunk * kK);
    chunk += step;
  }
  FinishFlat<T>(a, sum, first, Form());
}

}  // namespace unimax::UM_PORT_NAMESPACE
