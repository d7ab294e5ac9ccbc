// SPDX-License-Identifier: Apache-2.0
// The matrix words of the port on the emulator with fragments of mma.m16n8k16; the contract is in port.h, the other
// words in port_emulator.h, which includes this.
#pragma once

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kTileRows = 16, kTileK = 32, kTileBytes = 1024;
inline constexpr int kTileCols = 8;
inline constexpr int kFragC = 4, kTileWords = 2;
inline constexpr int kTilesAhead = 2;

constexpr int PackedIndex(int row, int k) { return MmaTileIndex(row, k); }
// The column of x a lane carries, and where its 8 elements of the tile's 32 k start.
inline int XColumn() { return Lane() / 4; }
inline int XStart() { return Lane() % 4 * 8; }
inline int CRow(int i) { return Lane() / 4 + i / 2 * 8; }
inline int CCol(int i) { return Lane() % 4 * 2 + i % 2; }
inline constexpr int kRowsHeld = 2, kRowPeers = 4;
constexpr int RowHeld(int i) { return i / 2; }

template <class T>
struct FragA {
  Vec16 v[2];
};
template <class T>
struct FragB {
  Vec16 v;
};
struct FragC {
  float v[kFragC];
};
struct FragI {
  int v[kFragC];
};

template <class T>
FragA<T> LoadTile(const void* tile) {
  FragA<T> a;
  for (int i = 0; i < 2; ++i) {
    a.v[i] = Load16Once(static_cast<const char*>(tile) + i * 512 + Lane() * 16);
  }
  return a;
}
template <class T>
FragB<T> LoadX(const T* x, int stride, int columns, int k_left) {
  if (XColumn() >= columns || XStart() >= k_left) return {};
  return {Load16(x + static_cast<int64_t>(XColumn()) * stride + XStart())};
}
template <class T>
FragB<T> LoadXShared(Shared<T> x, int base, int stride) {
  return {x.Get16(base + XColumn() * stride + XStart())};
}
// The operand's share of a lane from 16 bytes of its two rows, whose words lie in turn (MmaTileIndex).
template <class T>
FragA<T> RowsOperand(const Vec16& upper, const Vec16& lower) {
  return {{{{upper.w[0], lower.w[0], upper.w[1], lower.w[1]}}, {{upper.w[2], lower.w[2], upper.w[3], lower.w[3]}}}};
}
template <class T>
FragA<T> LoadRows(const T* x, int stride, int rows, int k_left) {
  const auto row = [&](int r) {
    return r < rows && XStart() < k_left ? Load16(x + static_cast<int64_t>(r) * stride + XStart()) : Vec16{};
  };
  return RowsOperand<T>(row(XColumn()), row(XColumn() + 8));
}
template <class T>
FragA<T> ToOperand(const FragC (&c)[kTileK / kTileCols], Shared<T> x, int scratch) {
  SpreadResults(c, x, scratch);
  const auto row = [&](int r) { return x.Get16(scratch + r * kOperandPitch + XStart()); };
  return RowsOperand<T>(row(XColumn()), row(XColumn() + 8));
}
template <class T>
FragB<T> LoadColumns(Shared<T> x, int base, int stride) {
  FragB<T> b;
  for (int e = 0; e < 8; ++e) b.v.template Put<T>(e, x.Get(base + (XStart() + e) * stride + XColumn()));
  return b;
}

template <class T>
void Mma(FragC& c, const FragA<T>& a, const FragB<T>& b) {
  static_assert(std::same_as<T, bf16> || std::same_as<T, f16>);
  emulator::ThreadState& self = emulator::Self();
  self.group->matrix[self.lane] = {a.v[0].w, b.v.w, c.v, emulator::MatrixShape::kMma};
  self.block->grid->Meet(self, std::same_as<T, bf16> ? emulator::Meeting::kMmaBF16 : emulator::Meeting::kMmaF16);
}
inline void Mma(FragI& c, const FragA<i8x2>& a, const FragB<i8x2>& b) {
  emulator::ThreadState& self = emulator::Self();
  self.group->matrix[self.lane] = {a.v[0].w, b.v.w, c.v, emulator::MatrixShape::kMma};
  self.block->grid->Meet(self, emulator::Meeting::kMmaI8);
}

}  // namespace unimax::UM_PORT_NAMESPACE
