// SPDX-License-Identifier: Apache-2.0
// linear_wgmma: y[M, N] = x[M, K] * w[N, K]^T for large M (prefill) on Hopper, w in the same packed tiles as all rows.
// Who calls: op Linear when the plan says "wgmma".
// Work:      a tile of the outputs is 128 weight rows and 256 rows of x. Two neighbouring blocks form a cluster and
// take
//            tiles of the same x: each copies half of it to both. A producer warp fills a ring of stages of 64 k; two
//            consumer warpgroups multiply 64 weight rows each, weights from registers, x from shared memory. Clusters
//            take tiles in turn, so that the next tile's stages arrive while this one's outputs leave; the tiles of a
//            last, unfilled round are divided along K.
// Bound:     matrix instructions. FLOPs = 2*M*N*K.
// Launch:    grid 2 * (multiprocessors / 2), clusters of 2; threads 384; shared WgmmaShape::kBytes.
// Reference: RefLinear. Sum order: k in turn, that of the instruction within 16 of them; the parts of a tile in turn.
// Source:    PTX ISA (wgmma, cp.async.bulk.tensor); warp specialisation as in CUTLASS's Hopper kernels.
#pragma once

#include "kernels/args.h"
#include "kernels/nvidia/linear_wgmma_store.h"
#include "kernels/nvidia/port_cluster.h"

namespace unimax::gpu {

// What a cluster does at once: a tile of the outputs and its k-tiles first .. last - 1, all or one of `count` parts.
struct WgmmaItem {
  int tile, first, last, part, count;
};

// Where a block is in the list of items, and in the ring.
struct WgmmaPlace {
  int rows, whole, parts, items, tiles, strips;  // tiles along M, tiles in one part, parts of the others, k-tiles
  int slot = 0, phase = 0;

  UM_DEVICE static WgmmaPlace Of(const LinearArgs& a) {
    using S = WgmmaShape;
    WgmmaPlace p;
    p.tiles = (a.k + kTileK - 1) / kTileK;
    p.strips = (a.n + kTileRows - 1) / kTileRows;
    p.rows = (a.m + S::kTokens - 1) / S::kTokens;
    // Tiles that would be the last, unfilled round of the clusters are divided along K where clusters would be idle.
    const int total = p.rows * ((p.strips + S::kCluster * S::kStrips - 1) / (S::kCluster * S::kStrips));
    const int rest = total % Step(), fit = rest > 0 ? Step() / rest : 1, deep = p.tiles / S::kLeastTiles;
    p.parts = fit < deep ? fit : deep > 1 ? deep : 1;
    if (p.parts > S::kMostParts) p.parts = S::kMostParts;
    p.whole = total - rest;
    p.items = p.whole + rest * p.parts;
    return p;
  }
  UM_DEVICE WgmmaItem Item(int at) const {
    if (at < whole) return {at, 0, tiles, 0, 1};
    const int part = (at - whole) % parts, stages = (tiles + 1) / WgmmaShape::kStageTiles;
    const int last = (part + 1) * stages / parts * WgmmaShape::kStageTiles;
    return {whole + (at - whole) / parts, part * stages / parts * WgmmaShape::kStageTiles, last < tiles ? last : tiles,
            part, parts};
  }
  UM_DEVICE WgmmaParts Parts(const LinearArgs& a, const WgmmaItem& item, int warpgroup) const {
    const int64_t rest = item.tile - whole, mine = Rank() * 2 + warpgroup;
    return {item.count, item.part, a.partial + rest * parts * WgmmaParts::kApart + mine * WgmmaParts::kSums,
            a.counters + rest * 2 * WgmmaShape::kCluster + mine};
  }
  UM_DEVICE static int First() { return BlockX() / WgmmaShape::kCluster; }
  UM_DEVICE static int Step() { return GridX() / WgmmaShape::kCluster; }
  UM_DEVICE static int Rank() { return BlockX() % WgmmaShape::kCluster; }
  UM_DEVICE int FirstRow(int tile) const { return tile % rows * WgmmaShape::kTokens; }
  UM_DEVICE int FirstStrip(int tile) const {
    return (tile / rows * WgmmaShape::kCluster + Rank()) * WgmmaShape::kStrips;
  }
  UM_DEVICE uint32_t Stage(uint32_t ring) const { return ring + slot * WgmmaShape::kStage; }
  UM_DEVICE uint32_t Full(uint32_t ring) const { return ring + WgmmaShape::kBarriers + slot * 16; }
  UM_DEVICE void Advance() {
    if (++slot == WgmmaShape::kStages) {
      slot = 0;
      phase ^= 1;
    }
  }
};

// What a block copies of an item: its share of x to the whole cluster, and its own weights. A box without any row of x
// is left out: what it would hold reaches no output that is stored.
struct WgmmaCopies {
  int first_row, boxes, take;  // boxes of the cluster, strips of this block
  const char* w;               // of the lane's strip

  UM_DEVICE static WgmmaCopies For(const LinearArgs& a, const WgmmaPlace& p, const WgmmaItem& item) {
    using S = WgmmaShape;
    constexpr int kRows = S::kTokens / S::kCluster;
    const int first_strip = p.FirstStrip(item.tile), left = p.strips - first_strip;
    const int rows = a.m - p.FirstRow(item.tile), boxes = (rows + kRows - 1) / kRows;
    return {p.FirstRow(item.tile) + WgmmaPlace::Rank() * kRows, boxes < S::kCluster ? boxes : S::kCluster,
            left < 0            ? 0
            : left < S::kStrips ? left
                                : S::kStrips,
            static_cast<const char*>(a.w) + static_cast<int64_t>(first_strip + Lane()) * p.tiles * kTileBytes};
  }
  UM_DEVICE void Weights(uint32_t stage, uint32_t full, int tile, int tiles) const {
    using S = WgmmaShape;
    const int bytes = (tiles - tile < S::kStageTiles ? tiles - tile : S::kStageTiles) * kTileBytes;
    if (Lane() == 0) ArriveExpecting(full, boxes * S::kShare + take * bytes);
    if (Lane() >= take) return;
    BulkCopy(stage + S::kX + Lane() * S::kStageTiles * kTileBytes, w + static_cast<int64_t>(tile) * kTileBytes, bytes,
             full);
  }
  UM_DEVICE void Box(const MatrixMap& map, uint32_t stage, uint32_t full, int tile) const {
    const int rank = WgmmaPlace::Rank();
    if (Lane() != 0 || rank >= boxes) return;
    CopyBox(stage + rank * WgmmaShape::kShare, map, tile * kTileK, first_row, full, (1 << WgmmaShape::kCluster) - 1);
  }
};

// One warp: lane 0 copies x, every lane one strip of weights.
UM_DEVICE void ProduceWgmma(const MappedLinearArgs& a, uint32_t ring) {
  using S = WgmmaShape;
  WgmmaPlace p = WgmmaPlace::Of(a);
  WaitForPrevious();
  for (int at = WgmmaPlace::First(); at < p.items; at += WgmmaPlace::Step()) {
    const WgmmaItem item = p.Item(at);
    const WgmmaCopies copies = WgmmaCopies::For(a, p, item);
    if (at + WgmmaPlace::Step() >= p.items) LetNextStart();
    for (int tile = item.first; tile < item.last; tile += S::kStageTiles) {
      const uint32_t stage = p.Stage(ring), full = p.Full(ring);
      WaitPhase(full + 8, p.phase ^ 1);
      GroupSync();
      copies.Weights(stage, full, tile, p.tiles);
      copies.Box(a.x_map, stage, full, tile);
      p.Advance();
    }
  }
}

// Another warp: has the residuals of a tile brought near while its products run.
UM_DEVICE void FetchResidualsNear(const LinearArgs& a) {
  using S = WgmmaShape;
  const WgmmaPlace p = WgmmaPlace::Of(a);
  WaitForPrevious();
  if (a.residual == nullptr || (a.flags & kLinearActMul) || a.y_stride % 4 != 0) return;
  if (reinterpret_cast<uint64_t>(a.residual) % 16 != 0) return;
  for (int at = WgmmaPlace::First(); at < p.items; at += WgmmaPlace::Step()) {
    const WgmmaItem item = p.Item(at);
    const int first_row = p.FirstRow(item.tile), n = p.FirstStrip(item.tile) * kTileRows, left = (a.n - n) / 4 * 4;
    const int columns = left < S::kStrips * kTileRows ? left : S::kStrips * kTileRows;
    for (int row = Lane(); row < S::kTokens && first_row + row < a.m && columns > 0; row += kLanes) {
      FetchNear(a.residual + static_cast<int64_t>(first_row + row) * a.y_stride + n, columns * 4);
    }
  }
}

// The instruction takes k in the order of x's rows: a lane (row r, t of four) needs words that the packed tile gives to
// other lanes of the row (see MmaTileIndex). {row, row + 8} of k = 8 j + 2 t lie side by side, j the eighth of a tile.
// Lanes take the four j in turns of their own, `turn`, so that 16 lanes meet all banks, and put them in order.
struct WgmmaWeights {
  uint32_t first;  // where this lane's words of j = turn begin in a stage
  int turn;

  // Asked anew for each tile (volatile), so that they take no registers while outputs leave.
  UM_DEVICE static WgmmaWeights Find() {
    int thread;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
    const int strip = thread / kLanes - 4, lane = thread % kLanes, r = lane / 4, t = lane % 4;
    const int turn = r / 2 % 2 * 2 + t / 2;
    const uint32_t at = WgmmaShape::kX + strip * WgmmaShape::kStageTiles * kTileBytes;
    return {at + t / 2 * (kTileBytes / 2) + r * 64 + turn * 16 + t % 2 * 8, turn};
  }
};

// Two words of a row and the row 8 below.
struct TwoRows {
  uint32_t w[2];
};
UM_DEVICE TwoRows LoadTwoRows(uint32_t at) {
  TwoRows v;
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(v.w[0]), "=r"(v.w[1]) : "r"(at) : "memory");
  return v;
}
UM_DEVICE void SwapWhere(bool swap, TwoRows& a, TwoRows& b) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint32_t first = swap ? b.w[i] : a.w[i], second = swap ? a.w[i] : b.w[i];
    a.w[i] = first;
    b.w[i] = second;
  }
}

// The weights of kTiles k-tiles of a warp's strip, an operand of each instruction.
struct WgmmaHeld {
  Vec16 w[2 * WgmmaShape::kStageTiles];
};
template <int kTiles>
UM_DEVICE void LoadHeld(WgmmaHeld& held, uint32_t stage, const WgmmaWeights& weights) {
  TwoRows v[kTiles][4];
#pragma unroll
  for (int d = 0; d < kTiles; ++d) {
#pragma unroll
    for (int i = 0; i < 4; ++i) v[d][i] = LoadTwoRows(((stage + weights.first) ^ (i * 16)) + d * kTileBytes);
  }
#pragma unroll
  for (int d = 0; d < kTiles; ++d) {
    SwapWhere(weights.turn & 1, v[d][0], v[d][1]);
    SwapWhere(weights.turn & 1, v[d][2], v[d][3]);
    SwapWhere(weights.turn & 2, v[d][0], v[d][2]);
    SwapWhere(weights.turn & 2, v[d][1], v[d][3]);
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      held.w[d * 2 + q] = {{v[d][2 * q].w[0], v[d][2 * q].w[1], v[d][2 * q + 1].w[0], v[d][2 * q + 1].w[1]}};
    }
  }
}

template <class T, int kTiles>
UM_DEVICE void MultiplyHeld(WidestSum& sum, const WgmmaHeld& held, uint32_t stage) {
  BeginProducts();
#pragma unroll
  for (int p = 0; p < 2 * kTiles; ++p) MultiplyWidest<T>(sum, held.w[p], SwizzledMatrix(stage + p * 32));
  CommitProducts();
}

// The warp has read a stage: tells all blocks whose copies go there.
UM_DEVICE void LeaveStage(uint32_t full) {
  if (Lane() < WgmmaShape::kCluster) ArriveAt(full + 8, Lane());
}

// All products of `tiles` k-tiles. Those of one stage run while the next stage's weights are fetched and its products
// issued.
template <class T>
UM_DEVICE void ConsumeWgmma(WgmmaPlace& p, uint32_t ring, int tiles, WidestSum& sum) {
  const WgmmaWeights weights = WgmmaWeights::Find();
#pragma unroll
  for (int i = 0; i < 128; ++i) sum.v[i] = 0;
  uint32_t running = 0;  // the barrier of the stage whose products may still run
  WgmmaHeld even, odd;
  const auto whole = [&](WgmmaHeld& held) {
    WaitPhase(p.Full(ring), p.phase);
    LoadHeld<2>(held, p.Stage(ring), weights);
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
  LoadHeld<1>(even, p.Stage(ring), weights);
  MultiplyHeld<T, 1>(sum, even, p.Stage(ring));
  WaitProducts<0>();
  LeaveStage(p.Full(ring));
  p.Advance();
}

template <class T>
UM_DEVICE void LinearWgmma(const MappedLinearArgs& a) {
  using S = WgmmaShape;
  const uint32_t ring = (SharedAddress(um_shared) + 1023) / 1024 * 1024;
  if (Thread() == 0) {
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
    if (Group() == 1) FetchResidualsNear(a);
  } else {
    TakeRegisters<232>();
    WaitForPrevious();
    const int warpgroup = Group() / 4 - 1;
    WgmmaPlace p = WgmmaPlace::Of(a);
    for (int at = WgmmaPlace::First(); at < p.items; at += WgmmaPlace::Step()) {
      const WgmmaItem item = p.Item(at);
      const int first_row = p.FirstRow(item.tile), first_strip = p.FirstStrip(item.tile);
      WidestSum sum;
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

}  // namespace unimax::gpu
