// SPDX-License-Identifier: Apache-2.0
// linear_wgmma: y[M, N] = x[M, K] * w[N, K]^T for large M (prefill) on Hopper, w in the same packed tiles as all rows.
// Who calls: op Linear when the plan says "wgmma".
// Work:      a tile of the outputs is 128 weight rows and 256 rows of x. Two neighbouring blocks form a cluster and
//            have tiles of the same x: each copies half of it to both. A producer warp fills a ring of stages of 64
//            k; two consumer warpgroups multiply 64 weight rows each, weights from registers, x from shared memory.
//            Clusters take tiles in turn, so that the next tile's stages arrive while this one's outputs leave; the
//            tiles of a last, unfilled round are divided along K.
// Bound:     matrix instructions. FLOPs = 2*M*N*K.
// Launch:    grid 2 * (multiprocessors / 2), clusters of 2; threads 384; shared WgmmaShape::kBytes.
// Reference: RefLinear. Sum order: k in turn, that of the instruction within 16 of them; the parts of a tile in turn.
// Source:    PTX ISA (wgmma, cp.async.bulk.tensor); warp specialisation as in CUTLASS's Hopper kernels.
#pragma once

#include "kernels/args.h"
#include "kernels/nvidia/linear_wgmma_feed.h"
#include "kernels/nvidia/linear_wgmma_store.h"
#include "kernels/nvidia/port_hopper_words.h"
#include "kernels/nvidia/wgmma_weights.h"

namespace unimax::UM_PORT_NAMESPACE {

// Where this lane's words of its strip lie in a stage. Asked anew for each tile, so that they take no registers while
// outputs leave.
UM_DEVICE WgmmaWeights FindWeights() { return WeightsOf<4, WgmmaShape::kX, WgmmaShape::kStageTiles>(ThreadAfresh()); }

// The weights of kTiles k-tiles of a warp's strip, an operand of each instruction.
struct WgmmaHeld {
  Vec16 w[2 * WgmmaShape::kStageTiles];
};
template <class T, int kTiles>
UM_DEVICE void MultiplyHeld(ColumnSums<256>& sum, const WgmmaHeld& held, uint32_t stage) {
  BeginProducts();
#pragma unroll
  for (int p = 0; p < 2 * kTiles; ++p) MultiplyColumns<T>(sum, held.w[p], SwizzledMatrix(stage + p * 32));
  CommitProducts();
}

// The warp has read a stage: tells all blocks whose copies go there.
UM_DEVICE void LeaveStage(uint32_t full) {
  GroupSync();  // orders all lanes' reads before the arrivals
  if (Lane() < WgmmaShape::kCluster) ArriveAt(full + 8, Lane());
}

// All products of `tiles` k-tiles. Those of one stage run while the next stage's weights are fetched and its products
// issued.
template <class T>
UM_DEVICE void ConsumeWgmma(WgmmaPlace& p, uint32_t ring, int tiles, ColumnSums<256>& sum) {
  const WgmmaWeights weights = FindWeights();
#pragma unroll
  for (int i = 0; i < 128; ++i) sum.v[i] = 0;
  uint32_t running = 0;  // the barrier of the stage whose products may still run
  WgmmaHeld even, odd;
  const auto whole = [&](WgmmaHeld& held) {
    WaitPhase(p.Full(ring), p.phase);
    LoadWeights<2>(held.w, p.Stage(ring), weights);
    MultiplyHeld<T, 2>(sum, held, p.Stage(ring));
    WaitProducts<1>();
    if (running != 0) LeaveStage(running);
    running = p.Full(ring);
    p.Advance();
  };
  int tile = 0;
  for (; tile + 3 < tiles; tile += 4) {
    whole(even);
    whole(odd);
  }
  if (tile + 1 < tiles) {
    whole(even);
    tile += 2;
  }
  WaitProducts<0>();
  if (running != 0) LeaveStage(running);
  if (tile == tiles) return;
  WaitPhase(p.Full(ring), p.phase);
  LoadWeights<1>(even.w, p.Stage(ring), weights);
  MultiplyHeld<T, 1>(sum, even, p.Stage(ring));
  WaitProducts<0>();
  LeaveStage(p.Full(ring));
  p.Advance();
}

template <class T>
UM_DEVICE void LinearWgmma(const MappedLinearArgs& a) {
  using S = WgmmaShape;
  const uint32_t ring = (SharedOffset(0) + 1023) / 1024 * 1024;
  if (Thread() == 0) {
    FetchMapNear(a.x_map);
    for (int s = 0; s < S::kStages; ++s) {
      InitBarrier(ring + S::kBarriers + s * 16, 1);
      InitBarrier(ring + S::kBarriers + s * 16 + 8, 8 * S::kCluster);  // the consumers' warps
    }
    FenceBarriers();
    FenceAsync();
  }
  ClusterBarrier();
  if (Group() < 4) {
    GiveRegisters<40>();
    if (Group() == 0) ProduceWgmma(a, ring);
    if (Group() == 1) FetchWeightsNear(a);
    if (Group() == 2) FetchResidualsNear(a);
  } else {
    TakeRegisters<232>();
    WaitForPrevious();
    const int warpgroup = Group() / 4 - 1;
    WgmmaPlace p = WgmmaPlace::Of(a);
    for (int at = WgmmaPlace::First(); at < p.items; at += WgmmaPlace::Step()) {
      const WgmmaItem item = p.Item(at);
      const int first_row = p.FirstRow(item.tile), first_strip = p.FirstStrip(item.tile);
      ColumnSums<256> sum;
      ConsumeWgmma<T>(p, ring, item.last - item.first, sum);
      const WgmmaParts parts = p.Parts(a, item, warpgroup);
      if (parts.count > 1) parts.Share(warpgroup, sum);
      if (a.flags & kLinearActMul) {
        StoreWgmma<T, true>(a, ring, warpgroup, first_row, first_strip, parts, sum);
      } else {
        StoreWgmma<T, false>(a, ring, warpgroup, first_row, first_strip, parts, sum);
      }
    }
  }
  GroupSync();
  ClusterBarrier();  // until the other blocks need nothing of this one
}

}  // namespace unimax::UM_PORT_NAMESPACE
