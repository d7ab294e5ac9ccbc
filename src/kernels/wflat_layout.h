// SPDX-License-Identifier: Apache-2.0
// Where linear_wflat and linear_chain (nvidia/) keep what in a block's shared memory: sums of a panel, barriers, what
// chains need, then the rings: weights and x of stages, which come and go by themselves. For device and host.
#pragma once

#include "kernels/args.h"

namespace unimax {

template <int kM>
struct WflatLayout {
  static constexpr int kRows = kM, kPanel = 128, kStageK = 128;                    // rows of x, rows of w, k of a stage
  static constexpr int kWeights = kPanel * kStageK * 2, kX = kRows * kStageK * 2;  // bytes of a stage
  static constexpr int kWeightSlots = kRows == 16 ? 6 : kRows == 32 ? 5 : 4, kXSlots = kWeightSlots;
  // Sums as f32 [kRows][kCellPitch], then two barriers a slot.
  static constexpr int kCellPitch = kPanel + 4, kCells = kRows * kCellPitch;
  static constexpr int kWeightBarriers = kCells * 4, kXBarriers = kWeightBarriers + 16 * kWeightSlots;
  // Of chains, a barrier for each link: x may be read; its rows' factors are there. Then the factors and means.
  static constexpr int kReady = kXBarriers + 16 * kXSlots, kScaled = kReady + 8 * kChainLinks;
  static constexpr int kFactors = kScaled + 8 * kChainLinks;
  static constexpr int kRings = kFactors + kRows * 8;  // on the next border of 1,024
  static constexpr int kBytes = kRings + 1024 + kWeightSlots * kWeights + kXSlots * kX;
};

}  // namespace unimax
