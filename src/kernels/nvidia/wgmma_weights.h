// SPDX-License-Identifier: Apache-2.0
// Packed tiles of weights in shared memory as operands of wgmma, whose k then goes as in the rows of x.
// Who calls: the kernels of Hopper's matrix instruction.
// Work:      16 rows x 32 k a tile, of a warp, as two operands.
// Bound:     shared memory: each byte is read once.
// Launch:    by warps; every tile begins on 1,024 bytes.
// Reference: base/tile_order.h, MmaTileIndex.
// Source:    PTX ISA 9.0, wgmma, "Register fragments".
#pragma once

#include "kernels/nvidia/port_hopper_words.h"

namespace unimax::UM_PORT_NAMESPACE {

// The instruction takes k in the order of x's rows: a lane (row r, t of four) needs words that the packed tile gives to
// other lanes of the row (see MmaTileIndex). {row, row + 8} of k = 8 j + 2 t lie side by side, j the eighth of a tile.
// Lanes take the four j in turns of their own, `turn`, so that 16 lanes meet all banks, and put them in order.
struct WgmmaWeights {
  uint32_t first;  // where this lane's words of j = turn lie in a stage
  int turn;
};

// Of a thread whose group has strip number (group - kFirstGroup) of the stage, from byte kBase on.
template <int kFirstGroup, int kBase, int kStripTiles>
UM_DEVICE WgmmaWeights WeightsOf(int thread) {
  const int strip = thread / kLanes - kFirstGroup, lane = thread % kLanes, r = lane / 4, t = lane % 4;
  const int turn = r / 2 % 2 * 2 + t / 2;
  const uint32_t at = kBase + strip * kStripTiles * kTileBytes;
  return {at + t / 2 * (kTileBytes / 2) + r * 64 + turn * 16 + t % 2 * 8, turn};
}

UM_DEVICE void SwapWhere(bool swap, TwoRows& a, TwoRows& b) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint32_t first = swap ? b.w[i] : a.w[i], second = swap ? a.w[i] : b.w[i];
    a.w[i] = first;
    b.w[i] = second;
  }
}
// The words of a strip's kTiles k-tiles on their way to registers.
template <int kTiles>
struct WeightWords {
  TwoRows v[kTiles][4];
  UM_DEVICE void Load(uint32_t stage, const WgmmaWeights& weights) {
#pragma unroll
    for (int d = 0; d < kTiles; ++d) {
#pragma unroll
      for (int i = 0; i < 4; ++i) v[d][i] = LoadTwoRows(((stage + weights.first) ^ (i * 16)) + d * kTileBytes);
    }
  }
  // As operands of two instructions a k-tile.
  template <int kHeld>
  UM_DEVICE void Order(Vec16 (&held)[kHeld], const WgmmaWeights& weights) {
#pragma unroll
    for (int d = 0; d < kTiles; ++d) {
      SwapWhere(weights.turn & 1, v[d][0], v[d][1]);
      SwapWhere(weights.turn & 1, v[d][2], v[d][3]);
      SwapWhere(weights.turn & 2, v[d][0], v[d][2]);
      SwapWhere(weights.turn & 2, v[d][1], v[d][3]);
#pragma unroll
      for (int q = 0; q < 2; ++q) {
        held[d * 2 + q] = {{v[d][2 * q].w[0], v[d][2 * q].w[1], v[d][2 * q + 1].w[0], v[d][2 * q + 1].w[1]}};
      }
    }
  }
};
template <int kTiles, int kHeld>
UM_DEVICE void LoadWeights(Vec16 (&held)[kHeld], uint32_t stage, const WgmmaWeights& weights) {
  WeightWords<kTiles> words;
  words.Load(stage, weights);
  words.Order(held, weights);
}

}  // namespace unimax::UM_PORT_NAMESPACE
