// SPDX-License-Identifier: Apache-2.0
// linear_wflat: y[M, N] = x[M, K] * w[N, K]^T for 1 <= M <= kRows (16, 32 or 64) on Hopper, w in packed tiles.
// Who calls: op Linear when the plan says "wflat16", "wflat32" or "wflat64".
// Work:      panels of 128 weight rows in stages of 128 k, dealt evenly over the blocks (gpu/linear_parts.h). A
//            warpgroup and a group keep two rings filled: x by copies of 16 bytes, weights by bulk copies of 4 KB. Two
//            warpgroups multiply 64 weight rows each: weights from registers, x from shared memory.
// Bound:     memory. bytes = N*K*2 + M*(K+N)*2; from L2 also N/128 * M*K*2.
// Launch:    grid at most the multiprocessors; threads kChainThreads; shared WflatLayout::kBytes.
// Reference: RefLinear. Sum order: k-tiles in turn, that of the instruction within one, then blocks in the order of k.
// Source:    FlashDecoding++ (arXiv 2311.01282), section 4: flat GEMM with double buffering; PTX ISA (wgmma).
#pragma once

#include "kernels/nvidia/wflat_ends.h"
#include "kernels/nvidia/wflat_feed.h"
#include "kernels/nvidia/wgmma_weights.h"

namespace unimax::UM_PORT_NAMESPACE {

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
  SomeBarrier(1 + Group() / Pieces<S>::kGroupsEach, Pieces<S>::kGroupsEach * kLanes);
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
  Rings<S> at(Group() < kWflatFiller ? 0 : 1);  // the slots begin empty
  if (Group() < kWflatFiller) {
    TakeRegisters<kWflatTaken>();
    const auto plan = [&](int panel) { return PanelEnd<S>(a, work, panel); };
    const auto end = [&](const PanelEnd<S>& planned) { planned.template Run<T>(a, FormOf(a), nullptr); };
    return MultiplyStages<T, S>(work, at, MeetRows<S>, plan, end);
  }
  GiveRegisters<kWflatGiven>();
  if (Group() == kWflatFetcher) {
    WeightRing<S> arrived = {0, 0};
    int flying = 0;
    return FetchStages<S>(a, work, at.w, arrived, flying, false);
  }
  if (Group() > kWflatFetcher) return;
  const WflatX<T, S> x(a, work, Thread() % kWarpgroup);
  XRing<S> arrived = at.x;
  WaitForPrevious();
  FillStages<T, S>(a, work, at.x, arrived, x);
}

}  // namespace unimax::UM_PORT_NAMESPACE
