// SPDX-License-Identifier: Apache-2.0
// linear_wflat: y[M, N] = x[M, K] * w[N, K]^T for 1 <= M <= kRows (32 or 64) on Hopper, w in packed tiles.
// Who calls: op Linear when the plan says "wflat32" or "wflat64".
// Work:      panels of 128 weight rows in stages of 128 k, dealt evenly over the blocks (gpu/linear_parts.h). A
//            warpgroup keeps a ring of stages filled: weights by bulk copies of 4 KB, x by copies of 16 bytes. Two
//            warpgroups multiply 64 weight rows each: weights from registers, x from shared memory.
// Bound:     memory. bytes = N*K*2 + M*(K+N)*2; from L2 also N/128 * M*K*2.
// Launch:    grid at most the multiprocessors; threads 384; shared WflatShape::kBytes.
// Reference: RefLinear. Sum order: k-tiles in turn, that of the instruction within one, then blocks in the order of k.
// Source:    FlashDecoding++ (arXiv 2311.01282), section 4: flat GEMM with double buffering; PTX ISA (wgmma).
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/linear_parts.h"
#include "kernels/nvidia/port_hopper_words.h"
#include "kernels/nvidia/wgmma_weights.h"

namespace unimax::UM_PORT_NAMESPACE {

template <int kM>
struct WflatShape {
  static constexpr int kRows = kM, kPanel = 128, kStrips = kPanel / kTileRows;
  static constexpr int kParts = 2, kPartK = 64, kPart = kRows * kPartK * 2;  // of a stage's x
  static constexpr int kStageK = kParts * kPartK, kStageTiles = kStageK / kTileK;
  static constexpr int kStripBytes = kStageTiles * kTileBytes, kWeights = kStrips * kStripBytes;
  static constexpr int kStage = kWeights + kParts * kPart, kStages = kRows == 32 ? 5 : 4;
  static constexpr int kMultiplying = 2 * kWarpgroup, kThreads = kMultiplying + kWarpgroup;
  // The panel's sums, as linear_parts.h wants them; then the barriers, then the ring on a border of 1,024 bytes.
  static constexpr int kGroups = 8, kKGroups = 1, kCellPitch = kPanel + 4, kCells = kRows * kCellPitch, kCellBytes = 0;
  static constexpr int kBarriers = kCells * 4;
  static constexpr int kBytes = kBarriers + 16 * kStages + 1024 + kStages * kStage;
  // Of x: rows between a thread's chunks of 16 bytes, chunks a part, and stages that are copied at once.
  static constexpr int kApart = kWarpgroup / 8, kEach = kRows / kApart, kBehind = 2;
};

// Where a role stands in the ring.
template <class S>
struct RingPlace {
  uint32_t barriers, ring;
  int slot = 0, parity = 0;  // of the barrier that the role waits for
  UM_DEVICE uint32_t Full() const { return barriers + slot * 16; }
  UM_DEVICE uint32_t Empty() const { return Full() + 8; }
  UM_DEVICE uint32_t Stage() const { return ring + slot * S::kStage; }
  UM_DEVICE void Advance() {
    if (++slot < S::kStages) return;
    slot = 0;
    parity ^= 1;
  }
};

// A strip's part of a stage. What lies beyond N repeats the last strip, whose sums nobody stores.
struct StripPiece {
  const char* from;
  int tiles;  // of a stage's, those that lie within K
};
template <class S>
UM_DEVICE StripPiece PieceOf(const LinearArgs& a, const PanelWork& work, int stage, int number) {
  const int tiles = (a.k + kTileK - 1) / kTileK, strips = (a.n + kTileRows - 1) / kTileRows;
  const int wanted = stage / work.stages * S::kStrips + number, strip = wanted < strips ? wanted : strips - 1;
  const int tile = stage % work.stages * S::kStageTiles;
  return {static_cast<const char*>(a.w) + (static_cast<int64_t>(strip) * tiles + tile) * kTileBytes,
          tiles - tile < S::kStageTiles ? tiles - tile : S::kStageTiles};
}

// By one warp, a lane a strip. Beyond K a tile before is repeated, which meets zeros in x.
template <class S>
UM_DEVICE void FetchWeights(const LinearArgs& a, const PanelWork& work, const RingPlace<S>& at, int stage) {
  if (Lane() == 0) ArriveExpecting(at.Full(), S::kWeights);
  GroupSync();  // orders the expectation before the copies
  if (Lane() >= S::kStrips) return;
  const StripPiece piece = PieceOf<S>(a, work, stage, Lane());
  const uint32_t to = at.Stage() + Lane() * S::kStripBytes;
  BulkCopyOnce(to, piece.from, piece.tiles * kTileBytes, at.Full());
  for (int t = piece.tiles; t < S::kStageTiles; ++t) {
    BulkCopyOnce(to + t * kTileBytes, piece.from, kTileBytes, at.Full());
  }
}

// One warpgroup's x, by chunks of 16 bytes: 8 a row and part.
template <class T, class S>
struct WflatX {
  const T* x;      // this thread's first row
  int64_t apart;   // elements between its rows
  int rows;        // of x from its first one on
  int k, first_k;  // of its first chunk: in the part that is copied next, in a panel's first part
  int panel_k;     // of a panel's stages
  uint32_t chunk;  // where its first chunk goes in a part

  UM_DEVICE WflatX(const LinearArgs& a, const PanelWork& work, int thread) {
    const int row = thread / 8;
    x = static_cast<const T*>(a.x) + static_cast<int64_t>(row) * a.x_stride;
    apart = static_cast<int64_t>(a.x_stride) * S::kApart;
    rows = a.m - row;
    first_k = thread % 8 * 8;
    panel_k = work.stages * S::kStageK;
    k = work.begin % work.stages * S::kStageK + first_k;
    chunk = row * 128 + ((thread % 8) ^ (row % 8)) * 16;
  }
  // Begins to copy a stage, in one batch; what lies outside the matrix becomes zero.
  UM_DEVICE void Copy(const LinearArgs& a, uint32_t to) {
#pragma unroll
    for (int p = 0; p < S::kParts; ++p) {
#pragma unroll
      for (int i = 0; i < S::kEach; ++i) {
        const bool take = k < a.k && i * S::kApart < rows;
        CopyShared16(to + p * S::kPart + i * S::kApart * 128 + chunk, take ? x + i * apart + k : x, take);
      }
      k += S::kPartK;
    }
    if (k >= panel_k) k = first_k;
  }
};

// One warpgroup copies x of a block's stages, `freed(stage, at)` first when a slot has become free.
template <class T, class S, class Freed>
UM_DEVICE void FillStages(const LinearArgs& a, const PanelWork& work, RingPlace<S>& at, RingPlace<S>& arrived,
                          WflatX<T, S> x, Freed freed) {
  for (int stage = work.begin; stage < work.end + S::kBehind; ++stage) {
    if (stage < work.end) {
      WaitPhase(at.Empty(), at.parity);
      freed(stage, at);
      x.Copy(a, at.Stage() + S::kWeights);
      at.Advance();
    }
    CommitCopies();
    if (stage < work.begin + S::kBehind) continue;
    WaitCopies<S::kBehind>();
    FenceAsync();
    GroupSync();  // orders all lanes' copies before their one arrival
    if (Lane() == 0) Arrive(arrived.Full());
    arrived.Advance();
  }
}

template <class T, class S>
UM_DEVICE void FillRing(const LinearArgs& a, const PanelWork& work, RingPlace<S> at) {
  const bool copies = Thread() % kWarpgroup < kLanes;  // the warp that fetches weights
  if (copies) {                                        // weights depend on no other launch
    RingPlace<S> place = at;
    for (int i = 0; i < S::kStages && work.begin + i < work.end; ++i) {
      FetchWeights(a, work, place, work.begin + i);
      place.Advance();
    }
  }
  const WflatX<T, S> x(a, work, Thread() % kWarpgroup);
  RingPlace<S> arrived = at;
  WaitForPrevious();
  FillStages<T, S>(a, work, at, arrived, x, [&](int stage, const RingPlace<S>& slot) {
    if (copies && stage >= work.begin + S::kStages) FetchWeights(a, work, slot, stage);
  });
}

// Two warpgroups multiply a block's stages. After the last one of a panel its sums lie in the cells, `meet()` orders
// that among the groups that read them, and `end(panel)` takes them.
template <class T, class S, class Meet, class End>
UM_DEVICE void MultiplyStages(const PanelWork& work, RingPlace<S>& at, Meet meet, End end) {
  constexpr int kProducts = 2 * S::kStageTiles;
  Shared<float> cells(S::kCellBytes);
  ColumnSums<S::kRows> sum = {};
  const WgmmaWeights weights = WeightsOf<0, 0, S::kStageTiles>(Thread());
  const int cell = Lane() % 4 * 2 * S::kCellPitch + Group() * kTileRows + Lane() / 4;
  for (int stage = work.begin; stage < work.end; ++stage) {
    WaitPhase(at.Full(), at.parity);
    Vec16 w[kProducts];
    LoadWeights<S::kStageTiles>(w, at.Stage(), weights);
    BeginProducts();
#pragma unroll
    for (int p = 0; p < kProducts; ++p) {
      MultiplyColumns<T>(sum, w[p], SwizzledMatrix(at.Stage() + S::kWeights + p / 4 * S::kPart + p % 4 * 32));
    }
    CommitProducts();
    WaitProducts<0>();
    GroupSync();  // orders all lanes' reads before their one arrival
    if (Lane() == 0) Arrive(at.Empty());
    at.Advance();
    if ((stage + 1) % work.stages != 0 && stage + 1 < work.end) continue;
    meet();  // orders the last reads of these rows' cells before they are written again
#pragma unroll
    for (int i = 0; i < S::kRows / 2; ++i) {
      cells.Set(cell + (i / 4 * 8 + i % 2) * S::kCellPitch + i % 4 / 2 * 8, sum.v[i]);
      sum.v[i] = 0;
    }
    meet();  // orders the sums before they are read
    end(stage / work.stages);
  }
}

// Groups that have the same rows of w.
template <class S>
UM_DEVICE void MeetRows() {
  SomeBarrier(1 + Group() / Squares<S>::kGroupsEach, Squares<S>::kGroupsEach * kLanes);
}

template <class T, int kM>
UM_DEVICE void LinearWflat(const LinearArgs& a) {
  using S = WflatShape<kM>;
  const uint32_t barriers = SharedOffset(S::kBarriers);
  RingPlace<S> at = {barriers, (barriers + 16 * S::kStages + 1023) / 1024 * 1024};
  if (Thread() == 0) {
    for (int s = 0; s < S::kStages; ++s) {
      InitBarrier(barriers + s * 16, kWarpgroup / kLanes + 1);  // the copying warp arrives twice
      InitBarrier(barriers + s * 16 + 8, S::kMultiplying / kLanes);
    }
    FenceAsync();
  }
  Barrier();  // orders the barriers before their use
  LetNextStart();
  const PanelWork work = WorkOf<S>(a);
  at.parity = Thread() < S::kMultiplying ? 0 : 1;  // the slots begin empty
  if (Thread() < S::kMultiplying) {
    MultiplyStages<T, S>(work, at, MeetRows<S>, [&](int panel) { FinishPanel<T, S>(a, work, panel); });
  } else {
    FillRing<T, S>(a, work, at);
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
