// SPDX-License-Identifier: Apache-2.0
// linear_chain: up to kChainLinks products in one launch, each of what the one before has made, for 1 <= M <= kRows
//            (16, 32 or 64) on Hopper. Between two of them may stand a norm: the first leaves its outputs times the
//            norm's weights, and their sums and sums of squares; the second makes up for the mean and divides by the
//            root. The last one's outputs may be queries, keys and values, which turn and go to their pages.
// Who calls: runs of ops Linear, Norm and RopeAndStore, of steps of few rows (kernels/chain.h).
// Work:      that of linear_wflat, link after link in the blocks' rings: the weights of the next link come while the
//            blocks still wait for its x. A group that ends pieces of a panel counts them; one group of a block
//            looks at the counts of all, and finds the factors of the rows.
// Bound:     memory. bytes = sum of N*K*2 + M*(K+N)*2; from L2 also N/128 * M*K*2.
// Launch:    grid at most the multiprocessors, since blocks wait for each other; threads kChainThreads; shared
//            WflatLayout::kBytes.
// Reference: RefLinear, RefNorm, RefRope. Sum order: that of linear_wflat; sums of norms in whole numbers.
// Source:    FlashDecoding++ (arXiv 2311.01282), section 4.
#pragma once

#include "kernels/nvidia/linear_wflat.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kChainHerald = kWflatFetcher + 1;
static_assert(kChainHerald * kLanes < kChainThreads);
inline constexpr int kChainMeeting = 8;  // number of the barrier of all that multiply; MeetRows has those up to it

UM_DEVICE bool Turns(const ChainArgs& a, int link) { return a.rope.q != nullptr && link + 1 == a.links; }

// The fetching group: weights of all links.
template <class S>
UM_DEVICE void FetchChain(const ChainArgs& a, WeightRing<S> at) {
  WeightRing<S> arrived = {0, 0};
  int flying = 0;
  for (int l = 0; l < a.links; ++l) FetchStages<S>(a.link[l], WorkOf<S>(a.link[l]), at, arrived, flying, l > 0);
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
    FillStages<T, S>(link, work, at, arrived, x);
  }
}

// The counts of a link's ended pieces, a line for each group number.
UM_DEVICE int* ChainCount(const ChainArgs& a, int link, int group) { return a.done + (link * 8 + group) * kLanes; }

// One group: what makes up for the norm of each row of x.
template <class S>
UM_DEVICE void FindFactors(const ChainLink& link) {
  Shared<float> factors(S::kFactors);
#pragma unroll
  for (int i = 0; i < S::kRows; i += kLanes) {
    const int row = Lane() + i;
    if (row >= link.m) continue;
    const RowNorm norm = RowNormOf(link, row);
    factors.Set(row, norm.factor);
    factors.Set(S::kRows + row, norm.mean);
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
    if (link.x_sums == nullptr) continue;
    FindFactors<S>(link);
    GroupSync();  // orders the factors before they are told
    if (Lane() == 0) Arrive(scaled + 8 * l);
  }
  // All blocks have seen all counts and factors: the last one clears them for the next launch.
  const int left = Lane() == 0 ? AtomicAdd(a.done + kChainLinks * 8 * kLanes, 1) : 0;
  if (Shuffle(left, 0) != GridX() - 1) return;
  a.done[Lane() * kLanes] = 0;
  for (int i = Lane(); i < kChainLinks * kChainRows * 2; i += kLanes) a.sums[i] = 0;
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
    const auto plan = [&](int panel) { return PanelEnd<S>(link, work, panel); };
    MultiplyStages<T, S>(work, at, meet, plan, [&](const PanelEnd<S>& end) {
      if (link.x_sums != nullptr) WaitPhase(scaled + 8 * l, 0);
      ended += end.template Run<T>(link, turned ? PieceForm::kTurned : FormOf(link), &a.rope);
    });
    GroupSync();  // orders the outputs of all lanes before they are counted
    if (Lane() == 0 && ended > 0 && l + 1 < a.links) AddRelease(ChainCount(a, l, Group()), ended);
  }
}

template <class T, int kM>
UM_DEVICE void LinearChain(const ChainArgs& a) {
  using S = WflatShape<kM>;
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
  const Rings<S> at(Group() < kWflatFiller ? 0 : 1);  // the slots begin empty
  if (Group() < kWflatFiller) {
    TakeRegisters<kWflatTaken>();
    return MultiplyChain<T, S>(a, at, scaled);
  }
  GiveRegisters<kWflatGiven>();
  if (Group() < kWflatFetcher) return FillChain<T, S>(a, at.x, ready);
  if (Group() == kWflatFetcher) return FetchChain<S>(a, at.w);
  if (Group() == kChainHerald) HeraldChain<S>(a, ready, scaled);
}

}  // namespace unimax::UM_PORT_NAMESPACE
