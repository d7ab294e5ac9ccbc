// SPDX-License-Identifier: Apache-2.0
// The matrix instruction of an emulated group, from the registers of its lanes: each lane's fragment is placed where
// the hardware's documented mapping puts it, so a tile packed in another order gives a wrong product here as well.
#pragma once

#include <cstdint>

namespace unimax::emulator {

enum class MatrixType : uint8_t { kBF16, kF16 };

// One lane's registers: a points at 16 (32 lanes) or 8 (64 lanes) weights, b at 8 activations, two in a word; c at 4
// sums.
struct MatrixLane {
  const uint32_t* a;
  const uint32_t* b;
  float* c;
};

// Products are exact in f32 (8 + 8 or 11 + 11 significant bits). They are added one by one in f32, to nearest even, in
// the order of the instruction's own k index. Hardware adds several products at once with bits cut off below the
// largest, so its sums differ from these by a few units in the last place of the largest term.
void MultiplyGroup(MatrixType type, const MatrixLane* lanes, int lane_count);

}  // namespace unimax::emulator
