// SPDX-License-Identifier: Apache-2.0
// wflat_feed: how x and weights come to the blocks of linear_wflat and linear_chain: the rings and the groups that fill
//            them.
// Who calls: linear_wflat, linear_chain.
// Work:      stages of 128 rows of w by 128 k. Weights by bulk copies of 4 KB, x by copies of 16 bytes.
// Bound:     memory; from L2 also x, N/128 times.
// Launch:    that of linear_wflat or linear_chain.
// Reference: RefLinear. Sum order: none.
// Source:    FlashDecoding++ (arXiv 2311.01282), section 4: double buffering; PTX ISA (mbarrier, cp.async.bulk).
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/linear_parts.h"
#include "kernels/nvidia/port_hopper_words.h"
#include "kernels/wflat_layout.h"

namespace unimax::UM_PORT_NAMESPACE {

template <int kM>
struct WflatShape : WflatLayout<kM> {
  using L = WflatLayout<kM>;
  static constexpr int kStrips = L::kPanel / kTileRows, kStageTiles = L::kStageK / kTileK;
  static constexpr int kParts = 2, kPartK = L::kStageK / kParts, kPart = L::kX / kParts;  // of a stage's x
  static constexpr int kStripBytes = kStageTiles * kTileBytes;
  static constexpr int kMultiplying = 2 * kWarpgroup, kGroups = 8, kCellBytes = 0;
  // Measured. Stages of weights on their way at once: as many as keep the memory busy, since with more some
  // multiprocessors get ahead of the others, which all wait for the last; and fewer of a link that is still without x,
  // as what its blocks then tell each other queues behind them. Stages behind the ring that come to L2 meanwhile.
  static constexpr int kFlying = 3, kFlyingEarly = 1, kNear = 1;
  // Of x: rows between a thread's chunks of 16 bytes, chunks a part, and stages that are copied at once.
  static constexpr int kApart = kWarpgroup / 8, kEach = kM / kApart, kBehind = 2;
};

// Two warpgroups multiply; one copies x, from group kWflatFiller on; a group of the last one fetches weights. It takes
// whole warpgroups to hand registers over.
inline constexpr int kWflatFiller = 2 * kWarpgroup / kLanes, kWflatFetcher = kWflatFiller + kWarpgroup / kLanes;
inline constexpr int kWflatTaken = 200, kWflatGiven = 56;
static_assert(kChainThreads == 4 * kWarpgroup);

// Where a role stands in a ring: barriers from byte kBarriers on, slots from byte kSlot0 behind the border.
template <class S, int kSlots, int kSlotBytes, int kBarriers, int kSlot0>
struct Ring {
  int slot, parity;  // of the barrier that the role waits for
  UM_DEVICE uint32_t Full() const { return SharedOffset(kBarriers) + slot * 16; }
  UM_DEVICE uint32_t Empty() const { return Full() + 8; }
  UM_DEVICE uint32_t Slot() const {
    return (SharedOffset(S::kRings) + 1023) / 1024 * 1024 + kSlot0 + slot * kSlotBytes;
  }
  UM_DEVICE void Advance() {
    if (++slot < kSlots) return;
    slot = 0;
    parity ^= 1;
  }
  UM_DEVICE void Free() {  // by a group that has read the slot
    GroupSync();           // orders all lanes' reads before their one arrival
    if (Lane() == 0) Arrive(Empty());
    Advance();
  }
  UM_DEVICE static void Init(int filling) {
    for (int i = 0; i < kSlots; ++i) {
      const Ring at = {i, 0};
      InitBarrier(at.Full(), filling);
      InitBarrier(at.Empty(), S::kMultiplying / kLanes);
    }
  }
};
template <class S>
using WeightRing = Ring<S, S::kWeightSlots, S::kWeights, S::kWeightBarriers, 0>;
template <class S>
using XRing = Ring<S, S::kXSlots, S::kX, S::kXBarriers, S::kWeightSlots * S::kWeights>;
template <class S>
struct Rings {
  WeightRing<S> w;
  XRing<S> x;
  UM_DEVICE explicit Rings(int parity) : w{0, parity}, x{0, parity} {}
  UM_DEVICE static void Init() {
    WeightRing<S>::Init(1);
    XRing<S>::Init(kWarpgroup / kLanes);
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
UM_DEVICE void FetchWeights(const LinearArgs& a, const PanelWork& work, const WeightRing<S>& at, int stage) {
  if (Lane() == 0) ArriveExpecting(at.Full(), S::kWeights);
  GroupSync();  // orders the expectation before the copies
  if (Lane() >= S::kStrips) return;
  const StripPiece piece = PieceOf<S>(a, work, stage, Lane());
  const uint32_t to = at.Slot() + Lane() * S::kStripBytes;
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

// One warpgroup copies x of a block's stages.
template <class T, class S>
UM_DEVICE void FillStages(const LinearArgs& a, const PanelWork& work, XRing<S>& at, XRing<S>& arrived, WflatX<T, S> x) {
  for (int stage = work.begin; stage < work.end + S::kBehind; ++stage) {
    if (stage < work.end) {
      WaitPhase(at.Empty(), at.parity);
      x.Copy(a, at.Slot());
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

// One group: the weights of a block's stages, as slots become free. `early`: of a link of a chain that is still without
// x, so that ring and registers fill, and nobody empties them: the memory would rest, but for what comes to L2.
template <class S>
UM_DEVICE void FetchStages(const LinearArgs& a, const PanelWork& work, WeightRing<S>& at, WeightRing<S>& arrived,
                           int& flying, bool early) {
  for (int stage = work.begin; stage < work.end; ++stage) {
    const int near = early && stage == work.begin + S::kWeightSlots ? S::kNear : 0;
    for (int i = 1; i <= near && stage + i < work.end; ++i) {
      if (Lane() >= S::kStrips) continue;
      const StripPiece piece = PieceOf<S>(a, work, stage + i, Lane());
      FetchNear(piece.from, piece.tiles * kTileBytes);
    }
    WaitPhase(at.Empty(), at.parity);
    FetchWeights<S>(a, work, at, stage);
    at.Advance();
    const int most = early && stage < work.begin + S::kWeightSlots ? S::kFlyingEarly : S::kFlying;
    for (++flying; flying >= most; --flying) {
      WaitPhase(arrived.Full(), arrived.parity);
      arrived.Advance();
    }
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
