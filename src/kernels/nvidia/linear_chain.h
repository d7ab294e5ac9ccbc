// SPDX-License-Identifier: Apache-2.0
// linear_chain: up to kChainLinks products in one launch, each of what the one before has made, for 1 <= M <= kRows (32
//            or 64) on Hopper. Between two of them may stand a root-mean-square norm: the first leaves its outputs
//            times the norm's weights and their sums of squares, the second divides its own by the root. The last
//            one's outputs may be queries, keys and values, which turn by their positions and go to their pages.
// Who calls: runs of ops Linear, Norm and RopeAndStore, of steps of few rows (kernels/chain.h).
// Work:      that of linear_wflat, link after link in the blocks' one ring: the weights of the next link come while
//            the blocks still wait for its x. A group that ends squares of a panel counts them; one group of a block
//            looks at the counts of all, and finds the factors of the rows.
// Bound:     memory. bytes = sum of N*K*2 + M*(K+N)*2; from L2 also N/128 * M*K*2.
// Launch:    grid at most the multiprocessors, since blocks wait for each other; threads kChainThreads; shared
//            ChainShape::kBytes.
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
  using S = WflatShape<kM>;
  // Stages behind the ring that are brought to L2 while blocks wait for x: measured; more rows of x leave L2 less time.
  static constexpr int kNear = kM == 32 ? 2 : 0;
  // Behind the ring's barriers, for each link: x may be read; its rows' factors are there. Then the factors.
  static constexpr int kReady = S::kBarriers + 16 * S::kStages, kScaled = kReady + 8 * kChainLinks;
  static constexpr int kFactors = kScaled + 8 * kChainLinks;
  static constexpr int kRing = kFactors + kM * 4, kBytes = kRing + 1024 + S::kStages * S::kStage;
};
// Two warpgroups multiply, one copies x. Of the last one two groups idle: it takes whole ones to hand registers over.
static_assert(kChainThreads == 4 * kWarpgroup && kChainHerald * kLanes < kChainThreads);
inline constexpr int kChainTaken = 184, kChainGiven = 72;
inline constexpr int kChainMeeting = 8;  // number of the barrier of all that multiply; MeetRows has those up to it

// The fetching group: weights of all links, as slots become free.
template <class S>
UM_DEVICE void FetchChain(const ChainArgs& a, RingPlace<S> at) {
  for (int l = 0; l < a.links; ++l) {
    const PanelWork work = WorkOf<S>(a.link[l]);
    for (int stage = work.begin; stage < work.end; ++stage) {
      // The ring is full, and nobody empties it until x is there: the memory would rest.
      const int filled = stage + 1 == work.begin + S::kStages ? S::kNear : 0;
      for (int i = 1; l > 0 && i <= filled && stage + i < work.end; ++i) {
        if (Lane() >= S::kStrips) continue;
        const StripPiece piece = PieceOf<S>(a.link[l], work, stage + i, Lane());
        FetchNear(piece.from, piece.tiles * kTileBytes);
      }
      WaitPhase(at.Empty(), at.parity);
      FetchWeights(a.link[l], work, at, stage);
      at.Advance();
    }
  }
}

// Four groups: x of all links, of each as soon as it is whole.
template <class T, class S>
UM_DEVICE void FillChain(const ChainArgs& a, RingPlace<S> at, uint32_t ready) {
  RingPlace<S> arrived = at;
  WaitForPrevious();
  for (int l = 0; l < a.links; ++l) {
    const LinearArgs& link = a.link[l];
    const PanelWork work = WorkOf<S>(link);
    const WflatX<T, S> x(link, work, Thread() % kWarpgroup);
    if (l > 0) WaitPhase(ready + 8 * l, 0);
    FillStages<T, S>(link, work, at, arrived, x, [](int, const RingPlace<S>&) {});
  }
}

// The counts of a link's ended squares, a line for each group number.
UM_DEVICE int* ChainCount(const ChainArgs& a, int link, int group) { return a.done + (link * 8 + group) * kLanes; }

// One group: 1 / root of the mean square of each row of x.
template <class S>
UM_DEVICE void FindFactors(const ChainLink& link) {
  Shared<float> factors(S::kFactors);
#pragma unroll
  for (int i = 0; i < S::kRows / kLanes; ++i) {
    const int row = Lane() + i * kLanes;
    if (row < link.m) factors.Set(row, FactorOf(LoadAgain(link.x_squares + row), link.k, link.eps));
  }
}

// One group: tells the block when a link's outputs are whole, and finds the factors of its rows.
template <class S>
UM_DEVICE void HeraldChain(const ChainArgs& a, uint32_t ready, uint32_t scaled) {
  using Q = Squares<S>;
  constexpr int kLooks = 1 << 24;
  WaitForPrevious();
  for (int l = 1; l < a.links; ++l) {
    const ChainLink& link = a.link[l];
    const int down = (link.m + kSquareColumns - 1) / kSquareColumns - Lane() % Q::kGroupsEach;
    const int squares = down <= 0 ? 0 : (down + Q::kGroupsEach - 1) / Q::kGroupsEach;
    const int wanted = Lane() < S::kGroups ? (a.link[l - 1].n + S::kPanel - 1) / S::kPanel * squares : 0;
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
UM_DEVICE void MultiplyChain(const ChainArgs& a, RingPlace<S> at, uint32_t scaled) {
  RehearseEnd<T, S>(a);
  for (int l = 0; l < a.links; ++l) {
    const ChainLink& link = a.link[l];
    const PanelWork work = WorkOf<S>(link);
    int ended = 0;
    const bool turned = Turns(a, l);
    const auto meet = [turned] { turned ? SomeBarrier(kChainMeeting, S::kMultiplying) : MeetRows<S>(); };
    MultiplyStages<T, S>(work, at, meet, [&](int panel) {
      if (link.x_squares != nullptr) WaitPhase(scaled + 8 * l, 0);
      ended += EndPanel<T, S>(a, l, work, panel);
    });
    GroupSync();  // orders the outputs of all lanes before they are counted
    if (Lane() == 0 && ended > 0 && l + 1 < a.links) AddRelease(ChainCount(a, l, Group()), ended);
  }
}

template <class T, int kM>
UM_DEVICE void LinearChain(const ChainArgs& a) {
  using S = ChainShape<kM>;
  const uint32_t base = SharedOffset(0), barriers = base + S::kBarriers;
  RingPlace<S> at = {barriers, (base + S::kRing + 1023) / 1024 * 1024};
  if (Thread() == 0) {
    for (int s = 0; s < S::kStages; ++s) {
      InitBarrier(barriers + s * 16, kWarpgroup / kLanes + 1);
      InitBarrier(barriers + s * 16 + 8, S::kMultiplying / kLanes);
    }
    for (int l = 0; l < kChainLinks; ++l) {
      InitBarrier(base + S::kReady + 8 * l, 1);
      InitBarrier(base + S::kScaled + 8 * l, 1);
    }
    FenceAsync();
  }
  Barrier();  // orders the barriers before their use
  LetNextStart();
  at.parity = Group() < kChainFiller ? 0 : 1;  // the slots begin empty
  if (Group() < kChainFiller) {
    TakeRegisters<kChainTaken>();
    return MultiplyChain<T, S>(a, at, base + S::kScaled);
  }
  GiveRegisters<kChainGiven>();
  if (Group() < kChainFetcher) return FillChain<T, S>(a, at, base + S::kReady);
  if (Group() == kChainFetcher) return FetchChain<S>(a, at);
  if (Group() == kChainHerald) HeraldChain<S>(a, base + S::kReady, base + S::kScaled);
}

}  // namespace unimax::UM_PORT_NAMESPACE
