// SPDX-License-Identifier: Apache-2.0
// The matrix words of the port for NVIDIA GPUs (mma.m16n8k16, PTX ISA "Matrix fragments"); the contract is in port.h,
// the other words in port_cuda.h, which includes this.
#pragma once

namespace unimax::gpu {

inline constexpr int kFragC = 4, kTileWords = 2;
struct FragC {
  float v[kFragC];
};
struct FragI {
  int v[kFragC];
};
UM_DEVICE int CRow(int i) { return Lane() / 4 + 8 * (i / 2); }
UM_DEVICE int CCol(int i) { return Lane() % 4 * 2 + i % 2; }
inline constexpr int kRowsHeld = 2, kRowPeers = 4;
UM_DEVICE constexpr int RowHeld(int i) { return i / 2; }

template <class T>
struct FragA {
  Vec16 v[2];  // one m16k16 operand each
};
template <class T>
struct FragB {
  Vec16 k8;  // eight neighbouring k of one column
};

UM_DEVICE int PackedIndex(int row, int k) { return MmaTileIndex(row, k); }
template <class T>
UM_DEVICE FragA<T> LoadTile(const void* tile) {
  const unsigned char* p = static_cast<const unsigned char*>(tile) + Lane() * 16;
  return {{Load16Once(p), Load16Once(p + kTileBytes / 2)}};
}
template <class T>
UM_DEVICE FragB<T> LoadX(const T* x, int stride, int columns, int k_left) {
  const int column = Lane() / 4, k = Lane() % 4 * 8;
  if (column >= columns || k >= k_left) return {{{0, 0, 0, 0}}};
  return {Load16(x + static_cast<int64_t>(column) * stride + k)};
}
template <class T>
UM_DEVICE FragB<T> LoadXShared(const Shared<T>& x, int base, int stride) {
  return {x.Get16(base + Lane() / 4 * stride + Lane() % 4 * 8)};
}
template <class T>
UM_DEVICE void Mma16(FragC& c, const Vec16& a, uint32_t b0, uint32_t b1);
template <>
UM_DEVICE void Mma16<bf16>(FragC& c, const Vec16& a, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c.v[0]), "+f"(c.v[1]), "+f"(c.v[2]), "+f"(c.v[3])
      : "r"(a.w[0]), "r"(a.w[1]), "r"(a.w[2]), "r"(a.w[3]), "r"(b0), "r"(b1));
}
template <>
UM_DEVICE void Mma16<f16>(FragC& c, const Vec16& a, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c.v[0]), "+f"(c.v[1]), "+f"(c.v[2]), "+f"(c.v[3])
      : "r"(a.w[0]), "r"(a.w[1]), "r"(a.w[2]), "r"(a.w[3]), "r"(b0), "r"(b1));
}
template <class T>
UM_DEVICE void Mma(FragC& c, const FragA<T>& a, const FragB<T>& b) {
  Mma16<T>(c, a.v[0], b.k8.w[0], b.k8.w[1]);
  Mma16<T>(c, a.v[1], b.k8.w[2], b.k8.w[3]);
}
// The words of mma.m16n8k32 of int8 lie as those of m16n8k16, each with four elements in place of two.
UM_DEVICE void MmaInt(FragI& c, const Vec16& a, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c.v[0]), "+r"(c.v[1]), "+r"(c.v[2]), "+r"(c.v[3])
      : "r"(a.w[0]), "r"(a.w[1]), "r"(a.w[2]), "r"(a.w[3]), "r"(b0), "r"(b1));
}
UM_DEVICE void Mma(FragI& c, const FragA<i8x2>& a, const FragB<i8x2>& b) {
  MmaInt(c, a.v[0], b.k8.w[0], b.k8.w[1]);
  MmaInt(c, a.v[1], b.k8.w[2], b.k8.w[3]);
}

// Two rows' 16 bytes hold the words of both instructions in turn: see MmaTileIndex.
template <class T>
UM_DEVICE FragA<T> LoadRows(const T* x, int stride, int rows, int k_left) {
  const int row = Lane() / 4, k = Lane() % 4 * 8;
  Vec16 upper = {}, lower = {};
  if (row < rows && k < k_left) upper = Load16(x + static_cast<int64_t>(row) * stride + k);
  if (row + 8 < rows && k < k_left) lower = Load16(x + static_cast<int64_t>(row + 8) * stride + k);
  return {{{{upper.w[0], lower.w[0], upper.w[1], lower.w[1]}}, {{upper.w[2], lower.w[2], upper.w[3], lower.w[3]}}}};
}
template <class T>
UM_DEVICE uint32_t Pair(float low, float high) {
  return BitCopy<uint16_t>(FromFloat<T>(low)) | static_cast<uint32_t>(BitCopy<uint16_t>(FromFloat<T>(high))) << 16;
}
// The results of two column tiles are the first operand of one instruction as they lie (FlashAttention-2).
inline constexpr int kOperandScratch = 0;
template <class T>
UM_DEVICE FragA<T> ToOperand(const FragC (&c)[kTileK / kTileCols], const Shared<T>&, int) {
  FragA<T> a;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const FragC &left = c[2 * i], &right = c[2 * i + 1];
    a.v[i] = {{Pair<T>(left.v[0], left.v[1]), Pair<T>(left.v[2], left.v[3]), Pair<T>(right.v[0], right.v[1]),
               Pair<T>(right.v[2], right.v[3])}};
  }
  return a;
}
template <class T>
UM_DEVICE FragB<T> LoadColumns(const Shared<T>& x, int base, int stride) {
  FragB<T> b;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(b.k8.w[0]), "=r"(b.k8.w[1]), "=r"(b.k8.w[2]), "=r"(b.k8.w[3])
               : "r"(x.Address(base + Lane() * stride))
               : "memory");
  return b;
}

}  // namespace unimax::gpu
