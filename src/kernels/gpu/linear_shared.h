// SPDX-License-Identifier: Apache-2.0
// linear_shared: y[M, N] = x[M, K] * w[N, K]^T for 1 <= M <= kRows (16 to 64 sequences), w in packed tiles.
// Who calls: op Linear when the plan says "shared32" or "shared64".
// Work:      w is cut into panels of 64 or 128 rows and these along K into stages of 32 KB, which are
//            dealt over the blocks (linear_parts.h). The groups of a block share x through shared memory, so that it
//            is read once a panel, not once for each 32 rows of w.
// Bound:     memory. bytes = N*K*2 + M*(K+N)*2; from L2 also N/panel * M*K*2.
// Launch:    grid the multiprocessors, at most panels * stages; threads 8 * kLanes; shared SharedShape::kBytes.
// Reference: RefLinear. Sum order: k-tiles of a group in turn, groups in turn, then blocks in the order of their k.
// Source:    FlashDecoding++ (arXiv 2311.01282), section 4; an even deal of the stages: Stream-K (arXiv 2301.03598).
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/linear_parts.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

// kM rows of x, kRowGroups groups along the rows of w; the others of the eight groups divide a stage along k.
template <int kM, int kRowGroups>
struct SharedShape {
  static constexpr int kRows = kM, kGroups = 8, kKGroups = kGroups / kRowGroups;
  static constexpr int kColumns = kRows / kTileCols;
  static constexpr int kStrips = 2, kTilesEach = 2;  // of a group in a stage: 4 KB of w
  static constexpr int kPanel = kRowGroups * kStrips * kTileRows;
  static constexpr int kStageTiles = kKGroups * kTilesEach, kStageK = kStageTiles * kTileK;
  // Elements of a row of x. Eight lanes read at once: two rows of four words with mma's fragments, eight rows with
  // others.
  static constexpr int kPitch = kStageK + (kTileCols == 8 ? 32 : 8);
  static constexpr int kSlot = kRows * kPitch, kRing = 4;
  static constexpr int kCellPitch = kPanel + 4, kCells = kRows * kCellPitch;  // floats of a k-group's sums
  static constexpr int kCellBytes = kRing * kSlot * 2;                        // where they begin
  static constexpr int kBytes = kCellBytes + kKGroups * kCells * 4;
};

// The group's weights of one stage.
template <class T, class S>
struct SharedTiles {
  FragA<T> a[S::kTilesEach][S::kStrips];
};
// What lies beyond N repeats the last strip, whose sums nobody stores; beyond K the last tile, which meets zeros in x.
template <class T, class S>
UM_DEVICE void LoadStage(SharedTiles<T, S>& t, const LinearArgs& a, const PanelWork& work, int at) {
  const int tiles = (a.k + kTileK - 1) / kTileK, strips = (a.n + kTileRows - 1) / kTileRows;
  const int rows = Group() / S::kKGroups, part = Group() % S::kKGroups;
  const int first = at % work.stages * S::kStageTiles + part * S::kTilesEach;
#pragma unroll
  for (int s = 0; s < S::kStrips; ++s) {
    const int wanted = (at / work.stages * S::kPanel) / kTileRows + rows * S::kStrips + s;
    const int strip = wanted < strips ? wanted : strips - 1;
    const char* w = static_cast<const char*>(a.w) + static_cast<int64_t>(strip) * tiles * kTileBytes;
#pragma unroll
    for (int d = 0; d < S::kTilesEach; ++d) {
      const int tile = first + d < tiles ? first + d : tiles - 1;
      t.a[d][s] = LoadTile<T>(w + static_cast<int64_t>(tile) * kTileBytes);
    }
  }
}

// Begins to copy the x of a stage to a slot of the ring; rows beyond M and k beyond K become zero.
template <class T, class S>
UM_DEVICE void FillSlot(const LinearArgs& a, const PanelWork& work, const Shared<T>& ring, int at) {
  constexpr int kChunks = S::kStageK / 8;
  const int base = (at - work.begin) % S::kRing * S::kSlot, k = at % work.stages * S::kStageK;
#pragma unroll 4
  for (int i = Thread(); i < S::kRows * kChunks; i += BlockThreads()) {
    const int row = i / kChunks, chunk = i % kChunks * 8;
    const bool take = row < a.m && k + chunk < a.k;
    const T* from = static_cast<const T*>(a.x) + (take ? static_cast<int64_t>(row) * a.x_stride + k + chunk : 0);
    CopyAsync16(ring, base + row * S::kPitch + chunk, from, take);
  }
}

template <class T, class S>
UM_DEVICE void MultiplyStage(FragC (&sum)[S::kStrips][S::kColumns], const SharedTiles<T, S>& t, const Shared<T>& ring,
                             int slot) {
  const int base = slot * S::kSlot + Group() % S::kKGroups * S::kTilesEach * kTileK;
#pragma unroll
  for (int c = 0; c < S::kColumns; ++c) {
#pragma unroll
    for (int d = 0; d < S::kTilesEach; ++d) {
      const FragB<T> b = LoadXShared<T>(ring, base + c * kTileCols * S::kPitch + d * kTileK, S::kPitch);
#pragma unroll
      for (int s = 0; s < S::kStrips; ++s) Mma<T>(sum[s][c], t.a[d][s], b);
    }
  }
}

template <class T, class S>
UM_DEVICE void FinishShared(const LinearArgs& a, const PanelWork& work, FragC (&sum)[S::kStrips][S::kColumns],
                            int panel) {
  Shared<float> cells(S::kCellBytes);
  const int base = Group() % S::kKGroups * S::kCells + Group() / S::kKGroups * S::kStrips * kTileRows;
#pragma unroll
  for (int s = 0; s < S::kStrips; ++s) {
#pragma unroll
    for (int c = 0; c < S::kColumns; ++c) {
#pragma unroll
      for (int i = 0; i < kFragC; ++i) {
        cells.Set(base + (c * kTileCols + CCol(i)) * S::kCellPitch + s * kTileRows + CRow(i), sum[s][c].v[i]);
      }
      sum[s][c] = {};
    }
  }
  Barrier();  // orders the sums of all groups before they are read
  FinishPanel<T, S>(a, work, panel);
}

// Stage `at` of the block's share: multiplies what is there, and asks for what comes after.
template <class T, class S>
UM_DEVICE void TakeStage(const LinearArgs& a, const PanelWork& work, const Shared<T>& ring, SharedTiles<T, S>& tiles,
                         FragC (&sum)[S::kStrips][S::kColumns], int at) {
  if (!kTwoBuffers) LoadStage<T, S>(tiles, a, work, at);
  WaitCopies<S::kRing - 2>();
  Barrier();  // orders this stage's x before its reads, and the last reads of a slot before it is filled again
  if (at + S::kRing - 1 < work.end) FillSlot<T, S>(a, work, ring, at + S::kRing - 1);
  CommitCopies();
  MultiplyStage<T, S>(sum, tiles, ring, (at - work.begin) % S::kRing);
  if (kTwoBuffers && at + 2 < work.end) LoadStage<T, S>(tiles, a, work, at + 2);
}

template <class T, class S>
UM_DEVICE void LinearShared(const LinearArgs& a) {
  const PanelWork work = WorkOf<S>(a);
  Shared<T> ring(0);
  LetNextStart();
  SharedTiles<T, S> even = {}, odd = {};  // weights depend on no other launch
  if (kTwoBuffers) {
    LoadStage<T, S>(even, a, work, work.begin);
    if (work.begin + 1 < work.end) LoadStage<T, S>(odd, a, work, work.begin + 1);
  }
  WaitForPrevious();
#pragma unroll
  for (int i = 0; i < S::kRing - 1; ++i) {
    if (work.begin + i < work.end) FillSlot<T, S>(a, work, ring, work.begin + i);
    CommitCopies();
  }
  FragC sum[S::kStrips][S::kColumns] = {};
  for (int at = work.begin; at < work.end;) {
    const int panel = at / work.stages;
    const int stop = (panel + 1) * work.stages < work.end ? (panel + 1) * work.stages : work.end;
    for (; at + 1 < stop; at += 2) {  // two buffers in turn, as in LinearFlat
      TakeStage<T, S>(a, work, ring, even, sum, at);
      TakeStage<T, S>(a, work, ring, kTwoBuffers ? odd : even, sum, at + 1);
    }
    if (at < stop) {
      TakeStage<T, S>(a, work, ring, even, sum, at++);
      const SharedTiles<T, S> next = odd;
      odd = even;
      even = next;
    }
    FinishShared<T, S>(a, work, sum, panel);
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
