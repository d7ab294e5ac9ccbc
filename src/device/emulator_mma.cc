// SPDX-License-Identifier: Apache-2.0
#include "device/emulator_mma.h"

#include <bit>

namespace unimax::emulator {
namespace {

constexpr int kRows = 16, kK = 16;  // one instruction; a tile of 32 k takes two

// A power of two puts an f16's exponent right, subnormals included, without a branch but for infinity and NaN.
float FromF16(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  uint32_t magnitude =
      std::bit_cast<uint32_t>(std::bit_cast<float>(static_cast<uint32_t>(h & 0x7fffu) << 13) * 0x1p112f);
  if ((h & 0x7c00u) == 0x7c00u) magnitude |= 0x7f800000u;
  return std::bit_cast<float>(sign | magnitude);
}

// Element i of registers.
template <MatrixType kType>
float Value(const uint32_t* words, int i) {
  const uint16_t bits = static_cast<uint16_t>(words[i / 2] >> (i % 2 * 16));
  if constexpr (kType == MatrixType::kF16) return FromF16(bits);
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

template <int kCols>
struct Operands {
  float a[kRows][kK];
  float b[kK][kCols];
  float c[kRows][kCols];

  void Multiply() {
    for (int row = 0; row < kRows; ++row) {
      for (int k = 0; k < kK; ++k) {
        const float weight = a[row][k];
        for (int col = 0; col < kCols; ++col) c[row][col] += weight * b[k][col];
      }
    }
  }
};

// NVIDIA mma.m16n8k16: a lane (g = lane / 4, t = lane % 4) holds of A the pairs (g, 2t) (g + 8, 2t) (g, 2t + 8)
// (g + 8, 2t + 8), of B the pairs (2t, g) (2t + 8, g), of C the pairs (g, 2t) (g + 8, 2t). Two instructions a tile.
template <MatrixType kType>
void Multiply32(const MatrixLane* lanes) {
  Operands<8> m;
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) m.c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = lanes[lane].c[i];
  }
  for (int instruction = 0; instruction < 2; ++instruction) {
    for (int lane = 0; lane < 32; ++lane) {
      const int g = lane / 4, t = lane % 4;
      const uint32_t* a = lanes[lane].a + instruction * 4;
      const uint32_t* b = lanes[lane].b + instruction * 2;
      for (int i = 0; i < 8; ++i) m.a[g + i / 2 % 2 * 8][2 * t + i / 4 * 8 + i % 2] = Value<kType>(a, i);
      for (int i = 0; i < 4; ++i) m.b[2 * t + i / 2 * 8 + i % 2][g] = Value<kType>(b, i);
    }
    m.Multiply();
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) lanes[lane].c[i] = m.c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
  }
}

// AMD v_mfma_f32_16x16x16: a lane (r = lane % 16, q = lane / 16) holds of A row r and of B column r the k 4q .. 4q + 3,
// and of C column r the rows 4q .. 4q + 3. Two instructions a tile.
template <MatrixType kType>
void Multiply64(const MatrixLane* lanes) {
  Operands<16> m;
  for (int lane = 0; lane < 64; ++lane) {
    for (int i = 0; i < 4; ++i) m.c[lane / 16 * 4 + i][lane % 16] = lanes[lane].c[i];
  }
  for (int instruction = 0; instruction < 2; ++instruction) {
    for (int lane = 0; lane < 64; ++lane) {
      const int r = lane % 16, q = lane / 16;
      for (int i = 0; i < 4; ++i) {
        m.a[r][4 * q + i] = Value<kType>(lanes[lane].a, instruction * 4 + i);
        m.b[4 * q + i][r] = Value<kType>(lanes[lane].b, instruction * 4 + i);
      }
    }
    m.Multiply();
  }
  for (int lane = 0; lane < 64; ++lane) {
    for (int i = 0; i < 4; ++i) lanes[lane].c[i] = m.c[lane / 16 * 4 + i][lane % 16];
  }
}

}  // namespace

void MultiplyGroup(MatrixType type, const MatrixLane* lanes, int lane_count) {
  const bool bf16 = type == MatrixType::kBF16;
  if (lane_count == 32) {
    bf16 ? Multiply32<MatrixType::kBF16>(lanes) : Multiply32<MatrixType::kF16>(lanes);
  } else {
    bf16 ? Multiply64<MatrixType::kBF16>(lanes) : Multiply64<MatrixType::kF16>(lanes);
  }
}

}  // namespace unimax::emulator
