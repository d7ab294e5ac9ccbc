// SPDX-License-Identifier: Apache-2.0
// attention_fixed_deal: how attention_fixed cuts a row into units, and which of them a block takes.
// Who calls: attention_fixed.
// Work:      places for tiles are numbered row after row and head after head; a unit that the end of its row cuts short
//            keeps all of its own. A block takes the units that begin within its equal share of the places. One group
//            finds the first of them, and the first of the next block.
// Bound:     that of attention_fixed.
// Launch:    that of attention_fixed.
// Reference: none of its own.
// Source:    that of attention_ring_deal.
#pragma once

#include "kernels/args.h"
#include "kernels/nvidia/attention_ring_deal.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kUnitTiles = 6;  // of a unit, at least: two for each chain

// Of what is not negative: half the instructions.
UM_DEVICE int Over(int a, int b) { return static_cast<int>(static_cast<uint32_t>(a) / static_cast<uint32_t>(b)); }
UM_DEVICE int OverUp(int a, int b) { return Over(a + b - 1, b); }

// Tiles of a unit of a row that sees so many: they follow from the row and the model alone.
UM_DEVICE int UnitTiles(const AttentionArgs& a, int tiles) {
  const int unit = OverUp(tiles, MostUnits(a.kv_heads));
  return unit > kUnitTiles ? unit : kUnitTiles;
}

// Walks the units of a run.
struct UnitWalk {
  const AttentionArgs& a;
  const RingDeal& d;
  int pair, tile;            // the unit begins with number `tile` of the row's and head's
  int place;                 // its first
  int done = 0, number = 0;  // tiles of the run before it; its own number
  RingRow r;
  int unit;  // tiles of a unit of the row
  UM_DEVICE UnitWalk(const AttentionArgs& args, const RingDeal& deal)
      : a(args),
        d(deal),
        pair(deal.row * args.kv_heads + deal.head),
        tile(deal.tile),
        place(deal.begin),
        r(args, deal.row),
        unit(deal.all) {}
  UM_DEVICE int Row(int of) const { return Over(of, a.kv_heads); }
  UM_DEVICE int Head(int of) const { return of - Row(of) * a.kv_heads; }
  // Tiles of the run up to the unit's end, and whether its row and head ends there.
  UM_DEVICE int End() const { return done + (r.tiles - tile < unit ? r.tiles - tile : unit); }
  UM_DEVICE bool EndsPair() const { return tile + unit >= r.tiles; }
  UM_DEVICE int NextPair() const { return pair + d.step; }
  // To the next unit, if the run goes on.
  UM_DEVICE void Pass() {
    done = End();
    place += unit;
    ++number;
    if (!EndsPair()) {
      tile += unit;
      return;
    }
    tile = 0;
    pair = NextPair();
    r = RingRow(a, Row(pair));
    unit = UnitTiles(a, r.tiles);
  }
};

// Where all rows see `tiles`: blocks take equal parts of a row and head, of which step 0 speaks, or some as a whole, as
// RingDeal::Even does.
UM_DEVICE bool EvenUnits(const AttentionArgs& a, RingDeal& d, int tiles) {
  const int unit = UnitTiles(a, tiles), units = OverUp(tiles, unit);
  const int pairs = a.m * a.kv_heads, each = OverUp(pairs * units, GridX());
  int pair = BlockX(), places;
  if (each < units) {
    const int blocks = OverUp(units, each);  // of a row and head
    if (pairs * blocks > GridX()) return false;
    places = each * unit;
    pair = Over(BlockX(), blocks);
    d.step = 0;
    d.begin = BlockX() * places;
    d.tile = d.begin - pair * blocks * places;
    d.count = pair >= pairs ? 0 : tiles - d.tile < places ? tiles - d.tile : places;
  } else {
    const int own = OverUp(each, units);
    if (own * units > each + each / 8 + 1) return false;
    places = own * units * unit;
    d.step = OverUp(pairs, own);
    d.count = pair < d.step ? OverUp(pairs - pair, d.step) * tiles : 0;
  }
  d.all = unit;
  d.each = places;
  d.row = Over(pair, a.kv_heads);
  d.head = pair - d.row * a.kv_heads;
  return true;
}

// The units that begin within a block's share of the places. Looks at as many rows as there are lanes at once.
UM_DEVICE void SeekUnits(const AttentionArgs& a, RingDeal& d) {
  int places_before = 0, tiles_before = 0, begin = -1, end = -1;  // in tiles
#pragma unroll 1
  for (int first = 0; first < a.m && end < 0; first += kLanes) {
    const int own_tiles = first + Lane() < a.m ? RingRow(a, first + Lane()).tiles : 0;
    const int own_unit = UnitTiles(a, own_tiles), own_units = OverUp(own_tiles, own_unit);
    int places = own_units * own_unit, tiles = own_tiles;  // up to the lane's row
#pragma unroll 1
    for (int by = 1; by < kLanes; by *= 2) {
      const int lane = (Lane() - by) & (kLanes - 1), left = Shuffle(places, lane), left_tiles = Shuffle(tiles, lane);
      if (Lane() >= by) {
        places += left;
        tiles += left_tiles;
      }
    }
    places += places_before;
    tiles += tiles_before;
    places_before = Shuffle(places, kLanes - 1);
    tiles_before = Shuffle(tiles, kLanes - 1);
#pragma unroll 1
    for (int side = begin < 0 ? 0 : 1; side < 2; ++side) {
      const int place = (BlockX() + side) * d.each;
      if (place >= places_before * a.kv_heads) break;
      int passed = places * a.kv_heads <= place ? 1 : 0;  // rows before the unit's
#pragma unroll 1
      for (int mask = kLanes / 2; mask > 0; mask /= 2) passed += ShuffleXor(passed, mask);
      const int own = Shuffle(own_tiles, passed), unit = Shuffle(own_unit, passed), units = Shuffle(own_units, passed);
      const int from = (Shuffle(places, passed) - units * unit) * a.kv_heads;
      const int number = OverUp(place - from, unit), head = Over(number, units);  // of the row, head after head
      const int tile = (number - head * units) * unit;
      end = (Shuffle(tiles, passed) - own) * a.kv_heads + head * own + tile;
      if (side > 0) break;
      begin = end;
      end = -1;
      d.begin = from + number * unit;
      d.row = first + passed + (head == a.kv_heads ? 1 : 0);
      d.head = head == a.kv_heads ? 0 : head;
      d.tile = tile;
      d.all = head == a.kv_heads ? 0 : unit;  // of a row that may lie behind the lanes': found below
    }
  }
  if (end < 0) end = tiles_before * a.kv_heads;
  d.count = begin < 0 ? 0 : end - begin;
  if (d.all == 0 && d.count > 0) d.all = UnitTiles(a, RingRow(a, d.row).tiles);
}

// One group deals for its block. RingDeal::all becomes the tiles of a unit of the run's first row.
UM_DEVICE RingDeal DealUnits(const AttentionArgs& a) {
  int most = 0, least = 1 << 30, places = 0;
#pragma unroll 1
  for (int row = Lane(); row < a.m; row += kLanes) {
    const int tiles = RingRow(a, row).tiles;
    if (tiles > most) most = tiles;
    if (tiles < least) least = tiles;
  }
#pragma unroll 1
  for (int mask = kLanes / 2; mask > 0; mask /= 2) {
    const int other_most = ShuffleXor(most, mask), other_least = ShuffleXor(least, mask);
    if (other_most > most) most = other_most;
    if (other_least < least) least = other_least;
  }
  RingDeal d = {};
  d.step = 1;
  if (least == most && EvenUnits(a, d, most)) return d;
#pragma unroll 1
  for (int row = Lane(); row < a.m; row += kLanes) {
    const int tiles = RingRow(a, row).tiles, unit = UnitTiles(a, tiles);
    places += OverUp(tiles, unit) * unit;
  }
#pragma unroll 1
  for (int mask = kLanes / 2; mask > 0; mask /= 2) places += ShuffleXor(places, mask);
  d.each = OverUp(places * a.kv_heads, GridX());
  const int unit = UnitTiles(a, most);
  if (d.each < unit) d.each = unit;  // each block between the first and the last unit of a row has one
  SeekUnits(a, d);
  return d;
}

}  // namespace unimax::UM_PORT_NAMESPACE
