// SPDX-License-Identifier: Apache-2.0
// linear_wgmma_feed: which tiles a cluster of linear_wgmma takes, and the warps that feed its consumers.
// Who calls: linear_wgmma.h.
// Work:      one warp fills the ring; two others have brought near what is wanted first and last.
// Bound:     L2: 32 KB a stage and block, of which 16 KB go to both blocks of a cluster.
// Launch:    the caller's.
// Reference: RefLinear.
// Source:    PTX ISA (cp.async.bulk.tensor); an even deal of what is left: Stream-K (arXiv 2301.03598).
#pragma once

#include "kernels/args.h"
#include "kernels/nvidia/linear_wgmma_store.h"
#include "kernels/nvidia/port_hopper_words.h"

namespace unimax::UM_PORT_NAMESPACE {

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

// Another warp: has the first weights brought near while the launch before ends.
UM_DEVICE void FetchWeightsNear(const LinearArgs& a) {
  const WgmmaPlace p = WgmmaPlace::Of(a);
  if (WgmmaPlace::First() >= p.items) return;
  const WgmmaItem item = p.Item(WgmmaPlace::First());
  const WgmmaCopies copies = WgmmaCopies::For(a, p, item);
  constexpr int kFirst = WgmmaShape::kStages * WgmmaShape::kStageTiles;
  const int tiles = item.last - item.first < kFirst ? item.last - item.first : kFirst;
  if (Lane() < copies.take) FetchNear(copies.w + static_cast<int64_t>(item.first) * kTileBytes, tiles * kTileBytes);
}

// A third one: has the residuals of a tile brought near while its products run.
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

}  // namespace unimax::UM_PORT_NAMESPACE
