// SPDX-License-Identifier: Apache-2.0
// Which element of a matrix product each lane of an AMD matrix instruction holds. Device code, the emulator and tests
// use these very functions. An instruction multiplies A [16 rows, kK] by B [kK, 16 columns] into C [16, 16]; element i
// of lane l is A(l % 16, K(l, i)), B(K(l, i), l % 16) and C(CRow(l, i), l % 16).
//
// A packed tile (tile_order.h) is 16 rows x 32 k: kSteps instructions. A lane fetches kWords words of 16 bytes (eight
// elements of its row) of it, at TileWord; of x, which is not packed, at k = WordK. Element i of step s is element
// FromElement(s, i) of word FromWord(s) of lane FromLane(l, s, i). Where that is not the k of the tile that K says,
// both operands agree, and the order of the sum alone is another. No includes: this header is also compiled for GPUs.
#pragma once

namespace unimax {

// What the two families have in common.
struct MfmaWords {
  static constexpr int kLanes = 64, kSums = 4, kWords = 1;
  static constexpr int CRow(int lane, int i) { return lane / 16 * 4 + i; }
  static constexpr int TileWord(int lane, int) { return lane * 16; }
  static constexpr int WordK(int lane, int) { return lane / 16 * 8; }
  static constexpr int FromLane(int lane, int /*step*/, int /*i*/) { return lane; }
  static constexpr int FromWord(int) { return 0; }
};
struct WmmaWords {
  static constexpr int kLanes = 32, kSums = 8, kWords = 2, kK = 16, kSteps = 2;
  static constexpr int TileWord(int lane, int word) { return word * 512 + lane % 16 * 32 + lane / 16 * 16; }
  static constexpr int WordK(int lane, int word) { return word * 16 + lane / 16 * 8; }
  static constexpr int FromWord(int step) { return step; }
};

// v_mfma_f32_16x16x16_f16 and _bf16 (gfx90a, gfx942): AMD Instinct MI300 ISA, section 7.1.
struct Mfma16 : MfmaWords {
  static constexpr int kK = 16, kSteps = 2, kElements = 4;
  static constexpr int K(int lane, int i) { return lane / 16 * 4 + i; }
  static constexpr int FromElement(int step, int i) { return step * 4 + i; }
};
// v_mfma_f32_16x16x32_f16 and _bf16 (gfx950): AMD CDNA4 ISA, chapter 7.
struct Mfma32 : MfmaWords {
  static constexpr int kK = 32, kSteps = 1, kElements = 8;
  static constexpr int K(int lane, int i) { return lane / 16 * 8 + i; }
  static constexpr int FromElement(int, int i) { return i; }
};
// v_wmma_f32_16x16x16_f16 and _bf16 (gfx11): RDNA3 ISA, section 7.9. Lanes l and l + 16 hold the same sixteen k.
struct Wmma11 : WmmaWords {
  static constexpr int kElements = 16;
  static constexpr int K(int, int i) { return i; }
  static constexpr int CRow(int lane, int i) { return 2 * i + lane / 16; }
  static constexpr int FromLane(int lane, int /*step*/, int i) { return lane % 16 + i / 8 * 16; }
  static constexpr int FromElement(int, int i) { return i % 8; }
};
// The same of gfx12: RDNA4 ISA, "Wave Matrix Multiply Accumulate (WMMA)". Nothing is held twice.
struct Wmma12 : WmmaWords {
  static constexpr int kElements = 8;
  static constexpr int K(int lane, int i) { return lane / 16 * 8 + i; }
  static constexpr int CRow(int lane, int i) { return lane / 16 * 8 + i; }
  static constexpr int FromLane(int lane, int /*step*/, int /*i*/) { return lane; }
  static constexpr int FromElement(int, int i) { return i; }
};

// Instructions of int8 with sums of i32. Here an element is a pair of neighbouring int8, the lower k first, and K
// counts pairs: a tile of the same bytes is 16 rows x 64 k. v_mfma_i32_16x16x16_i8 (gfx90a): CDNA2 ISA, section 6.1.
struct MfmaInt16 : MfmaWords {
  static constexpr int kK = 8, kSteps = 4, kElements = 2;
  static constexpr int K(int lane, int i) { return lane / 16 * 2 + i; }
  static constexpr int FromElement(int step, int i) { return step * 2 + i; }
};
// v_mfma_i32_16x16x32_i8 (gfx942): AMD Instinct MI300 ISA, section 7.1. Pairs lie as the halves of Mfma16.
struct MfmaInt32 : Mfma16 {};
// v_mfma_i32_16x16x64_i8 (gfx950): AMD CDNA4 ISA, chapter 7.
struct MfmaInt64 : Mfma32 {};
// v_wmma_i32_16x16x16_iu8 (gfx11): RDNA3 ISA, section 7.9. A step takes one word; both halves of the lanes hold it.
struct WmmaInt11 : WmmaWords {
  static constexpr int kK = 8, kSteps = 4, kElements = 8;
  static constexpr int K(int, int i) { return i; }
  static constexpr int CRow(int lane, int i) { return 2 * i + lane / 16; }
  static constexpr int FromLane(int lane, int step, int /*i*/) { return lane % 16 + step % 2 * 16; }
  static constexpr int FromWord(int step) { return step / 2; }
  static constexpr int FromElement(int, int i) { return i; }
};
// The same of gfx12: RDNA4 ISA, "Wave Matrix Multiply Accumulate (WMMA)". A step takes half a word.
struct WmmaInt12 : WmmaWords {
  static constexpr int kK = 8, kSteps = 4, kElements = 4;
  static constexpr int K(int lane, int i) { return lane / 16 * 4 + i; }
  static constexpr int CRow(int lane, int i) { return lane / 16 * 8 + i; }
  static constexpr int FromLane(int lane, int /*step*/, int /*i*/) { return lane; }
  static constexpr int FromWord(int step) { return step / 2; }
  static constexpr int FromElement(int step, int i) { return step % 2 * 4 + i; }
};

// One worked vector each: C of row 5, column 3, and the k of A and B that a lane holds, as the documents' tables say.
static_assert(Mfma16::CRow(19, 1) == 5 && Mfma16::K(19, 0) == 4 && Mfma16::K(63, 3) == 15);
static_assert(Mfma32::CRow(19, 1) == 5 && Mfma32::K(19, 0) == 8 && Mfma32::K(63, 7) == 31);
static_assert(Wmma11::CRow(19, 2) == 5 && Wmma11::K(3, 5) == 5 && Wmma11::K(19, 5) == 5 && Wmma11::K(31, 15) == 15);
static_assert(Wmma12::CRow(3, 5) == 5 && Wmma12::CRow(19, 5) == 13 && Wmma12::K(19, 5) == 13);
// Of int8: the first pair of lane 19 is k 4 and 5 of gfx90a's sixteen (12 and 13 in lane 51), 8 and 9 of gfx942's 32,
// 16 and 17 of gfx950's 64; on gfx12 the upper lanes hold k 8 to 15.
static_assert(MfmaInt16::CRow(19, 1) == 5 && 2 * MfmaInt16::K(19, 0) == 4 && 2 * MfmaInt16::K(51, 0) == 12);
static_assert(MfmaInt32::CRow(19, 1) == 5 && 2 * MfmaInt32::K(19, 0) == 8 && 2 * MfmaInt32::K(63, 3) == 30);
static_assert(MfmaInt64::CRow(19, 1) == 5 && 2 * MfmaInt64::K(19, 0) == 16 && 2 * MfmaInt64::K(63, 7) == 62);
static_assert(WmmaInt11::CRow(19, 2) == 5 && 2 * WmmaInt11::K(19, 7) == 14 && WmmaInt11::FromLane(19, 0, 0) == 3);
static_assert(WmmaInt12::CRow(19, 5) == 13 && 2 * WmmaInt12::K(3, 3) == 6 && 2 * WmmaInt12::K(19, 0) == 8);

}  // namespace unimax
