// SPDX-License-Identifier: Apache-2.0
// How the 512 elements of a packed weight tile (16 rows x 32 k, 16-bit elements, 1 KB) are ordered, so that every lane
// of a group finds its operand of the matrix instruction in contiguous 16-byte words. Host packers and device code use
// these very functions. A matrix [N, K] is packed as tiles [ceil(N/16)][ceil(K/32)], zero padded.
// No includes: this header is also compiled for GPUs.
#pragma once

namespace unimax {

inline constexpr int kPackRows = 16, kPackK = 32, kPackElements = 512;

enum class TileOrder : unsigned char {
  kMma,   // NVIDIA mma.m16n8k16, twice (PTX ISA, "Matrix fragments for mma.m16n8k16")
  kMfma,  // AMD CDNA v_mfma_f32_16x16x16, twice, wave 64 (CDNA3 ISA, section 7.1)
  kWmma,  // AMD RDNA3 v_wmma_f32_16x16x16, twice, wave 32 (RDNA3 ISA, section 7.9)
};

// Lane (row % 8) * 4 + k / 8 holds k of two instructions; a word of an instruction is {row, row + 8} x {2 + 2 k}.
constexpr int MmaTileIndex(int row, int k) {
  const int lane = row % 8 * 4 + k / 8, part = k % 8 / 4, e = k % 4;
  return part * 256 + lane * 8 + e / 2 * 4 + row / 8 * 2 + e % 2;
}
// Lane k / 8 * 16 + row holds eight neighbouring k: four for each instruction.
constexpr int MfmaTileIndex(int row, int k) { return (k / 8 * 16 + row) * 8 + k % 8; }
// Lanes row and row + 16 hold the same sixteen k of each instruction.
constexpr int WmmaTileIndex(int row, int k) { return k / 16 * 256 + row * 16 + k % 16; }

constexpr int TileIndex(TileOrder order, int row, int k) {
  return order == TileOrder::kMma ? MmaTileIndex(row, k)
                                  : (order == TileOrder::kMfma ? MfmaTileIndex(row, k) : WmmaTileIndex(row, k));
}

}  // namespace unimax
