// SPDX-License-Identifier: Apache-2.0
// linear_tiled: y[M, N] = x[M, K] * w[N, K]^T for large M (prefill), w in the same packed tiles as linear_flat.
// Who calls: op Linear when the plan says "tiled", or "direct" (x past the registers into shared memory).
// Work:      one block owns 32 weight rows a group and 64 rows of x; x is staged in shared memory, two stages.
// Bound:     matrix instructions. FLOPs = 2*M*N*K; weights are read ceil(M/64) times, mostly from L2.
// Launch:    grid (ceil(M/64), ceil(N/(32*groups))); threads 128; shared the larger of 2 * 64 * (kStageK + 8) * 2 and
//            groups * 64 * 36 * 4.
// Reference: RefLinear. Sum order: k-tiles in turn.
// Source:    FlashDecoding++ section 4; packed operands from registers as in Marlin (arXiv 2408.11743).
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/linear_flat.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kTiledRows = 64;       // rows of x a block
inline constexpr int kTiledStageTiles = 2;  // k-tiles a stage
inline constexpr int kTiledStageK = kTiledStageTiles * kTileK;
inline constexpr int kTiledPitch = kTiledStageK + 8;  // elements; the 8 spread rows over the banks
inline constexpr int kTiledStrips = 2;
inline constexpr int kTiledColumns = kTiledRows / kTileCols;

// Copies x[first .. first+64, k .. k+kStageK] to a stage; what lies outside the matrix becomes zero.
template <class T>
UM_DEVICE void StageX(const LinearArgs& a, Shared<T>& stage, int base, int first, int k) {
  constexpr int kChunks = kTiledStageK / 8;
  for (int i = Thread(); i < kTiledRows * kChunks; i += BlockThreads()) {
    const int row = i / kChunks, chunk = i % kChunks * 8;
    Vec16 v = {};
    if (first + row < a.m && k + chunk < a.k) {
      v = Load16(static_cast<const T*>(a.x) + static_cast<int64_t>(first + row) * a.x_stride + k + chunk);
    }
    stage.Set16(base + row * kTiledPitch + chunk, v);
  }
}

// The same past the registers, where the target can; begun here, there after WaitCopies. A row's last chunk is padding.
template <class T>
UM_DEVICE void StageDirect(const LinearArgs& a, Shared<T>& stage, int base, int first, int k) {
  constexpr int kChunks = kTiledPitch / 8, kData = kTiledStageK / 8;
  CopyChunks(stage, base, kTiledRows * kChunks, [&](int i) -> const void* {
    const int row = i / kChunks, part = i % kChunks < kData ? i % kChunks : kData - 1;
    if (first + row >= a.m || k + part * 8 >= a.k) return nullptr;
    return static_cast<const T*>(a.x) + static_cast<int64_t>(first + row) * a.x_stride + k + part * 8;
  });
  CommitCopies();
}

inline constexpr int kTiledCells = kTiledStrips * kTileRows;  // weight rows a group
inline constexpr int kTiledCellPitch = kTiledCells + 4;       // the 4 spread the columns of a fragment over the banks

// Stores a group's sums, which lie in shared memory as [row of x][weight row]: neighbouring lanes take neighbouring
// outputs, each lane kBatch rows at once.
template <class T, bool kGated>
UM_DEVICE void StoreTiled(const LinearArgs& a, const Shared<float>& cells, int base, int first_row, int first_strip) {
  constexpr int kColumns = kGated ? kTileRows : kTiledCells;
  constexpr int kTogether = kLanes / kColumns;  // rows that the lanes take at once
  constexpr int kBatch = 4;
  const int column = Lane() % kColumns;
  const int n = (kGated ? first_strip / kTiledStrips : first_strip) * kTileRows + column;
  if (n >= (kGated ? a.n / 2 : a.n)) return;
  for (int begin = Lane() / kColumns; begin < kTiledRows && first_row + begin < a.m; begin += kBatch * kTogether) {
    LinearOutputs<kBatch> out;
    float up[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int row = begin + i * kTogether;
      out.row[i] = first_row + row < a.m ? first_row + row : -1;
      out.n[i] = n;
      out.sum[i] = cells.Get(base + row * kTiledCellPitch + column);
      up[i] = kGated ? cells.Get(base + row * kTiledCellPitch + kTileRows + column) : 0.0f;
    }
    if (kGated) {
      FinishGated<T>(a, out, up);
    } else {
      FinishLinear<T>(a, out);
    }
  }
}

template <class T, bool kDirect = false>
UM_DEVICE void LinearTiled(const LinearArgs& a) {
  const auto stage_x = [&](Shared<T>& to, int base, int first, int k) {
    if (kDirect) {
      StageDirect<T>(a, to, base, first, k);
    } else {
      StageX<T>(a, to, base, first, k);
    }
  };
  const int tiles = (a.k + kTileK - 1) / kTileK;
  const int64_t strip_bytes = static_cast<int64_t>(tiles) * kTileBytes;
  const int strips = (a.n + kTileRows - 1) / kTileRows;
  const int first_row = BlockX() * kTiledRows;
  const int first = (BlockY() * Groups() + Group()) * kTiledStrips;
  // Groups beyond the last strip compute a copy of it and store nothing: every thread must reach the barriers.
  const int at0 = first < strips ? first : strips - 1;
  const int at1 = first + 1 < strips ? first + 1 : strips - 1;
  const char* w0 = static_cast<const char*>(a.w) + at0 * strip_bytes;
  const char* w1 = static_cast<const char*>(a.w) + at1 * strip_bytes;
  Shared<T> stage(0);
  constexpr int kStage = kTiledRows * kTiledPitch;

  WaitForPrevious();
  FragC sum[kTiledStrips][kTiledColumns] = {};
  stage_x(stage, 0, first_row, 0);
  int which = 0;
  for (int tile = 0; tile < tiles; tile += kTiledStageTiles) {
    if (kDirect) WaitCopies<0>();
    Barrier();  // orders this stage's writes before its reads, and the last reads of the other stage before its writes
    if (tile + kTiledStageTiles < tiles) {
      stage_x(stage, (which ^ 1) * kStage, first_row, (tile + kTiledStageTiles) * kTileK);
    }
#pragma unroll
    for (int d = 0; d < kTiledStageTiles; ++d) {
      if (tile + d >= tiles) break;
      const FragA<T> a0 = LoadTile<T>(w0 + static_cast<int64_t>(tile + d) * kTileBytes);
      const FragA<T> a1 = LoadTile<T>(w1 + static_cast<int64_t>(tile + d) * kTileBytes);
#pragma unroll
      for (int c = 0; c < kTiledColumns; ++c) {
        const FragB<T> b =
            LoadXShared<T>(stage, which * kStage + c * kTileCols * kTiledPitch + d * kTileK, kTiledPitch);
        Mma<T>(sum[0][c], a0, b);
        Mma<T>(sum[1][c], a1, b);
      }
    }
    which ^= 1;
  }
  LetNextStart();
  Shared<float> cells(0);
  const int base = Group() * kTiledRows * kTiledCellPitch;
  Barrier();  // orders all groups' last reads of the stages before the sums that take their place
#pragma unroll
  for (int s = 0; s < kTiledStrips; ++s) {
#pragma unroll
    for (int c = 0; c < kTiledColumns; ++c) {
#pragma unroll
      for (int i = 0; i < kFragC; ++i) {
        cells.Set(base + (c * kTileCols + CCol(i)) * kTiledCellPitch + s * kTileRows + CRow(i), sum[s][c].v[i]);
      }
    }
  }
  GroupSync();  // orders the lanes' sums before their group reads them
  if (first >= strips) return;
  if (a.flags & kLinearActMul) {
    StoreTiled<T, true>(a, cells, base, first_row, first);
  } else {
    StoreTiled<T, false>(a, cells, base, first_row, first);
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
