// SPDX-License-Identifier: Apache-2.0
// linear_wflat: y[M, N] = x[M, K] * w[N, K]^T for 1 <= M <= kRows (32 or 64) on Hopper, w in packed tiles.
// Who calls: op Linear when the plan says "wflat32" or "wflat64".
// Work:      panels of 128 weight rows in stages of 128 k, dealt evenly over the blocks (gpu/linear_parts.h). A
//            warpgroup keeps two rings filled: weights by bulk copies of 4 KB, x by copies of 16 bytes. Two
//            warpgroups multiply 64 weight rows each: weights from registers, x from shared memory.
// Bound:     memory. bytes = N*K*2 + M*(K+N)*2; from L2 also N/128 * M*K*2.
// Launch:    grid at most the multiprocessors; threads 384; shared WflatLayout::kBytes.
// Reference: RefLinear. Sum order: k-tiles in turn, that of the instruction within one, then blocks in the order of k.
// Source:    FlashDecoding++ (arXiv 2311.01282), section 4: flat GEMM with double buffering; PTX ISA (wgmma).
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/linear_parts.h"
#include "kernels/nvidia/port_hopper_words.h"
#include "kernels/nvidia/wgmma_weights.h"
#include "kernels/wflat_layout.h"

namespace unimax::UM_PORT_NAMESPACE {

template <int kM>
struct WflatShape : WflatLayout<kM> {
  using L = WflatLayout<kM>;
  static constexpr int kStrips = L::kPanel / kTileRows, kStageTiles = L::kStageK / kTileK;
  static constexpr int kParts = 2, kPartK = L::kStageK / kParts, kPart = L::kX / kParts;  // of a stage's x
  static constexpr int kStripBytes = kStageTiles * kTileBytes;
  static constexpr int kMultiplying = 2 * kWarpgroup, kThreads = kMultiplying + kWarpgroup;
  static constexpr int kGroups = 8, kKGroups = 1, kCellBytes = 0;  // as linear_parts.h wants them
  // Of x: rows between a thread's chunks of 16 bytes, chunks a part, and stages that are copied at once.
  static constexpr int kApart = kWarpgroup / 8, kEach = kM / kApart, kBehind = 2;
};

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

// One warpgroup copies x of a block's stages, `begin(stage)` first of each.
template <class T, class S, class Begin>
UM_DEVICE void FillStages(const LinearArgs& a, const PanelWork& work, XRing<S>& at, XRing<S>& arrived, WflatX<T, S> x,
                          Begin begin) {
  for (int stage = work.begin; stage < work.end + S::kBehind; ++stage) {
    if (stage < work.end) {
      begin(stage);
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

template <class T, class S>
UM_DEVICE void FillRings(const LinearArgs& a, const PanelWork& work, Rings<S> at) {
  const bool copies = Thread() % kWarpgroup < kLanes;  // the warp that fetches weights
  const auto fetch = [&](int stage) {
    WaitPhase(at.w.Empty(), at.w.parity);
    FetchWeights<S>(a, work, at.w, stage);
    at.w.Advance();
  };
  int fetched = work.begin;
  if (copies) {  // weights depend on no other launch
    for (; fetched < work.begin + S::kWeightSlots && fetched < work.end; ++fetched) fetch(fetched);
  }
  const WflatX<T, S> x(a, work, Thread() % kWarpgroup);
  XRing<S> arrived = at.x;
  WaitForPrevious();
  FillStages<T, S>(a, work, at.x, arrived, x, [&](int stage) {
    if (copies && stage >= fetched) fetch(stage);
  });
}

// A strip's weights of a stage as operands.
template <class S>
struct StageWeights {
  Vec16 w[2 * S::kStageTiles];
  UM_DEVICE void Order(WeightWords<S::kStageTiles>& words, const WgmmaWeights& weights) {
    words.Order(w, weights);
#pragma unroll
    for (Vec16& v : w) KeepHere(v);
  }
  UM_DEVICE void Take(WeightRing<S>& at, const WgmmaWeights& weights) {
    WeightWords<S::kStageTiles> words;
    WaitPhase(at.Full(), at.parity);
    words.Load(at.Slot(), weights);
    Order(words, weights);
    at.Free();
  }
};

template <class T, class S>
UM_DEVICE void MultiplyOne(ColumnSums<S::kRows>& sum, XRing<S>& at, const StageWeights<S>& held) {
  WaitPhase(at.Full(), at.parity);
  BeginProducts();
#pragma unroll
  for (int p = 0; p < 2 * S::kStageTiles; ++p) {
    MultiplyColumns<T>(sum, held.w[p], SwizzledMatrix(at.Slot() + p / 4 * S::kPart + p % 4 * 32));
  }
  CommitProducts();
}

// The products of a stage, while the weights of the one behind it come to registers.
template <class T, class S>
UM_DEVICE void MultiplyAndTake(ColumnSums<S::kRows>& sum, Rings<S>& at, const WgmmaWeights& weights,
                               const StageWeights<S>& held, StageWeights<S>& next) {
  WeightWords<S::kStageTiles> words;
  WaitPhase(at.w.Full(), at.w.parity);
  words.Load(at.w.Slot(), weights);
  MultiplyOne<T, S>(sum, at.x, held);
  next.Order(words, weights);
  at.w.Free();
  WaitProducts<0>();
  at.x.Free();
}
template <class T, class S>
UM_DEVICE void MultiplyLast(ColumnSums<S::kRows>& sum, Rings<S>& at, const StageWeights<S>& held) {
  MultiplyOne<T, S>(sum, at.x, held);
  WaitProducts<0>();
  at.x.Free();
}

// Where the run ends, or the panel with a stage of it.
UM_DEVICE int EndOfPanel(const PanelWork& work, int stage) {
  const int end = (stage / work.stages + 1) * work.stages;
  return end < work.end ? end : work.end;
}

// Two warpgroups multiply a block's stages. `plan(panel)` comes before the first one of a panel. After the last one its
// sums lie in the cells, `meet()` orders that among the groups that read them, and `end(what was planned)` takes them.
template <class T, class S, class Meet, class Plan, class End>
UM_DEVICE void MultiplyStages(const PanelWork& work, Rings<S>& at, Meet meet, Plan plan, End end) {
  Shared<float> cells(S::kCellBytes);
  ColumnSums<S::kRows> sum = {};
  const WgmmaWeights weights = WeightsOf<0, 0, S::kStageTiles>(Thread());
  const int cell = Lane() % 4 * 2 * S::kCellPitch + Group() * kTileRows + Lane() / 4;
  for (int stage = work.begin; stage < work.end;) {
    const int last = EndOfPanel(work, stage);
    const auto planned = plan(stage / work.stages);
    StageWeights<S> even, odd;
    even.Take(at.w, weights);
    for (; stage + 2 < last; stage += 2) {
      MultiplyAndTake<T, S>(sum, at, weights, even, odd);
      MultiplyAndTake<T, S>(sum, at, weights, odd, even);
    }
    if (stage + 1 < last) {
      MultiplyAndTake<T, S>(sum, at, weights, even, odd);
      MultiplyLast<T, S>(sum, at, odd);
    } else {
      MultiplyLast<T, S>(sum, at, even);
    }
    stage = last;
    meet();  // orders the last reads of these rows' cells before they are written again
#pragma unroll
    for (int i = 0; i < S::kRows / 2; ++i) {
      cells.Set(cell + (i / 4 * 8 + i % 2) * S::kCellPitch + i % 4 / 2 * 8, sum.v[i]);
    }
    meet();  // orders the sums before they are read
    end(planned);
    sum = {};
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
  if (Thread() == 0) {
    Rings<S>::Init();
    FenceAsync();
  }
  Barrier();  // orders the barriers before their use
  LetNextStart();
  const PanelWork work = WorkOf<S>(a);
  const bool multiplies = Thread() < S::kMultiplying;
  Rings<S> at(multiplies ? 0 : 1);  // the slots begin empty
  if (multiplies) {
    const auto end = [&](int panel) { FinishPanel<T, S>(a, work, panel); };
    MultiplyStages<T, S>(
        work, at, MeetRows<S>, [](int panel) { return panel; }, end);
  } else {
    FillRings<T, S>(a, work, at);
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
