// SPDX-License-Identifier: Apache-2.0
// Packed weights of fewer bits, as they lie in memory. A matrix [N, K] is chunks [ceil(N/16)][ceil(K/FormK)] of 16
// rows, zero padded. A chunk's 1,024 bytes are 64 words of 16 bytes, as those of a tile (tile_order.h): word number W
// is read by the lane that reads word W of a tile, and holds the elements which that lane needs in each of the chunk's
// k-tiles. Host packers, tests and device code share this. No includes but tile_order.h: this header is also compiled
// for GPUs.
#pragma once

#include "base/tile_order.h"

namespace unimax {

enum class ChunkForm : unsigned char {
  kSame,  // tiles of the activation type
  kQ4,    // w = d * q + m: q of 4 bits, d and m in f16 for each row and 32 k; then [16 rows][4 k-tiles] of {d, m}
  kE4M3,  // w = scale[row] * e4m3 (OCP 8-bit floating point, E4M3: no infinity, largest 448)
  kI8,    // w = scale[row] * int8, and so is x
};

constexpr int FormK(ChunkForm form) { return form == ChunkForm::kSame ? 32 : form == ChunkForm::kQ4 ? 128 : 64; }
constexpr int FormBytes(ChunkForm form) { return form == ChunkForm::kQ4 ? 1280 : 1024; }
inline constexpr int kQ4Scales = 1024;  // where they begin in a chunk, 16 bytes a row

// Word of a tile that holds an element, and which of its eight it is.
constexpr int TileWordOf(TileOrder order, int row, int k) { return TileIndex(order, row, k) / 8; }
constexpr int InWord(TileOrder order, int row, int k) { return TileIndex(order, row, k) % 8; }

// Where an element of a chunk is, k counted from the chunk's first. kQ4, in bits: register t of a word is k-tile t,
// whose element 2 i is nibble i and 2 i + 1 nibble i + 4, so that one mask leaves a pair in its halves.
constexpr int Q4Bit(TileOrder order, int row, int k) {
  const int element = InWord(order, row, k % 32), nibble = element / 2 + element % 2 * 4;
  return (TileWordOf(order, row, k % 32) * 16 + k / 32 * 4) * 8 + nibble * 4;
}
// kE4M3, in bytes: registers 2 t and 2 t + 1 of a word are k-tile t.
constexpr int E4M3Byte(TileOrder order, int row, int k) {
  return TileWordOf(order, row, k % 32) * 16 + k / 32 * 8 + InWord(order, row, k % 32);
}
// kI8, in bytes: a tile of pairs (port.h: i8x2).
constexpr int I8Byte(TileOrder order, int row, int k) { return TileIndex(order, row, k / 2) * 2 + k % 2; }

}  // namespace unimax
