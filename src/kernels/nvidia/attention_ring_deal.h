// SPDX-License-Identifier: Apache-2.0
// attention_ring_deal: which tiles of keys and values a block of attention_ring takes, and how they come to its ring.
// Who calls: attention_ring.
// Work:      one group of a block counts the tiles of all rows and finds the block's first one; one group finds the
//            pages, 32 tiles at once, and fills the ring by bulk copies as slots become free.
// Bound:     that of attention_ring.
// Launch:    that of attention_ring.
// Reference: none of its own.
// Source:    Stream-K (arXiv 2301.03598) for the equal runs.
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/attention.h"
#include "kernels/nvidia/port_hopper_words.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kRingTile = 32;    // positions; a page holds a multiple of them, those of a KV head together
inline constexpr int kRingReaders = 3;  // groups that compute
inline constexpr int kRingMergers = 2;  // groups that put sums together while the readers go on
inline constexpr int kRingLeast = 3;    // tiles that a block takes at least, as many as it has readers
inline constexpr int kRingAll = kRingGroups * kLanes;
static_assert(kRingGroups == kRingReaders + kRingMergers + 1);  // the last one fills the ring

// Shared memory: the ring, the readers' sums, barriers, the deal, the last piece. Bytes.
template <int kDims>
struct RingLayout {
  static constexpr int kValues = kRingTile * kDims;  // behind a tile's keys, in elements
  static constexpr int kSlotBytes = 2 * kValues * 2;
  static constexpr int kSlots = 96 * 1024 / kSlotBytes;
  // A slot has one reader. Else one could wait for a use while the use before it, of another reader, is still awaited,
  // and would take the end of the one before that for its own.
  static_assert(kSlots % kRingReaders == 0);
  static constexpr int kPitch = kDims + 4;  // of a head's sums: values, then largest score and sum of weights
  static constexpr int kStates = kSlots * kSlotBytes;
  static constexpr int kBarriers = kStates + kRingReaders * kRingHeads * kPitch * 4;
  static constexpr int kStateBarriers = kBarriers + kSlots * 16;  // of one or two sets of sums: full, free
  static constexpr int kDeal = kStateBarriers + 2 * 16;
  static constexpr int kPiece = kDeal + 32, kBytes = kPiece + 32;
};
static_assert(RingLayout<128>::kBytes <= kRingShared && RingLayout<64>::kBytes <= kRingShared);

// The tiles that a row sees.
struct RingRow {
  int tokens, start, first, tiles;
  UM_DEVICE RingRow(const AttentionArgs& a, int row)
      : tokens(a.positions[row] + 1),
        start(WindowStart(a, tokens)),
        first(start / kRingTile),
        tiles((tokens + kRingTile - 1) / kRingTile - first) {}
};

// A block's run of `count` tiles. As a rule it goes from tile number `begin` of `all` on, `each` a block. Where all
// rows have equally many and a block takes whole ones, it takes every `step`-th row and head: then blocks side by side
// read the heads of a page, which lie side by side, at the same time (one after the other instead: up to 7 % slower).
struct RingDeal {
  int all, each, begin, count, step;
  int row, head, tile;  // the run begins with number `tile` of a row's and head's

  UM_DEVICE void Leave(Shared<int>& to) const {
    const int words[] = {all, each, begin, count, step, row, head, tile};
#pragma unroll
    for (int i = 0; i < 8; ++i) to.Set(i, words[i]);
  }
  UM_DEVICE static RingDeal Read(const Shared<int>& from) {
    return {from.Get(0), from.Get(1), from.Get(2), from.Get(3), from.Get(4), from.Get(5), from.Get(6), from.Get(7)};
  }

  // Where all rows have `tiles`: blocks take equal parts of a row and head, or some as a whole, if that is but little
  // more for a block than an equal run.
  UM_DEVICE bool Even(const AttentionArgs& a, int tiles) {
    const int parts = tiles / each, own = (each + tiles - 1) / tiles, pairs = a.m * a.kv_heads;
    const int most = parts > 0 ? (tiles + parts - 1) / parts : own * tiles;
    if (most > each + each / 8 + 1) return false;
    each = most;
    const int first = parts > 0 ? BlockX() / parts : BlockX();
    row = first / a.kv_heads;
    head = first % a.kv_heads;
    if (parts > 0) {
      begin = BlockX() * each;
      tile = BlockX() % parts * each;
      count = tiles - tile < each ? tiles - tile : each;
      if (first >= pairs) count = 0;
      return true;
    }
    step = (pairs + own - 1) / own;
    count = first < step ? (pairs - first + step - 1) / step * tiles : 0;
    return true;
  }
  // One group deals for its block.
  UM_DEVICE static RingDeal Make(const AttentionArgs& a) {
    int sum = 0, most = 0;
    for (int row = Lane(); row < a.m; row += kLanes) {
      const int own = RingRow(a, row).tiles;
      sum += own;
      if (own > most) most = own;
    }
    for (int mask = kLanes / 2; mask > 0; mask /= 2) {
      const int other = ShuffleXor(most, mask);
      sum += ShuffleXor(sum, mask);
      if (other > most) most = other;
    }
    RingDeal d = {};
    d.all = sum * a.kv_heads;
    d.each = (d.all + GridX() - 1) / GridX();
    if (d.each < kRingLeast) d.each = kRingLeast;
    d.step = 1;
    if (sum == most * a.m && d.Even(a, most)) return d;
    d.begin = BlockX() * d.each;
    d.count = d.all - d.begin < d.each ? d.all - d.begin : d.each;
    if (d.count > 0) d.Seek(a);
    return d;
  }
  // Finds where the run begins: rows as many as there are lanes at once.
  UM_DEVICE void Seek(const AttentionArgs& a) {
    const int from = begin / a.kv_heads;  // of the tiles of rows
    int before = 0;
    for (;; row += kLanes) {
      const int own = row + Lane() < a.m ? RingRow(a, row + Lane()).tiles : 0;
      int upto = own;
      for (int by = 1; by < kLanes; by *= 2) {
        const int left = Shuffle(upto, (Lane() - by) & (kLanes - 1));
        if (Lane() >= by) upto += left;
      }
      upto += before;
      before = Shuffle(upto, kLanes - 1);
      if (from >= before) continue;
      int passed = upto <= from ? 1 : 0;  // rows before the block's first
      for (int mask = kLanes / 2; mask > 0; mask /= 2) passed += ShuffleXor(passed, mask);
      const int tiles = Shuffle(own, passed);
      const int left = begin - (Shuffle(upto, passed) - tiles) * a.kv_heads;
      row += passed;
      head = left / tiles;
      tile = left % tiles;
      return;
    }
  }
};

template <class T, int kDims>
struct RingFeeder {
  using L = RingLayout<kDims>;
  const AttentionArgs& a;
  const RingDeal& d;

  struct Tile {
    int64_t at = 0;  // its first element in the cache
    int rows = 0;    // positions there are in it
    bool newest = false;
  };
  // Tile number i of the run; none beyond its end.
  UM_DEVICE Tile Find(int i) const {
    Tile t;
    if (i >= d.count) return t;
    int row = d.row;
    RingRow r(a, row);
    int left = d.head * r.tiles + d.tile + i;  // of the row's tiles, head after head
    if (d.step > 1) {
      const int pair = row * a.kv_heads + d.head + i / r.tiles * d.step;
      row = pair / a.kv_heads;
      left = pair % a.kv_heads * r.tiles + i % r.tiles;
      r = RingRow(a, row);
    }
    while (left >= r.tiles * a.kv_heads) {
      left -= r.tiles * a.kv_heads;
      r = RingRow(a, ++row);
    }
    const int head = left / r.tiles, position = (r.first + left % r.tiles) * kRingTile;
    const int64_t page = a.page_table[static_cast<int64_t>(a.sequences[row]) * a.max_pages + position / a.page_tokens];
    t.at = ((page * a.kv_heads + head) * a.page_tokens + position % a.page_tokens) * kDims;
    t.rows = r.tokens - position < kRingTile ? r.tokens - position : kRingTile;
    t.newest = position + kRingTile >= r.tokens;
    return t;
  }
  // The tile that another lane has found.
  UM_DEVICE static Tile Of(const Tile& t, int lane) {
    Tile o;
    const int low = Shuffle(static_cast<int>(t.at), lane), high = Shuffle(static_cast<int>(t.at >> 32), lane);
    o.at = static_cast<int64_t>(high) << 32 | static_cast<uint32_t>(low);
    o.rows = Shuffle(t.rows, lane);
    o.newest = Shuffle(t.newest ? 1 : 0, lane) != 0;
    return o;
  }
  UM_DEVICE void Copy(const Tile& t, int slot, int first, int rows) const {
    const int to = slot * L::kSlotBytes + first * kDims * 2, bytes = rows * kDims * 2;
    const int64_t at = t.at + first * kDims;
    RingCopy(L::kBarriers, slot, to, static_cast<const T*>(a.k_cache) + at, bytes);
    RingCopy(L::kBarriers, slot, to + L::kValues * 2, static_cast<const T*>(a.v_cache) + at, bytes);
  }
  UM_DEVICE void Expect(const Tile& t, int slot) const { RingExpect(L::kBarriers, slot, t.rows * kDims * 4); }

  // The lanes find the tiles, a batch ahead of those that are copied.
  UM_DEVICE void Run() const {
    Tile found = Find(Lane());
    const int early = d.count < L::kSlots ? d.count : L::kSlots;
    for (int i = 0; i < early; ++i) {
      const Tile t = Of(found, i);
      const int older = t.rows - (t.newest ? 1 : 0);
      if (OneLane()) {
        Expect(t, i);
        if (older > 0) Copy(t, i, 0, older);
      }
    }
    WaitForPrevious();
    for (int i = 0; i < early; ++i) {
      const Tile t = Of(found, i);
      if (OneLane() && t.newest) Copy(t, i, t.rows - 1, 1);
    }
    int slot = 0, turn = 1;
    for (int first = 0; first < d.count; first += kLanes) {
      const Tile next = Find(first + kLanes + Lane());
      const int most = d.count - first < kLanes ? d.count - first : kLanes;
      for (int i = first == 0 ? L::kSlots : 0; i < most; ++i) {
        const Tile t = Of(found, i);
        if (OneLane()) {
          RingWaitFree(L::kBarriers, slot, turn);
          Expect(t, slot);
          Copy(t, slot, 0, t.rows);
        }
        if (++slot == L::kSlots) {
          slot = 0;
          turn ^= 1;
        }
      }
      found = next;
    }
  }
};

// Walks the pieces of a run.
struct RingWalk {
  const AttentionArgs& a;
  const RingDeal& d;
  int row = d.row, head = d.head, tile = d.tile;  // the piece begins with number `tile` of the row's and head's
  int done = 0, number = 0;                       // tiles of the run before it; its own number
  UM_DEVICE bool Holds() const { return done < d.count; }
  // Tiles of the piece, of a row that has so many.
  UM_DEVICE int Count(int tiles) const { return tiles - tile < d.count - done ? tiles - tile : d.count - done; }
  UM_DEVICE void Pass(int count) {
    done += count;
    ++number;
    tile = 0;
    const int pair = row * a.kv_heads + head + d.step;
    row = pair / a.kv_heads;
    head = pair % a.kv_heads;
  }
};

}  // namespace unimax::UM_PORT_NAMESPACE
