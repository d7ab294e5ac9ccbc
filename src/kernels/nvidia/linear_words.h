// SPDX-License-Identifier: Apache-2.0
// How blocks that share a panel's outputs (gpu/linear_parts.h) add them up on Hopper: one way through L2.
// Who calls: linear_wflat.
// Work:      a block whose share goes on leaves its part of a panel and does not wait. Those whose share ends with the
//            panel deal its squares among them, leave the others' squares to them, and look at the others' parts of
//            their own until they are there.
// Bound:     latency: a block writes up to M * S::kPanel floats at its end, and reads as many.
// Launch:    as many blocks as multiprocessors at most, one on each, so that none waits for one that cannot start.
// Reference: RefLinear. Sum order: blocks in the order of their k.
// Source:    the LL protocol of NCCL, with words that are flags themselves.
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/linear_parts.h"
#include "kernels/nvidia/port_hopper.h"

namespace unimax::gpu {

// A word of a part has not come as long as all its bits are set, which no sum has (NaNs of the device are 0x7fffffff,
// and others become that). Whoever reads it sets them again for the next launch.
inline constexpr uint32_t kNoSum = 0xffffffffu;
UM_DEVICE void LeaveSums(void* to, Vec16 v) {
#pragma unroll
  for (uint32_t& w : v.w) w = w == kNoSum ? 0x7fffffffu : w;
  StoreRelaxed(to, v);
}
UM_DEVICE bool HasCome(const Vec16& v) {
  return v.w[0] != kNoSum && v.w[1] != kNoSum && v.w[2] != kNoSum && v.w[3] != kNoSum;
}

// The blocks of a panel: `parts` of them from `first` on, of which the first `adding` add.
struct PanelParts {
  int first, parts, adding, begun;  // begun: 1 where the first block's share began in another panel
  UM_DEVICE static PanelParts Of(const PanelWork& work, int panel) {
    const int begin = panel * work.stages, end = begin + work.stages;
    PanelParts p;
    p.first = begin / work.share;
    p.parts = (end - 1) / work.share - p.first + 1;
    p.begun = p.first * work.share < begin ? 1 : 0;
    p.adding = end % work.share == 0 || end == work.total ? p.parts : p.parts - 1;
    return p;
  }
  template <class S>
  UM_DEVICE float* Sums(const LinearArgs& a, int part, int square) const {
    const int slot = 2 * (first + part) + (part == 0 ? begun : 0);
    return static_cast<float*>(a.words) + static_cast<int64_t>(slot) * S::kRows * S::kPanel +
           square * Squares<S>::kFloats;
  }
};

// Leaves the block's part of a square to the block that adds it up: what that one reads, and nothing else.
template <class S>
UM_DEVICE void LeaveSquare(const LinearArgs& a, float* to, int panel, int column) {
  using Q = Squares<S>;
  const bool gated = a.flags & kLinearActMul;
#pragma unroll
  for (int i = 0; i < Q::kFloats / 8 / kLanes; ++i) {
    const int at = Lane() + i * kLanes, x_row = column + at / (kSquareRows / 8), row = at % (kSquareRows / 8) * 8;
    const int n = panel * S::kPanel + Q::Row();
    if (x_row >= a.m || (gated ? n / 2 + row % kTileRows >= a.n / 2 : n + row >= a.n)) continue;
    float sum[8] = {};
    AddCells<S>(sum, x_row, Q::Row() + row);
    LeaveSums(to + at * 8, FourOf(sum));
    LeaveSums(to + at * 8 + 4, FourOf(sum + 4));
  }
}

// Adds all parts of a lane's octets of a square: rows of x `rows` in the square, row of w `row` in it.
template <class S, int kOctets>
UM_DEVICE void AddParts(const LinearArgs& a, const PanelParts& p, int own, int square, int column,
                        const int (&rows)[kOctets], int row, float* total) {
  constexpr int kAtOnce = 3, kPatience = 1 << 22;  // parts on their way at once; looks
  if (rows[0] < 0) return;
#pragma unroll 1
  for (int part = 0; part < p.parts; part += kAtOnce) {
    Vec16 v[kAtOnce][2 * kOctets];
    const auto place = [&](int b, int i) {
      const int in_square = rows[i / 2] < 0 ? rows[0] : rows[i / 2];
      return p.Sums<S>(a, part + b, square) + in_square * kSquareRows + row + i % 2 * 4;
    };
    bool come = false;
    for (int looks = 0; !come && looks < kPatience; ++looks) {
      come = true;
#pragma unroll
      for (int b = 0; b < kAtOnce; ++b) {
#pragma unroll
        for (int i = 0; i < 2 * kOctets; ++i) {
          v[b][i] = {};
          if (part + b < p.parts && part + b != own) v[b][i] = LoadRelaxed(place(b, i));
        }
      }
#pragma unroll
      for (int b = 0; b < kAtOnce; ++b) {
#pragma unroll
        for (int i = 0; i < 2 * kOctets; ++i) come = come && HasCome(v[b][i]);
      }
    }
#pragma unroll
    for (int b = 0; b < kAtOnce; ++b) {
      if (part + b >= p.parts) continue;
#pragma unroll
      for (int i = 0; i < 2 * kOctets; ++i) {
        if (rows[i / 2] < 0) continue;
        if (part + b != own) {
          AddFour(total + 4 * i, v[b][i]);
          StoreRelaxed(place(b, i), {{kNoSum, kNoSum, kNoSum, kNoSum}});
        } else if (i % 2 == 0) {
          AddCells<S>(total + 4 * i, column + rows[i / 2], Squares<S>::Row() + row);
        }
      }
    }
  }
}

// After a block's last stage of a panel, by groups 0 .. S::kGroups - 1, when the cells of their rows are complete.
template <class T, class S>
UM_DEVICE void FinishByWords(const LinearArgs& a, const PanelWork& work, int panel) {
  using Q = Squares<S>;
  const PanelParts p = PanelParts::Of(work, panel);
  const int own = BlockX() - p.first, count = Q::Count(a.m);
#pragma unroll 1
  for (int s = 0; s < count; ++s) {
    const int square = Q::Number(s);
    if (square % p.adding != own) LeaveSquare<S>(a, p.Sums<S>(a, own, square), panel, Q::Column(s));
  }
#pragma unroll 1
  for (int s = 0; s < count; ++s) {
    const int square = Q::Number(s), column = Q::Column(s);
    if (square % p.adding != own) continue;
    const auto add = [&](const auto& rows, int row, float* total) {
      AddParts<S>(a, p, own, square, column, rows, row, total);
    };
    a.flags& kLinearActMul ? StoreSquare<T, S, true>(a, panel, column, add)
                           : StoreSquare<T, S, false>(a, panel, column, add);
  }
}

}  // namespace unimax::gpu
