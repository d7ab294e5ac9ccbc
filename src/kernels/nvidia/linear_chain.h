// SPDX-License-Identifier: Apache-2.0
// linear_chain: up to kChainLinks products in one launch, each of what the one before has made, for 1 <= M <= kRows
//            (16, 32 or 64) on Hopper. Between two of them may stand a root-mean-square norm: the first leaves its
//            outputs times the norm's weights and their sums of squares, the second divides its own by the root. The
//            last one's outputs may be queries, keys and values, which turn by their positions and go to their pages.
// Who calls: runs of ops Linear, Norm and RopeAndStore, of steps of few rows (kernels/chain.h).
// Work:      that of linear_wflat, link after link in the blocks' rings: the weights of the next link come while the
//            blocks still wait for its x. A group that ends pieces of a panel counts them; one group of a block
//            looks at the counts of all, and finds the factors of the rows.
// Bound:     memory. bytes = sum of N*K*2 + M*(K+N)*2; from L2 also N/128 * M*K*2.
// Launch:    grid at most the multiprocessors, since blocks wait for each other; threads kChainThreads; shared
//            WflatLayout::kBytes.
// Reference: RefLinear, RefNorm, RefRope. Sum order: that of linear_wflat; squares in whole numbers.
// Source:    FlashDecoding++ (arXiv 2311.01282), section 4.
#pragma once

#include "kernels/nvidia/linear_chain_ends.h"
#include "kernels/nvidia/linear_wflat.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kChainFiller = 2 * kWarpgroup / kLanes;  // the first group that copies x: four of them
inline constexpr int kChainFetcher = kChainFiller + kWarpgroup / kLanes, kChainHerald = kChainFetcher + 1;

template <int kM>
struct ChainShape : WflatShape<kM> {
  // Measured. Stages on their way at once: as many as keep the memory busy, since with more some multiprocessors get
  // ahead of the others, which all wait for the last; and fewer of a link that is still without x, as what its blocks
  // then tell each other queues behind them. Stages behind the ring that come to L2 while x is awaited.
  static constexpr int kFlying = 3, kFlyingEarly = 1, kNear = 1;
};
// Two warpgroups multiply, one copies x. Of the last one two groups idle: it takes whole ones to hand registers over.
static_assert(kChainThreads == 4 * kWarpgroup && kChainHerald * kLanes < kChainThreads);
inline constexpr int kChainTaken = 200, kChainGiven = 56;
inline constexpr int kChainMeeting = 8;  // number of the barrier of all that multiply; MeetRows has those up to it

// The fetching group: weights of all links, as slots become free.
template <class S>
UM_DEVICE void FetchChain(const ChainArgs& a, WeightRing<S> at) {
  WeightRing<S> arrived = {0, 0};
  int flying = 0;
  for (int l = 0; l < a.links; ++l) {
    const PanelWork work = WorkOf<S>(a.link[l]);
    for (int stage = work.begin; stage < work.end; ++stage) {
      // Ring and registers are full, and nobody empties them until x is there: the memory would rest.
      const int near = l > 0 && stage == work.begin + S::kWeightSlots ? S::kNear : 0;
      for (int i = 1; i <= near && stage + i < work.end; ++i) {
        if (Lane() >= S::kStrips) continue;
        const StripPiece piece = PieceOf<S>(a.link[l], work, stage + i, Lane());
        FetchNear(piece.from, piece.tiles * kTileBytes);
      }
      WaitPhase(at.Empty(), at.parity);
      FetchWeights<S>(a.link[l], work, at, stage);
      at.Advance();
      const int most = l > 0 && stage < work.begin + S::kWeightSlots ? S::kFlyingEarly : S::kFlying;
      for (++flying; flying >= most; --flying) {
        WaitPhase(arrived.Full(), arrived.parity);
        arrived.Advance();
      }
    }
  }
}

// Four groups: x of all links, of each as soon as it is whole.
template <class T, class S>
UM_DEVICE void FillChain(const ChainArgs& a, XRing<S> at, uint32_t ready) {
  XRing<S> arrived = at;
  WaitForPrevious();
  for (int l = 0; l < a.links; ++l) {
    const LinearArgs& link = a.link[l];
    const PanelWork work = WorkOf<S>(link);
    const WflatX<T, S> x(link, work, Thread() % kWarpgroup);
    if (l > 0) WaitPhase(ready + 8 * l, 0);
    FillStages<T, S>(link, work, at, arrived, x, [](int) {});
  }
}

// The counts of a link's ended pieces, a line for each group number.
UM_DEVICE int* ChainCount(const ChainArgs& a, int link, int group) { return a.done + (link * 8 + group) * kLanes; }

// One group: 1 / root of the mean square of each row of x.
template <class S>
UM_DEVICE void FindFactors(const ChainLink& link) {
  Shared<float> factors(S::kFactors);
#pragma unroll
  for (int i = 0; i < S::kRows; i += kLanes) {
    const int row = Lane() + i;
    if (row < link.m) factors.Set(row, FactorOf(LoadAgain(link.x_squares + row), link.k, link.eps));
  }
}

// One group: tells the block when a link's outputs are whole, and finds the factors of its rows.
template <class S>
UM_DEVICE void HeraldChain(const ChainArgs& a, uint32_t ready, uint32_t scaled) {
  constexpr int kLooks = 1 << 24;
  WaitForPrevious();
  for (int l = 1; l < a.links; ++l) {
    const ChainLink& link = a.link[l];
    const int panels = (a.link[l - 1].n + S::kPanel - 1) / S::kPanel;
    const int wanted = Lane() < S::kGroups ? panels * Pieces<S>(link.m, Lane()).count : 0;
    int looks = 0;
    while (wanted > 0 && LoadAcquire(ChainCount(a, l - 1, Lane())) < wanted) {
      if (++looks == kLooks) Fail();
      Pause();
    }
    GroupSync();  // orders what each lane has seen before it is told
    if (Lane() == 0) Arrive(ready + 8 * l);
    if (link.x_squares == nullptr) continue;
    FindFactors<S>(link);
    GroupSync();  // orders the factors before they are told
    if (Lane() == 0) Arrive(scaled + 8 * l);
  }
  // All blocks have seen all counts and factors: the last one clears them for the next launch.
  const int left = Lane() == 0 ? AtomicAdd(a.done + kChainLinks * 8 * kLanes, 1) : 0;
  if (Shuffle(left, 0) != GridX() - 1) return;
  a.done[Lane() * kLanes] = 0;
  for (int i = Lane(); i < kChainLinks * kChainRows; i += kLanes) a.squares[i] = 0;
  if (Lane() == 0) a.done[kChainLinks * 8 * kLanes] = 0;
}

template <class T, class S>
UM_DEVICE void MultiplyChain(const ChainArgs& a, Rings<S> at, uint32_t scaled) {
  for (int l = 0; l < a.links; ++l) {
    const ChainLink& link = a.link[l];
    const PanelWork work = WorkOf<S>(link);
    const bool turned = Turns(a, l);
    int ended = 0;
    const auto meet = [turned] { turned ? SomeBarrier(kChainMeeting, S::kMultiplying) : MeetRows<S>(); };
    const auto plan = [&](int panel) { return PanelEnd<S>(a, l, work, panel); };
    MultiplyStages<T, S>(work, at, meet, plan, [&](const PanelEnd<S>& end) {
      if (link.x_squares != nullptr) WaitPhase(scaled + 8 * l, 0);
      ended += end.template Run<T>(a, l);
    });
    GroupSync();  // orders the outputs of all lanes before they are counted
    if (Lane() == 0 && ended > 0 && l + 1 < a.links) AddRelease(ChainCount(a, l, Group()), ended);
  }
}

template <class T, int kM>
UM_DEVICE void LinearChain(const ChainArgs& a) {
  using S = ChainShape<kM>;
  const uint32_t ready = SharedOffset(S::kReady), scaled = SharedOffset(S::kScaled);
  if (Thread() == 0) {
    Rings<S>::Init();
    for (int l = 0; l < kChainLinks; ++l) {
      InitBarrier(ready + 8 * l, 1);
      InitBarrier(scaled + 8 * l, 1);
    }
    FenceAsync();
  }
  Barrier();  // orders the barriers before their use
  LetNextStart();
  const Rings<S> at(Group() < kChainFiller ? 0 : 1);  // the slots begin empty
  if (Group() < kChainFiller) {
    TakeRegisters<kChainTaken>();
    return MultiplyChain<T, S>(a, at, scaled);
  }
  GiveRegisters<kChainGiven>();
  if (Group() < kChainFetcher) return FillChain<T, S>(a, at.x, ready);
  if (Group() == kChainFetcher) return FetchChain<S>(a, at.w);
  if (Group() == kChainHerald) HeraldChain<S>(a, ready, scaled);
}

}  // namespace unimax::UM_PORT_NAMESPACE
