// SPDX-License-Identifier: Apache-2.0
// The matrix words of the port for AMD GPUs (CDNA: v_mfma, RDNA: v_wmma); the contract is in port.h, the other words in
// port_hip.h, which includes this.
#pragma once

namespace unimax::gpu {

// ---- Matrix: which lane holds what is in base/fragments.h ----
// A lane loads kWords words of 16 bytes of its row or column, at TileWord (bytes) of a tile or WordK (elements) of x.
#if defined(__gfx950__)
using Instruction = Mfma32;
using IntInstruction = MfmaInt64;
#elif defined(__gfx942__)
using Instruction = Mfma16;
using IntInstruction = MfmaInt32;
#elif UM_HIP_MFMA
using Instruction = Mfma16;
using IntInstruction = MfmaInt16;
#elif UM_HIP_GFX12
using Instruction = Wmma12;
using IntInstruction = WmmaInt12;
#else
using Instruction = Wmma11;
using IntInstruction = WmmaInt11;
#endif
#if UM_HIP_MFMA
UM_DEVICE constexpr int PackedIndex(int row, int k) { return MfmaTileIndex(row, k); }
#else
UM_DEVICE constexpr int PackedIndex(int row, int k) { return WmmaTileIndex(row, k); }
#endif
inline constexpr int kWords = Instruction::kWords, kTileWords = kWords, kFragC = Instruction::kSums;
// On RDNA a fragment takes twice the registers of CDNA's, of which a lane has half; more waves make up for fewer loads
// of each.
inline constexpr int kTilesAhead = UM_HIP_MFMA ? 2 : 1;
static_assert(kLanes == Instruction::kLanes);
UM_DEVICE int TileWord(int word) { return Instruction::TileWord(Lane(), word); }
UM_DEVICE int WordK(int word) { return Instruction::WordK(Lane(), word); }
UM_DEVICE int CRow(int i) { return Instruction::CRow(Lane(), i); }
UM_DEVICE int CCol(int) { return Lane() % 16; }
inline constexpr int kRowsHeld = kFragC, kRowPeers = 16;
UM_DEVICE constexpr int RowHeld(int i) { return i; }

struct Words {
  Vec16 v[kWords];
};
template <class T>
struct FragA : Words {};
template <class T>
struct FragB : Words {};
struct FragC {
  float v[kFragC];
};
struct FragI {
  int v[kFragC];
};

template <class T>
UM_DEVICE FragA<T> LoadTile(const void* tile) {
  FragA<T> a;
#pragma unroll
  for (int i = 0; i < kWords; ++i) a.v[i] = Load16Once(static_cast<const char*>(tile) + TileWord(i));
  return a;
}
// 16 bytes of a row, or zeros outside [rows, k_left]: there the last bytes inside are read instead, since a branch
// around every load would keep all of them, and what is made of them, in registers until the last one has come.
template <class T>
UM_DEVICE Vec16 LoadInside(const T* x, int stride, int row, int rows, int k, int k_left) {
  uint32_t mask = row < rows && k < k_left ? ~0u : 0;
  asm("" : "+v"(mask));  // or the compiler makes a branch of it
  const int64_t last_row = row < rows ? row : rows - 1;
  const int last_k = k < k_left ? k : k_left - 8;
  Vec16 v = Load16(x + last_row * stride + last_k);
#pragma unroll
  for (int i = 0; i < 4; ++i) v.w[i] &= mask;
  return v;
}
template <class T>
UM_DEVICE FragB<T> LoadX(const T* x, int stride, int columns, int k_left) {
  FragB<T> b;
#pragma unroll
  for (int i = 0; i < kWords; ++i) b.v[i] = LoadInside(x, stride, CCol(0), columns, WordK(i), k_left);
  return b;
}
template <class T>
UM_DEVICE FragB<T> LoadXShared(const Shared<T>& x, int base, int stride) {
  FragB<T> b;
#pragma unroll
  for (int i = 0; i < kWords; ++i) b.v[i] = x.Get16(base + CCol(0) * stride + WordK(i));
  return b;
}

template <class Element, int kCount>
using Vector = Element __attribute__((ext_vector_type(kCount)));
using Sums = Vector<float, kFragC>;

// Instruction number `i` of a tile.
#if defined(__gfx950__)
UM_DEVICE Sums Multiply(bf16, const Words& a, const Words& b, Sums c, int) {
  using Operand = Vector<__bf16, 8>;
  return __builtin_amdgcn_mfma_f32_16x16x32_bf16(BitCopy<Operand>(a.v[0]), BitCopy<Operand>(b.v[0]), c, 0, 0, 0);
}
UM_DEVICE Sums Multiply(f16, const Words& a, const Words& b, Sums c, int) {
  using Operand = Vector<_Float16, 8>;
  return __builtin_amdgcn_mfma_f32_16x16x32_f16(BitCopy<Operand>(a.v[0]), BitCopy<Operand>(b.v[0]), c, 0, 0, 0);
}
#elif UM_HIP_MFMA
template <class Operand>
UM_DEVICE Operand Part(const Words& words, int i) {
  const int first = Instruction::FromElement(i, 0) / 2;
  return BitCopy<Operand>(Vector<uint32_t, 2>{words.v[0].w[first], words.v[0].w[first + 1]});
}
UM_DEVICE Sums Multiply(bf16, const Words& a, const Words& b, Sums c, int i) {
  using Operand = Vector<short, 4>;
  return __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(Part<Operand>(a, i), Part<Operand>(b, i), c, 0, 0, 0);
}
UM_DEVICE Sums Multiply(f16, const Words& a, const Words& b, Sums c, int i) {
  using Operand = Vector<_Float16, 4>;
  return __builtin_amdgcn_mfma_f32_16x16x16f16(Part<Operand>(a, i), Part<Operand>(b, i), c, 0, 0, 0);
}
#elif UM_HIP_GFX12
UM_DEVICE Sums Multiply(bf16, const Words& a, const Words& b, Sums c, int i) {
  using Operand = Vector<__bf16, 8>;
  return __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(BitCopy<Operand>(a.v[i]), BitCopy<Operand>(b.v[i]), c);
}
UM_DEVICE Sums Multiply(f16, const Words& a, const Words& b, Sums c, int i) {
  using Operand = Vector<_Float16, 8>;
  return __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(BitCopy<Operand>(a.v[i]), BitCopy<Operand>(b.v[i]), c);
}
#else
// Every lane needs all 16 k, lanes 16..31 the same as 0..15. Fetching the other half from the partner at the last
// moment keeps tiles that are loaded ahead at half the registers.
template <class Operand>
UM_DEVICE Operand Part(const Words& words, int i) {
  Vector<uint32_t, 8> all;
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    const uint32_t own = words.v[i].w[w];
    const uint32_t other = __builtin_amdgcn_permlanex16(own, own, 0x76543210u, 0xfedcba98u, false, false);
    all[w] = Lane() < 16 ? own : other;
    all[w + 4] = Lane() < 16 ? other : own;
  }
  return BitCopy<Operand>(all);
}
UM_DEVICE Sums Multiply(bf16, const Words& a, const Words& b, Sums c, int i) {
  using Operand = Vector<short, 16>;
  return __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(Part<Operand>(a, i), Part<Operand>(b, i), c);
}
UM_DEVICE Sums Multiply(f16, const Words& a, const Words& b, Sums c, int i) {
  using Operand = Vector<_Float16, 16>;
  return __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(Part<Operand>(a, i), Part<Operand>(b, i), c);
}
#endif

template <class T>
UM_DEVICE void Mma(FragC& c, const FragA<T>& a, const FragB<T>& b) {
  Sums sums = BitCopy<Sums>(c);
#pragma unroll
  for (int step = 0; step < Instruction::kSteps; ++step) sums = Multiply(T(), a, b, sums, step);
  c = BitCopy<FragC>(sums);
}

// Words of int8: FromElement counts pairs, two of which are a register.
using IntSums = Vector<int, kFragC>;
template <class Operand>
UM_DEVICE Operand IntPart(const Words& words, int step) {
  const int first = IntInstruction::FromElement(step, 0) / 2;
  uint32_t part[sizeof(Operand) / 4];
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(Operand) / 4); ++i) {
    part[i] = words.v[IntInstruction::FromWord(step)].w[first + i];
  }
  Operand operand;
  __builtin_memcpy(&operand, part, sizeof(Operand));
  return operand;
}
#if defined(__gfx950__)
UM_DEVICE IntSums MultiplyInt(const Words& a, const Words& b, IntSums c, int step) {
  using Operand = Vector<int, 4>;
  return __builtin_amdgcn_mfma_i32_16x16x64_i8(IntPart<Operand>(a, step), IntPart<Operand>(b, step), c, 0, 0, 0);
}
#elif defined(__gfx942__)
UM_DEVICE IntSums MultiplyInt(const Words& a, const Words& b, IntSums c, int step) {
  return __builtin_amdgcn_mfma_i32_16x16x32_i8(IntPart<long>(a, step), IntPart<long>(b, step), c, 0, 0, 0);
}
#elif UM_HIP_MFMA
UM_DEVICE IntSums MultiplyInt(const Words& a, const Words& b, IntSums c, int step) {
  return __builtin_amdgcn_mfma_i32_16x16x16i8(IntPart<int>(a, step), IntPart<int>(b, step), c, 0, 0, 0);
}
#elif UM_HIP_GFX12
UM_DEVICE IntSums MultiplyInt(const Words& a, const Words& b, IntSums c, int step) {
  using Operand = Vector<int, 2>;
  return __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32_gfx12(true, IntPart<Operand>(a, step), true,
                                                          IntPart<Operand>(b, step), c, false);
}
#else
// Both halves of the lanes take the word that one of them holds.
UM_DEVICE Vector<int, 4> BothHalves(const Words& words, int step) {
  Vector<int, 4> all;
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    const uint32_t own = words.v[IntInstruction::FromWord(step)].w[w];
    const uint32_t other = __builtin_amdgcn_permlanex16(own, own, 0x76543210u, 0xfedcba98u, false, false);
    all[w] = static_cast<int>(Lane() / 16 == step % 2 ? own : other);
  }
  return all;
}
UM_DEVICE IntSums MultiplyInt(const Words& a, const Words& b, IntSums c, int step) {
  return __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32(true, BothHalves(a, step), true, BothHalves(b, step), c, false);
}
#endif
UM_DEVICE void Mma(FragI& c, const FragA<i8x2>& a, const FragB<i8x2>& b) {
  IntSums sums = BitCopy<IntSums>(c);
#pragma unroll
  for (int step = 0; step < IntInstruction::kSteps; ++step) sums = MultiplyInt(a, b, sums, step);
  c = BitCopy<FragI>(sums);
}

template <class T>
UM_DEVICE FragA<T> LoadRows(const T* x, int stride, int rows, int k_left) {
  FragA<T> a;
#pragma unroll
  for (int i = 0; i < kWords; ++i) a.v[i] = LoadInside(x, stride, Lane() % 16, rows, WordK(i), k_left);
  return a;
}
// Results and operands lie across each other here: they change places in shared memory.
inline constexpr int kOperandPitch = kTileK + 8;  // elements
inline constexpr int kOperandScratch = kTileRows * kOperandPitch * 2;
template <class T>
UM_DEVICE FragA<T> ToOperand(const FragC (&c)[kTileK / kTileCols], Shared<T> x, int scratch) {
  GroupSync();  // orders the last reads before these writes
#pragma unroll
  for (int t = 0; t < kTileK / kTileCols; ++t) {
#pragma unroll
    for (int i = 0; i < kFragC; ++i) {
      x.Set(scratch + CRow(i) * kOperandPitch + t * kTileCols + CCol(i), FromFloat<T>(c[t].v[i]));
    }
  }
  GroupSync();  // orders the writes before the reads
  FragA<T> a;
#pragma unroll
  for (int i = 0; i < kWords; ++i) a.v[i] = x.Get16(scratch + Lane() % 16 * kOperandPitch + WordK(i));
  return a;
}
template <class T>
UM_DEVICE FragB<T> LoadColumns(const Shared<T>& x, int base, int stride) {
  // One fragment after the other: all of a tile's at once would not fit 256 registers.
  if (!UM_HIP_MFMA) __builtin_amdgcn_sched_barrier(0);
  FragB<T> b;
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
#pragma unroll
    for (int e = 0; e < 8; ++e) b.v[i].template Put<T>(e, x.Get(base + (WordK(i) + e) * stride + CCol(0)));
  }
  return b;
}

}  // namespace unimax::gpu
