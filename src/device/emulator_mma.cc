// SPDX-License-Identifier: Apache-2.0
#include "device/emulator_mma.h"

#include <bit>
#include <cstring>

namespace unimax::emulator {
namespace {

constexpr int kRows = 16, kTileK = 32;

// A power of two puts an f16's exponent right, subnormals included, without a branch but for infinity and NaN.
float FromF16(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  uint32_t magnitude =
      std::bit_cast<uint32_t>(std::bit_cast<float>(static_cast<uint32_t>(h & 0x7fffu) << 13) * 0x1p112f);
  if ((h & 0x7c00u) == 0x7c00u) magnitude |= 0x7f800000u;
  return std::bit_cast<float>(sign | magnitude);
}

// What a type's elements become, alone and four at a time, and how many of them a register holds.
template <MatrixType kType>
struct Element {
  using Value = float;
  using Columns = float __attribute__((vector_size(16)));
  static constexpr int kCount = 2;
};
template <>
struct Element<MatrixType::kI8> {
  using Value = int32_t;
  using Columns = int32_t __attribute__((vector_size(16)));
  static constexpr int kCount = 4;
};

// The elements of a register, the lowest bits first, `stride` apart.
template <MatrixType kType>
void Unpack(uint32_t word, typename Element<kType>::Value* to, int stride) {
  if constexpr (kType == MatrixType::kI8) {
    for (int i = 0; i < 4; ++i) to[i * stride] = static_cast<int8_t>(word >> (8 * i));
  } else if constexpr (kType == MatrixType::kF16) {
    to[0] = FromF16(static_cast<uint16_t>(word));
    to[stride] = FromF16(static_cast<uint16_t>(word >> 16));
  } else {
    to[0] = std::bit_cast<float>(word << 16);
    to[stride] = std::bit_cast<float>(word & 0xffff0000u);
  }
}

// One instruction's operands. Four columns are multiplied at a time: each sum is still added k by k.
template <MatrixType kType, int kCols, int kK>
struct Operands {
  using Value = typename Element<kType>::Value;
  using Columns = typename Element<kType>::Columns;
  alignas(16) Value a[kRows][kK];
  alignas(16) Value b[kK][kCols];
  alignas(16) Value c[kRows][kCols];

  void Multiply() {
    constexpr int kParts = kCols / 4;
    for (int row = 0; row < kRows; ++row) {
      Columns sum[kParts];
      std::memcpy(sum, c[row], sizeof(sum));
      for (int k = 0; k < kK; ++k) {
        Columns x[kParts];
        std::memcpy(x, b[k], sizeof(x));
        for (int i = 0; i < kParts; ++i) sum[i] += a[row][k] * x[i];
      }
      std::memcpy(c[row], sum, sizeof(sum));
    }
  }
};

// NVIDIA mma.m16n8k16: a lane (g = lane / 4, t = lane % 4) holds of A the pairs (g, 2t) (g + 8, 2t) (g, 2t + 8)
// (g + 8, 2t + 8), of B the pairs (2t, g) (2t + 8, g), of C the pairs (g, 2t) (g + 8, 2t). Two instructions a tile.
// m16n8k32 of int8 is the same with two elements in place of each half.
template <MatrixType kType>
void Multiply32(const MatrixLane* lanes) {
  using Value = typename Element<kType>::Value;
  constexpr int kCount = Element<kType>::kCount;
  Operands<kType, 8, 8 * kCount> m;
  for (int lane = 0; lane < 32; ++lane) {
    const Value* c = static_cast<const Value*>(lanes[lane].c);
    for (int i = 0; i < 4; ++i) m.c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = c[i];
  }
  for (int instruction = 0; instruction < 2; ++instruction) {
    for (int lane = 0; lane < 32; ++lane) {
      const int g = lane / 4, k = lane % 4 * kCount;
      const uint32_t* a = lanes[lane].a + instruction * 4;
      const uint32_t* b = lanes[lane].b + instruction * 2;
      for (int i = 0; i < 4; ++i) Unpack<kType>(a[i], &m.a[g + i % 2 * 8][k + i / 2 * 4 * kCount], 1);
      for (int i = 0; i < 2; ++i) Unpack<kType>(b[i], &m.b[k + i * 4 * kCount][g], 8);
    }
    m.Multiply();
  }
  for (int lane = 0; lane < 32; ++lane) {
    Value* c = static_cast<Value*>(lanes[lane].c);
    for (int i = 0; i < 4; ++i) c[i] = m.c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
  }
}

// AMD's instructions: each lane's elements (of int8: pairs) come from where Instruction says, and stand for the k that
// it says.
template <class Instruction, MatrixType kType>
void MultiplyAmd(const MatrixLane* lanes) {
  using I = Instruction;
  using Value = typename Element<kType>::Value;
  constexpr int kEach = Element<kType>::kCount / 2;
  static_assert(I::kK * I::kSteps == kTileK);
  Operands<kType, 16, I::kK * kEach> m;
  for (int lane = 0; lane < I::kLanes; ++lane) {
    const Value* c = static_cast<const Value*>(lanes[lane].c);
    for (int i = 0; i < I::kSums; ++i) m.c[I::CRow(lane, i)][lane % 16] = c[i];
  }
  for (int step = 0; step < I::kSteps; ++step) {
    for (int lane = 0; lane < I::kLanes; ++lane) {
      for (int i = 0; i < I::kElements; i += 2) {  // neighbours are neighbours everywhere
        const MatrixLane& from = lanes[I::FromLane(lane, step, i)];
        const int word = I::FromWord(step) * 4 + I::FromElement(step, i) / 2, row = lane % 16;
        const int k = I::K(lane, i) * kEach;
        Unpack<kType>(from.a[word], &m.a[row][k], 1);
        Unpack<kType>(from.b[word], &m.b[k][row], 16);
      }
    }
    m.Multiply();
  }
  for (int lane = 0; lane < I::kLanes; ++lane) {
    Value* c = static_cast<Value*>(lanes[lane].c);
    for (int i = 0; i < I::kSums; ++i) c[i] = m.c[I::CRow(lane, i)][lane % 16];
  }
}

template <MatrixType kType>
void MultiplyHalves(const MatrixLane* lanes) {
  switch (lanes[0].shape) {
    case MatrixShape::kMfma16:
      return MultiplyAmd<Mfma16, kType>(lanes);
    case MatrixShape::kMfma32:
      return MultiplyAmd<Mfma32, kType>(lanes);
    case MatrixShape::kWmma11:
      return MultiplyAmd<Wmma11, kType>(lanes);
    case MatrixShape::kWmma12:
      return MultiplyAmd<Wmma12, kType>(lanes);
    default:
      return Multiply32<kType>(lanes);
  }
}

void MultiplyIntegers(const MatrixLane* lanes) {
  constexpr MatrixType kType = MatrixType::kI8;
  switch (lanes[0].shape) {
    case MatrixShape::kMfmaInt16:
      return MultiplyAmd<MfmaInt16, kType>(lanes);
    case MatrixShape::kMfmaInt32:
      return MultiplyAmd<MfmaInt32, kType>(lanes);
    case MatrixShape::kMfmaInt64:
      return MultiplyAmd<MfmaInt64, kType>(lanes);
    case MatrixShape::kWmmaInt11:
      return MultiplyAmd<WmmaInt11, kType>(lanes);
    case MatrixShape::kWmmaInt12:
      return MultiplyAmd<WmmaInt12, kType>(lanes);
    default:
      return Multiply32<kType>(lanes);
  }
}

}  // namespace

void MultiplyGroup(MatrixType type, const MatrixLane* lanes) {
  switch (type) {
    case MatrixType::kBF16:
      return MultiplyHalves<MatrixType::kBF16>(lanes);
    case MatrixType::kF16:
      return MultiplyHalves<MatrixType::kF16>(lanes);
    case MatrixType::kI8:
      return MultiplyIntegers(lanes);
  }
}

}  // namespace unimax::emulator
