// SPDX-License-Identifier: Apache-2.0
// linear_flat: y[M, N] = x[M, K] * w[N, K]^T for 1 <= M <= kTiles * kTileCols (decode), w in packed tiles.
// Who calls: op Linear when the plan says "flat".
// Work:      one block owns 32 weight rows (two 16-row strips) and all of K; its groups deal the k-tiles in turn, so it
//            streams both strips once; the batch stands on the column side of the matrix instruction.
// Bound:     memory. bytes = N*K*2 + M*(K+N)*2; the next kDepth tiles are in flight while these are multiplied.
// Launch:    grid ceil(N/32); threads 256 or 512; shared groups * 2 * kTiles * 16 * kTileCols * 4.
// Reference: RefLinear. Sum order: k-tiles of a group in turn, then groups in turn.
// Source:    FlashDecoding++ (arXiv 2311.01282), section 4: flat GEMM with double buffering.
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/activation.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kFlatStrips = 2;  // strips a block: more reuse of x, and gate and up of a column in one block
inline constexpr int kFlatDepth = kTilesAhead;  // k-tiles a group loads at once, twice: 8 KB in flight for a depth of 2

// Whether a lane's registers hold what is multiplied and what comes next. Where not, other groups' loads are in flight
// meanwhile.
inline constexpr bool kTwoBuffers = kTilesAhead > 1;

// Outputs of one thread: sum[i] belongs to row `row[i]` and output `n[i]`; a row of -1 is absent.
template <int kCount>
struct LinearOutputs {
  int row[kCount], n[kCount];
  float sum[kCount];
};

// sum[i] += bias[n[i] + offset]
template <int kCount>
UM_DEVICE void AddBias(const LinearArgs& a, const LinearOutputs<kCount>& out, int offset, float (&sum)[kCount]) {
  if (a.bias == nullptr) return;
#pragma unroll
  for (int i = 0; i < kCount; ++i) sum[i] += out.row[i] >= 0 ? a.bias[out.n[i] + offset] : 0.0f;
}

// The end of every Linear row: scale, residual and cap, then stored wide or narrow. All residuals are fetched before
// anything is stored, because y may be the residual and so a store holds back the fetches behind it.
template <class T, int kCount>
UM_DEVICE void StoreLinear(const LinearArgs& a, LinearOutputs<kCount>& out) {
  int64_t at[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) at[i] = static_cast<int64_t>(out.row[i]) * a.y_stride + out.n[i];
  float residual[kCount] = {};
  if (a.residual != nullptr) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) residual[i] = out.row[i] >= 0 ? a.residual[at[i]] : 0.0f;
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) out.sum[i] = out.sum[i] * a.scale + residual[i];
  Cap(a.cap, out.sum);
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (out.row[i] < 0) continue;
    if (a.flags & kLinearWide) {
      static_cast<float*>(a.y)[at[i]] = out.sum[i];
    } else {
      static_cast<T*>(a.y)[at[i]] = FromFloat<T>(out.sum[i]);
    }
  }
}

// cap(act(sum + bias) * scale + residual)
template <class T, int kCount>
UM_DEVICE void FinishLinear(const LinearArgs& a, LinearOutputs<kCount>& out) {
  AddBias(a, out, 0, out.sum);
  Activate(a.act, out.sum);
  StoreLinear<T>(a, out);
}

// The same of act(gate + bias) * (up + bias): out.sum holds the gates.
template <class T, int kCount>
UM_DEVICE void FinishGated(const LinearArgs& a, LinearOutputs<kCount>& out, float (&up)[kCount]) {
  AddBias(a, out, 0, out.sum);
  AddBias(a, out, a.n / 2, up);
  Activate(a.act, out.sum);
#pragma unroll
  for (int i = 0; i < kCount; ++i) out.sum[i] *= up[i];
  StoreLinear<T>(a, out);
}

// The next kFlatDepth k-tiles of a group, of both strips.
template <class T>
struct FlatTiles {
  FragA<T> a[kFlatDepth][kFlatStrips];
};

// Loads k-tiles tile, tile + step, ...; beyond the end it repeats the last one, whose product counts as zero.
template <class T>
UM_DEVICE void LoadFlat(FlatTiles<T>& t, const char* w, int64_t strip_bytes, int tile, int step, int tiles) {
#pragma unroll
  for (int d = 0; d < kFlatDepth; ++d) {
    const int k = tile + d * step < tiles ? tile + d * step : tiles - 1;
#pragma unroll
    for (int s = 0; s < kFlatStrips; ++s)
      t.a[d][s] = LoadTile<T>(w + s * strip_bytes + static_cast<int64_t>(k) * kTileBytes);
  }
}

template <class T, int kTiles>
UM_DEVICE void MultiplyFlat(FragC (&sum)[kFlatStrips][kTiles], const FlatTiles<T>& t, const LinearArgs& a, int tile,
                            int step) {
  const T* x = static_cast<const T*>(a.x);
#pragma unroll
  for (int c = 0; c < kTiles; ++c) {
    const T* column = x + static_cast<int64_t>(c) * kTileCols * a.x_stride;
    FragB<T> b[kFlatDepth];
#pragma unroll
    for (int d = 0; d < kFlatDepth; ++d) {
      const int k = (tile + d * step) * kTileK;
      b[d] = LoadX<T>(column + k, a.x_stride, a.m - c * kTileCols, a.k - k);  // zero beyond K
    }
#pragma unroll
    for (int d = 0; d < kFlatDepth; ++d) {
#pragma unroll
      for (int s = 0; s < kFlatStrips; ++s) Mma<T>(sum[s][c], t.a[d][s], b[d]);
    }
  }
}

// Sums as they are, whose weights are not scaled by row.
struct AsTheyAre {
  UM_DEVICE float operator()(const LinearArgs&, float sum, int /*row*/, int /*n*/) const { return sum; }
};

// The end of a flat row: adds the groups' sums (FragC, or FragI of int) and stores what scale(args, sum, row of x, row
// of w) makes of them. `first`: the block's first strip.
template <class T, class Frag, int kTiles, class Scale>
UM_DEVICE void FinishFlat(const LinearArgs& a, const Frag (&sum)[kFlatStrips][kTiles], int first, Scale scale) {
  using V = decltype(sum[0][0].v[0] + sum[0][0].v[0]);
  // Sums of the groups meet in shared memory: [group][strip][column tile][column][row].
  constexpr int kCells = kTileRows * kTileCols;
  Shared<V> cells(0);
#pragma unroll
  for (int s = 0; s < kFlatStrips; ++s) {
#pragma unroll
    for (int c = 0; c < kTiles; ++c) {
#pragma unroll
      for (int i = 0; i < kFragC; ++i) {
        cells.Set(((Group() * kFlatStrips + s) * kTiles + c) * kCells + CCol(i) * kTileRows + CRow(i), sum[s][c].v[i]);
      }
    }
  }
  Barrier();                                // orders the sums of all groups before they are read
  const int block_cells = kTiles * kCells;  // of one strip
  for (int i = Thread(); i < block_cells; i += BlockThreads()) {
    const int row = i / kTileRows, r = i % kTileRows;
    if (row >= a.m) break;
    V total[kFlatStrips] = {};
    for (int g = 0; g < Groups(); ++g) {
#pragma unroll
      for (int s = 0; s < kFlatStrips; ++s) total[s] += cells.Get((g * kFlatStrips + s) * block_cells + i);
    }
    const int n = first * kTileRows + r;
    if (a.flags & kLinearActMul) {
      const int at = BlockX() * kTileRows + r;
      LinearOutputs<1> out = {{at < a.n / 2 ? row : -1}, {at}, {scale(a, total[0], row, n)}};
      float up[1] = {scale(a, total[1], row, n + kTileRows)};
      FinishGated<T>(a, out, up);
    } else {
      LinearOutputs<2> out = {{n < a.n ? row : -1, n + kTileRows < a.n ? row : -1}, {n, n + kTileRows}, {}};
      out.sum[0] = scale(a, total[0], row, n);
      out.sum[1] = scale(a, total[1], row, n + kTileRows);
      FinishLinear<T>(a, out);
    }
  }
}

template <class T, int kTiles>
UM_DEVICE void LinearFlat(const LinearArgs& a) {
  const int tiles = (a.k + kTileK - 1) / kTileK;
  const int64_t strip_bytes = static_cast<int64_t>(tiles) * kTileBytes;
  const int strips = (a.n + kTileRows - 1) / kTileRows;
  const int first = BlockX() * kFlatStrips;
  // The last block of an odd number of strips reads its first strip twice and drops the second result.
  const int64_t second = first + 1 < strips ? strip_bytes : 0;
  const char* w = static_cast<const char*>(a.w) + first * strip_bytes;
  const int step = Groups();
  const int stride = kFlatDepth * step;

  LetNextStart();  // its blocks may load their first weights as soon as this grid leaves room
  FlatTiles<T> even, odd;
  int tile = Group();
  LoadFlat<T>(even, w, second, tile, step, tiles);  // weights depend on no other launch
  WaitForPrevious();
  FragC sum[kFlatStrips][kTiles] = {};
  // Two buffers in turn: one is filled while the other is multiplied, and neither is ever copied.
  while (true) {
    if (tile + stride < tiles) LoadFlat<T>(odd, w, second, tile + stride, step, tiles);
    MultiplyFlat<T, kTiles>(sum, even, a, tile, step);
    if ((tile += stride) >= tiles) break;
    if (tile + stride < tiles) LoadFlat<T>(even, w, second, tile + stride, step, tiles);
    MultiplyFlat<T, kTiles>(sum, odd, a, tile, step);
    if ((tile += stride) >= tiles) break;
  }
  FinishFlat<T>(a, sum, first, AsTheyAre());
}

}  // namespace unimax::UM_PORT_NAMESPACE
