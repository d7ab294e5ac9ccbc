// SPDX-License-Identifier: Apache-2.0
// linear_shared: y[M, N] = x[M, K] * w[N, K]^T for 1 <= M <= kRows (16 to 64 sequences), w in packed tiles.
// Who calls: op Linear when the plan says "shared32" or "shared64".
// Work:      w is cut into panels of 64 or 128 rows and these along K into stages of 32 KB. All stages of all panels,
// in
//            order, are dealt evenly over the blocks. The groups of a block share x through shared memory, so that it
//            is read once a panel, not once for each 32 rows of w. A panel that several blocks have part of is added up
//            by the last of them to finish.
// Bound:     memory. bytes = N*K*2 + M*(K+N)*2; from L2 also N/panel * M*K*2.
// Launch:    grid the multiprocessors, at most panels * stages; threads 8 * kLanes; shared SharedShape::kBytes.
// Reference: RefLinear. Sum order: k-tiles of a group in turn, groups in turn, then blocks in the order of their k.
// Source:    FlashDecoding++ (arXiv 2311.01282), section 4; an even deal of the stages: Stream-K (arXiv 2301.03598).
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/linear_flat.h"
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
  static constexpr int kFlag = kCellBytes + kKGroups * kCells * 4;
  static constexpr int kBytes = kFlag + 16;
  static constexpr int kPartial = kRows * kPanel;  // floats of a panel's unfinished sums
};

// What a block does: stages begin .. end - 1 of all of them, panel by panel.
struct SharedWork {
  int stages, total, begin, end;  // stages: of a panel
};
template <class S>
UM_DEVICE SharedWork WorkOf(const LinearArgs& a) {
  SharedWork work;
  work.stages = (a.k + S::kStageK - 1) / S::kStageK;
  work.total = (a.n + S::kPanel - 1) / S::kPanel * work.stages;
  work.begin = static_cast<int>(static_cast<int64_t>(BlockX()) * work.total / GridX());
  work.end = static_cast<int>(static_cast<int64_t>(BlockX() + 1) * work.total / GridX());
  return work;
}
// The block that has stage `at`, and the first of its stages.
UM_DEVICE int OwnerOf(const SharedWork& work, int at) {
  return static_cast<int>(((static_cast<int64_t>(at) + 1) * GridX() - 1) / work.total);
}
UM_DEVICE int BeginOf(const SharedWork& work, int block) {
  return static_cast<int>(static_cast<int64_t>(block) * work.total / GridX());
}

// The group's weights of one stage.
template <class T, class S>
struct SharedTiles {
  FragA<T> a[S::kTilesEach][S::kStrips];
};
// What lies beyond N repeats the last strip, whose sums nobody stores; beyond K the last tile, which meets zeros in x.
template <class T, class S>
UM_DEVICE void LoadStage(SharedTiles<T, S>& t, const LinearArgs& a, const SharedWork& work, int at) {
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
UM_DEVICE void FillSlot(const LinearArgs& a, const SharedWork& work, const Shared<T>& ring, int at) {
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

// Ends a panel's outputs: `add(x row, weight row in the panel, sums)` gives kBatch rows of x that stand `apart`.
inline constexpr int kSharedBatch = 8;
template <class T, class S, bool kGated, class Add>
UM_DEVICE void StoreShared(const LinearArgs& a, int panel, Add add) {
  constexpr int kOutputs = kGated ? S::kPanel / 2 : S::kPanel;
  const int column = Thread() % kOutputs, apart = BlockThreads() / kOutputs;
  const int in_panel = kGated ? column / kTileRows * 2 * kTileRows + column % kTileRows : column;
  const int n = panel * kOutputs + column;
  if (n >= (kGated ? a.n / 2 : a.n)) return;
  for (int first = Thread() / kOutputs; first < a.m; first += kSharedBatch * apart) {
    LinearOutputs<kSharedBatch> out;
#pragma unroll
    for (int i = 0; i < kSharedBatch; ++i) {
      out.row[i] = first + i * apart < a.m ? first + i * apart : -1;
      out.n[i] = n;
      out.sum[i] = 0;
    }
    add(out.row, in_panel, out.sum);
    if (kGated) {
      float up[kSharedBatch] = {};
      add(out.row, in_panel + kTileRows, up);
      FinishGated<T>(a, out, up);
    } else {
      FinishLinear<T>(a, out);
    }
  }
}

// Leaves this block's part of a panel; true in the block that was the last to do so, which may read all parts then.
template <class S>
UM_DEVICE bool LeavePart(const LinearArgs& a, const SharedWork& work, const Shared<float>& cells, int panel,
                         int parts) {
  const int slot = BlockX() * 2 + (panel == work.begin / work.stages ? 0 : 1);
  float* to = a.partial + static_cast<int64_t>(slot) * S::kPartial;
  for (int i = Thread(); i < a.m * S::kPanel; i += BlockThreads()) {
    const int at = i / S::kPanel * S::kCellPitch + i % S::kPanel;
    float total = 0;
#pragma unroll
    for (int g = 0; g < S::kKGroups; ++g) total += cells.Get(g * S::kCells + at);
    to[i] = total;
  }
  Shared<int> last(S::kFlag);
  Barrier();  // orders this block's part before its count
  if (Thread() == 0) {
    const int before = AtomicAdd(a.counters + panel, 1);
    last.Set(0, before == parts - 1);
    if (before == parts - 1) a.counters[panel] = 0;
  }
  Barrier();  // orders `last` before it is read, and all parts before they are
  return last.Get(0) != 0;
}

// After the block's last stage of a panel: the sums of its groups, then of its blocks.
template <class T, class S>
UM_DEVICE void FinishPanel(const LinearArgs& a, const SharedWork& work, FragC (&sum)[S::kStrips][S::kColumns],
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
  const int first = OwnerOf(work, panel * work.stages),
            parts = OwnerOf(work, (panel + 1) * work.stages - 1) - first + 1;
  const auto of_groups = [&](const int(&rows)[kSharedBatch], int n, float(&total)[kSharedBatch]) {
#pragma unroll
    for (int i = 0; i < kSharedBatch; ++i) {
      for (int g = 0; g < S::kKGroups && rows[i] >= 0; ++g) {
        total[i] += cells.Get(g * S::kCells + rows[i] * S::kCellPitch + n);
      }
    }
  };
  const auto of_blocks = [&](const int(&rows)[kSharedBatch], int n, float(&total)[kSharedBatch]) {
    for (int block = first; block < first + parts; ++block) {
      const int slot = block * 2 + (panel == BeginOf(work, block) / work.stages ? 0 : 1);
      const float* part = a.partial + static_cast<int64_t>(slot) * S::kPartial + n;
#pragma unroll
      for (int i = 0; i < kSharedBatch; ++i) total[i] += rows[i] >= 0 ? part[rows[i] * S::kPanel] : 0.0f;
    }
  };
  const bool gated = a.flags & kLinearActMul;
  if (parts > 1) {
    if (!LeavePart<S>(a, work, cells, panel, parts)) return;
    gated ? StoreShared<T, S, true>(a, panel, of_blocks) : StoreShared<T, S, false>(a, panel, of_blocks);
  } else {
    gated ? StoreShared<T, S, true>(a, panel, of_groups) : StoreShared<T, S, false>(a, panel, of_groups);
  }
}

template <class T, class S>
UM_DEVICE void LinearShared(const LinearArgs& a) {
  const SharedWork work = WorkOf<S>(a);
  Shared<T> ring(0);
  LetNextStart();
  SharedTiles<T, S> even, odd;  // weights depend on no other launch
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
  const auto stage = [&](SharedTiles<T, S>& tiles, int at) {
    if (!kTwoBuffers) LoadStage<T, S>(tiles, a, work, at);
    WaitCopies<S::kRing - 2>();
    Barrier();  // orders this stage's x before its reads, and the last reads of a slot before it is filled again
    if (at + S::kRing - 1 < work.end) FillSlot<T, S>(a, work, ring, at + S::kRing - 1);
    CommitCopies();
    MultiplyStage<T, S>(sum, tiles, ring, (at - work.begin) % S::kRing);
    if (kTwoBuffers && at + 2 < work.end) LoadStage<T, S>(tiles, a, work, at + 2);
    if ((at + 1) % work.stages == 0 || at + 1 == work.end) FinishPanel<T, S>(a, work, sum, at / work.stages);
  };
  for (int at = work.begin; at < work.end; at += 2) {  // two buffers in turn, as in LinearFlat
    stage(even, at);
    if (at + 1 < work.end) stage(kTwoBuffers ? odd : even, at + 1);
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
