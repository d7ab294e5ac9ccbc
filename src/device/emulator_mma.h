// SPDX-License-Identifier: Apache-2.0
// The matrix instruction of an emulated group, from the registers of its lanes: each lane's fragment is placed where
// the hardware's documented mapping puts it, so a tile packed in another order gives a wrong product here as well.
#pragma once

#include <cstdint>
#include <type_traits>

#include "base/fragments.h"

namespace unimax::emulator {

enum class MatrixType : uint8_t { kBF16, kF16, kI8 };

// Whose fragments: NVIDIA's mma.m16n8k16 (m16n8k32 of int8), or AMD's as base/fragments.h has them.
enum class MatrixShape : uint8_t {
  kMma,
  kMfma16,
  kMfma32,
  kWmma11,
  kWmma12,
  kMfmaInt16,
  kMfmaInt32,
  kMfmaInt64,
  kWmmaInt11,
  kWmmaInt12
};
template <class Instruction>
constexpr MatrixShape ShapeOf() {
  if constexpr (std::is_same_v<Instruction, Mfma16>) return MatrixShape::kMfma16;
  if constexpr (std::is_same_v<Instruction, Mfma32>) return MatrixShape::kMfma32;
  if constexpr (std::is_same_v<Instruction, Wmma11>) return MatrixShape::kWmma11;
  if constexpr (std::is_same_v<Instruction, Wmma12>) return MatrixShape::kWmma12;
  if constexpr (std::is_same_v<Instruction, MfmaInt16>) return MatrixShape::kMfmaInt16;
  if constexpr (std::is_same_v<Instruction, MfmaInt32>) return MatrixShape::kMfmaInt32;
  if constexpr (std::is_same_v<Instruction, MfmaInt64>) return MatrixShape::kMfmaInt64;
  if constexpr (std::is_same_v<Instruction, WmmaInt11>) return MatrixShape::kWmmaInt11;
  return MatrixShape::kWmmaInt12;
}

// One lane's registers for a tile: a and b point at its weights and activations, two halves or four int8 in a word; c
// at its sums (float; of int8 int32_t). kMma: 8 words of weights, 4 of activations, 4 sums. Others: four words of each
// a 16-byte word of the instruction, and kSums.
struct MatrixLane {
  const uint32_t* a;
  const uint32_t* b;
  void* c;
  MatrixShape shape;
};

// Integers are exact. Products of halves are exact in f32 (8 + 8 or 11 + 11 significant bits). They are added one by
// one in f32, to nearest even, in the order of the instruction's own k index. Hardware adds several products at once
// with bits cut off below the largest, so its sums differ from these by a few units in the last place of the largest
// term.
void MultiplyGroup(MatrixType type, const MatrixLane* lanes);

}  // namespace unimax::emulator
