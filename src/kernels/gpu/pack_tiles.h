// SPDX-License-Identifier: Apache-2.0
// pack_tiles: a weight's rows, as they lie in a file, into tiles of T for the matrix instruction (base/tile_order.h).
// Who calls: exec/graph_weights, while a model is loaded.
// Work:      a thread packs 8 elements each of rows r and r + 8 of a tile: what two 16-byte words of any order hold.
// Bound:     memory. bytes = the rows once, the tiles once.
// Launch:    any grid, which strides over all tiles; threads 256; no shared memory.
// Reference: PackStrips (kernels/pack.h), bit by bit; of a NaN the target decides about the payload.
// Source:    the definition.
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kPackWord = 8;  // elements of T in 16 bytes

// Elements k .. k + 7 of a row; zeros beyond the matrix, which is not read there.
template <class S>
UM_DEVICE void RowWord(const PackTilesArgs& a, int row, int k, float (&v)[kPackWord]) {
  constexpr int kEach = 16 / static_cast<int>(sizeof(S));
  const char* at = static_cast<const char*>(a.rows) + static_cast<int64_t>(row) * a.pitch;
#pragma unroll
  for (int first = 0; first < kPackWord; first += kEach) {
    const bool inside = row < a.count && k + first < a.cols;
    Vec16 word{};
    if (inside) word = Load16Once(at + static_cast<int64_t>(k + first) * static_cast<int>(sizeof(S)));
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      v[first + e] = inside && k + first + e < a.cols ? ToFloat(word.template As<S>(e)) : 0.0f;
    }
  }
}

template <class T, class S, TileOrder kOrder>
UM_DEVICE void PackAll(const PackTilesArgs& a) {
  constexpr int kHalf = kPackRows / 2, kUnits = kHalf * kPackK / kPackWord;  // of a tile
  constexpr bool kPairs = TileIndex(kOrder, kHalf, 0) < kPackWord;  // a word holds 4 elements of each of two rows
  const int across = (a.cols + kPackK - 1) / kPackK;
  const int64_t tiles = static_cast<int64_t>((a.count + kPackRows - 1) / kPackRows) * across;
  const int64_t step = static_cast<int64_t>(GridX()) * BlockThreads();
  for (int64_t i = static_cast<int64_t>(BlockX()) * BlockThreads() + Thread(); i < tiles * kUnits; i += step) {
    const int unit = static_cast<int>(i % kUnits);
    const int64_t tile = i / kUnits;
    const int row = unit / (kPackK / kPackWord), k = unit % (kPackK / kPackWord) * kPackWord;  // in the tile
    const int strip = static_cast<int>(tile / across);
    const int first = static_cast<int>(tile - static_cast<int64_t>(strip) * across) * kPackK + k;
    float v[2][kPackWord];
    RowWord<S>(a, strip * kPackRows + row, first, v[0]);
    RowWord<S>(a, strip * kPackRows + row + kHalf, first, v[1]);
    Vec16 words[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int e = 0; e < kPackWord; ++e) {
        const int at = TileIndex(kOrder, half * kHalf, e) % kPackWord;
        words[kPairs ? e / (kPackWord / 2) : half].Put(at, FromFloat<T>(v[half][e]));
      }
    }
    T* to = static_cast<T*>(a.tiles) + tile * kPackElements;
    Store16(to + TileIndex(kOrder, row, k), words[0]);
    Store16(to + (kPairs ? TileIndex(kOrder, row, k + kPackWord / 2) : TileIndex(kOrder, row + kHalf, k)), words[1]);
  }
}

template <class T, class S>
UM_DEVICE void PackFromRows(const PackTilesArgs& a) {
  switch (a.order) {
    case TileOrder::kMma:
      return PackAll<T, S, TileOrder::kMma>(a);
    case TileOrder::kMfma:
      return PackAll<T, S, TileOrder::kMfma>(a);
    case TileOrder::kWmma:
      return PackAll<T, S, TileOrder::kWmma>(a);
  }
}

template <class T>
UM_DEVICE void PackTiles(const PackTilesArgs& a) {
  switch (a.from) {
    case PackFrom::kF32:
      return PackFromRows<T, float>(a);
    case PackFrom::kBF16:
      return PackFromRows<T, bf16>(a);
    case PackFrom::kF16:
      return PackFromRows<T, f16>(a);
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
