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

// The two elements of a register, the lower half first.
template <MatrixType kType>
void Unpack(uint32_t word, float& low, float& high) {
  if constexpr (kType == MatrixType::kF16) {
    low = FromF16(static_cast<uint16_t>(word));
    high = FromF16(static_cast<uint16_t>(word >> 16));
  } else {
    low = std::bit_cast<float>(word << 16);
    high = std::bit_cast<float>(word & 0xffff0000u);
  }
}

// Four columns at a time: each sum is still added k by k.
using Columns = float __attribute__((vector_size(16)));

template <int kCols, int kK>
struct Operands {
  alignas(16) float a[kRows][kK];
  alignas(16) float b[kK][kCols];
  alignas(16) float c[kRows][kCols];

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
template <MatrixType kType>
void Multiply32(const MatrixLane* lanes) {
  Operands<8, 16> m;
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) m.c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = lanes[lane].c[i];
  }
  for (int instruction = 0; instruction < 2; ++instruction) {
    for (int lane = 0; lane < 32; ++lane) {
      const int g = lane / 4, k = lane % 4 * 2;
      const uint32_t* a = lanes[lane].a + instruction * 4;
      const uint32_t* b = lanes[lane].b + instruction * 2;
      for (int i = 0; i < 4; ++i) {
        float* pair = &m.a[g + i % 2 * 8][k + i / 2 * 8];
        Unpack<kType>(a[i], pair[0], pair[1]);
      }
      for (int i = 0; i < 2; ++i) Unpack<kType>(b[i], m.b[k + i * 8][g], m.b[k + i * 8 + 1][g]);
    }
    m.Multiply();
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) lanes[lane].c[i] = m.c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
  }
}

// AMD's instructions: each lane's elements come from where Instruction says, and stand for the k that it says.
template <class Instruction, MatrixType kType>
void MultiplyAmd(const MatrixLane* lanes) {
  using I = Instruction;
  static_assert(I::kK * I::kSteps == kTileK);
  Operands<16, I::kK> m;
  for (int lane = 0; lane < I::kLanes; ++lane) {
    for (int i = 0; i < I::kSums; ++i) m.c[I::CRow(lane, i)][lane % 16] = lanes[lane].c[i];
  }
  for (int step = 0; step < I::kSteps; ++step) {
    for (int lane = 0; lane < I::kLanes; ++lane) {
      for (int i = 0; i < I::kElements; i += 2) {  // neighbours are neighbours everywhere
        const MatrixLane& from = lanes[I::FromLane(lane, i)];
        const int word = I::FromWord(step) * 4 + I::FromElement(step, i) / 2, row = lane % 16, k = I::K(lane, i);
        Unpack<kType>(from.a[word], m.a[row][k], m.a[row][k + 1]);
        Unpack<kType>(from.b[word], m.b[k][row], m.b[k + 1][row]);
      }
    }
    m.Multiply();
  }
  for (int lane = 0; lane < I::kLanes; ++lane) {
    for (int i = 0; i < I::kSums; ++i) lanes[lane].c[i] = m.c[I::CRow(lane, i)][lane % 16];
  }
}

template <MatrixType kType>
void Multiply(const MatrixLane* lanes) {
  switch (lanes[0].shape) {
    case MatrixShape::kMma:
      return Multiply32<kType>(lanes);
    case MatrixShape::kMfma16:
      return MultiplyAmd<Mfma16, kType>(lanes);
    case MatrixShape::kMfma32:
      return MultiplyAmd<Mfma32, kType>(lanes);
    case MatrixShape::kWmma11:
      return MultiplyAmd<Wmma11, kType>(lanes);
    case MatrixShape::kWmma12:
      return MultiplyAmd<Wmma12, kType>(lanes);
  }
}

}  // namespace

void MultiplyGroup(MatrixType type, const MatrixLane* lanes) {
  type == MatrixType::kBF16 ? Multiply<MatrixType::kBF16>(lanes) : Multiply<MatrixType::kF16>(lanes);
}

}  // namespace unimax::emulator
