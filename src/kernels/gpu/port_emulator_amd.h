// SPDX-License-Identifier: Apache-2.0
// The matrix words of the port on the emulator with AMD's fragments (base/fragments.h), laid out by the functions that
// port_hip_matrix.h uses; the contract is in port.h, the other words in port_emulator.h, which includes this.
#pragma once

#include "base/fragments.h"

namespace unimax::UM_PORT_NAMESPACE {

#if UM_EMULATOR_WMMA == 11
using Instruction = Wmma11;
using IntInstruction = WmmaInt11;
#elif UM_EMULATOR_WMMA == 12
using Instruction = Wmma12;
using IntInstruction = WmmaInt12;
#elif UM_EMULATOR_MFMA == 32
using Instruction = Mfma32;
using IntInstruction = MfmaInt64;
#elif UM_EMULATOR_MFMA == 8
using Instruction = Mfma16;
using IntInstruction = MfmaInt16;
#else
using Instruction = Mfma16;
using IntInstruction = MfmaInt32;
#endif
static_assert(kLanes == Instruction::kLanes);

inline constexpr int kTileRows = 16, kTileK = 32, kTileCols = 16, kTileBytes = 1024;
inline constexpr int kWords = Instruction::kWords, kTileWords = kWords, kFragC = Instruction::kSums;
inline constexpr int kTilesAhead = UM_EMULATOR_WMMA ? 1 : 2;

constexpr int PackedIndex(int row, int k) { return kLanes == 32 ? WmmaTileIndex(row, k) : MfmaTileIndex(row, k); }
inline int WordK(int word) { return Instruction::WordK(Lane(), word); }
inline int CRow(int i) { return Instruction::CRow(Lane(), i); }
inline int CCol(int) { return Lane() % 16; }
inline constexpr int kRowsHeld = kFragC, kRowPeers = 16;
constexpr int RowHeld(int i) { return i; }

struct FragC {
  float v[kFragC];
};
struct FragI {
  int v[kFragC];
};
template <class T>
struct FragA {
  Vec16 v[kWords];
};
template <class T>
struct FragB {
  Vec16 v[kWords];
};

// Words of the stream kernel, which only runs where a lane has one word.
inline int XColumn() { return CCol(0); }
inline int XStart() { return WordK(0); }
template <class T>
FragA<T> RowsOperand(const Vec16& row, const Vec16& /*lower*/) {
  return {row};
}

// A lane's words, each from `load(k)`.
template <class Fragment, class Load>
Fragment EachWord(Load load) {
  Fragment f;
  for (int i = 0; i < kWords; ++i) f.v[i] = load(WordK(i));
  return f;
}
template <class T>
FragA<T> LoadTile(const void* tile) {
  FragA<T> a;
  for (int i = 0; i < kWords; ++i) {
    a.v[i] = Load16Once(static_cast<const char*>(tile) + Instruction::TileWord(Lane(), i));
  }
  return a;
}
template <class T>
Vec16 LoadInside(const T* x, int stride, int rows, int k, int k_left) {
  return CCol(0) < rows && k < k_left ? Load16(x + static_cast<int64_t>(CCol(0)) * stride + k) : Vec16{};
}
template <class T>
FragB<T> LoadX(const T* x, int stride, int columns, int k_left) {
  return EachWord<FragB<T>>([&](int k) { return LoadInside(x, stride, columns, k, k_left); });
}
template <class T>
FragA<T> LoadRows(const T* x, int stride, int rows, int k_left) {
  return EachWord<FragA<T>>([&](int k) { return LoadInside(x, stride, rows, k, k_left); });
}
template <class T>
FragB<T> LoadXShared(Shared<T> x, int base, int stride) {
  return EachWord<FragB<T>>([&](int k) { return x.Get16(base + CCol(0) * stride + k); });
}
template <class T>
FragA<T> ToOperand(const FragC (&c)[kTileK / kTileCols], Shared<T> x, int scratch) {
  SpreadResults(c, x, scratch);
  return EachWord<FragA<T>>([&](int k) { return x.Get16(scratch + CCol(0) * kOperandPitch + k); });
}
template <class T>
FragB<T> LoadColumns(Shared<T> x, int base, int stride) {
  return EachWord<FragB<T>>([&](int k) {
    Vec16 word;
    for (int e = 0; e < 8; ++e) word.template Put<T>(e, x.Get(base + (k + e) * stride + CCol(0)));
    return word;
  });
}

template <class T>
void Mma(FragC& c, const FragA<T>& a, const FragB<T>& b) {
  static_assert(std::same_as<T, bf16> || std::same_as<T, f16>);
  emulator::ThreadState& self = emulator::Self();
  self.group->matrix[self.lane] = {a.v[0].w, b.v[0].w, c.v, emulator::ShapeOf<Instruction>()};
  self.block->grid->Meet(self, std::same_as<T, bf16> ? emulator::Meeting::kMmaBF16 : emulator::Meeting::kMmaF16);
}
inline void Mma(FragI& c, const FragA<i8x2>& a, const FragB<i8x2>& b) {
  emulator::ThreadState& self = emulator::Self();
  self.group->matrix[self.lane] = {a.v[0].w, b.v[0].w, c.v, emulator::ShapeOf<IntInstruction>()};
  self.block->grid->Meet(self, emulator::Meeting::kMmaI8);
}

}  // namespace unimax::UM_PORT_NAMESPACE
