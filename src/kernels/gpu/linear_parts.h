// SPDX-License-Identifier: Apache-2.0
// Products whose blocks share outputs.
// Who calls: linear_shared, nvidia/wflat_parts.
// Work:      w is cut into panels of S::kPanel rows and these along K into stages of S::kStageK. All stages of all
//            panels, in order, are dealt over the blocks in equal shares. A panel that several blocks have part of is
//            added up by those of them that finish last.
// Bound:     latency: a block leaves up to M * S::kPanel floats at its end, and reads as many of each other block.
// Launch:    as the caller's; groups 0 .. S::kGroups - 1 end a panel.
// Reference: RefLinear. Sum order: k-groups of a block, then blocks in the order of their k.
// Source:    Stream-K (arXiv 2301.03598).
//
// S, the shape: kRows (of x), kPanel, kStageK; a panel's sums in shared memory, as f32 [kKGroups][kRows][kCellPitch]
// from byte kCellBytes on (kCells floats a k-group).
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/linear_flat.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

// What a block does: stages begin .. end - 1 of all of them, panel by panel.
struct PanelWork {
  int stages, share, begin, end;  // stages: of a panel; share: of a block
};
template <class S>
UM_DEVICE PanelWork WorkOf(const LinearArgs& a) {
  PanelWork work;
  work.stages = (a.k + S::kStageK - 1) / S::kStageK;
  const int total = (a.n + S::kPanel - 1) / S::kPanel * work.stages;
  work.share = (total + GridX() - 1) / GridX();
  work.begin = BlockX() * work.share;
  work.end = work.begin + work.share < total ? work.begin + work.share : total;
  return work;
}

// A panel's sums are ended in squares of 32 rows of w by 16 of x, each by a group of threads for itself: the blocks
// that have part of a panel share the adding up.
inline constexpr int kSquareRows = 2 * kTileRows, kSquareColumns = 16;
template <class S>
struct Squares {
  static constexpr int kAcross = S::kPanel / kSquareRows, kDown = S::kRows / kSquareColumns, kOf = kAcross * kDown;
  static constexpr int kGroupsEach = S::kGroups / kAcross;  // that have the same rows of w
  static constexpr int kFloats = kSquareRows * kSquareColumns;
  UM_DEVICE static int Row() { return Group() / kGroupsEach * kSquareRows; }  // in the panel, of this group's squares
  UM_DEVICE static int Column(int s) { return (Group() % kGroupsEach + s * kGroupsEach) * kSquareColumns; }
  UM_DEVICE static int Number(int s) { return Group() / kGroupsEach * kDown + Column(s) / kSquareColumns; }
  UM_DEVICE static int Count(int m) {  // of this group's squares that M rows of x reach
    const int down = (m + kSquareColumns - 1) / kSquareColumns - Group() % kGroupsEach;
    return down <= 0 ? 0 : (down + kGroupsEach - 1) / kGroupsEach;
  }
};

// Of a lane: octets of neighbouring outputs, one above the other.
template <int kOctets>
struct LinearOctets {
  int row[kOctets];  // of x, or -1
  int n;             // the first output of each
  float sum[8 * kOctets];
};

UM_DEVICE void AddFour(float* sum, const Vec16& v) {
#pragma unroll
  for (int j = 0; j < 4; ++j) sum[j] += v.As<float>(j);
}
UM_DEVICE void AddEight(float* sum, const float* from) {
  AddFour(sum, Load16(from));
  AddFour(sum + 4, Load16(from + 4));
}
UM_DEVICE Vec16 FourOf(const float* sum) {
  Vec16 v;
#pragma unroll
  for (int j = 0; j < 4; ++j) v.Put(j, sum[j]);
  return v;
}
// The block's sums of eight neighbouring rows of w: those of its k-groups.
template <class S>
UM_DEVICE void AddCells(float* sum, int column, int row) {
  Shared<float> cells(S::kCellBytes);
#pragma unroll
  for (int g = 0; g < S::kKGroups; ++g) {
    const int at = g * S::kCells + column * S::kCellPitch + row;
    AddFour(sum, cells.Get16(at));
    AddFour(sum + 4, cells.Get16(at + 4));
  }
}

template <int kOctets>
UM_DEVICE int64_t OctetAt(const LinearArgs& a, const LinearOctets<kOctets>& out, int i) {
  return static_cast<int64_t>(out.row[i]) * a.y_stride + out.n;
}
template <int kOctets>
UM_DEVICE void LoadResidual(const LinearArgs& a, const LinearOctets<kOctets>& out, Vec16 (&residual)[2 * kOctets]) {
#pragma unroll
  for (int i = 0; i < kOctets; ++i) {
    if (a.residual == nullptr || out.row[i] < 0) continue;
    residual[2 * i] = Load16(a.residual + OctetAt(a, out, i));
    residual[2 * i + 1] = Load16(a.residual + OctetAt(a, out, i) + 4);
  }
}
// What FinishLinear and FinishGated do, of whole octets, but for storing.
template <int kOctets>
UM_DEVICE void FinishOctets(const LinearArgs& a, LinearOctets<kOctets>& out, float* up,
                            const Vec16 (&residual)[2 * kOctets]) {
  if (a.bias != nullptr) {
#pragma unroll
    for (int i = 0; i < kOctets; ++i) AddEight(out.sum + 8 * i, a.bias + out.n);
    if (up != nullptr) AddEight(up, a.bias + a.n / 2 + out.n);
  }
  Activate(a.act, out.sum);
#pragma unroll
  for (int i = 0; i < 8 * kOctets; ++i) {
    if (up != nullptr) out.sum[i] *= up[i];
    out.sum[i] = out.sum[i] * a.scale + residual[i / 4].template As<float>(i % 4);
  }
  Cap(a.cap, out.sum);
}
template <class T, int kOctets>
UM_DEVICE void StoreOctets(const LinearArgs& a, const LinearOctets<kOctets>& out) {
#pragma unroll
  for (int i = 0; i < kOctets; ++i) {
    if (out.row[i] < 0) continue;
    const float* sum = out.sum + 8 * i;
    const int64_t at = OctetAt(a, out, i);
    if (a.flags & kLinearWide) {
      Store16(static_cast<float*>(a.y) + at, FourOf(sum));
      Store16(static_cast<float*>(a.y) + at + 4, FourOf(sum + 4));
    } else {
      Vec16 v;
#pragma unroll
      for (int j = 0; j < 8; ++j) v.Put(j, FromFloat<T>(sum[j]));
      Store16(static_cast<T*>(a.y) + at, v);
    }
  }
}
// The same where octets end beyond the outputs, or rows of y begin within one.
template <class T, int kOctets>
UM_DEVICE void FinishRagged(const LinearArgs& a, const LinearOctets<kOctets>& octets, const float* up, int outputs) {
#pragma unroll
  for (int i = 0; i < kOctets; ++i) {
    LinearOutputs<8> out;
    float second[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      out.row[j] = octets.n + j < outputs ? octets.row[i] : -1;
      out.n[j] = octets.n + j;
      out.sum[j] = octets.sum[8 * i + j];
      second[j] = up == nullptr ? 0 : up[8 * i + j];
    }
    up == nullptr ? FinishLinear<T>(a, out) : FinishGated<T>(a, out, second);
  }
}

// Ends a square. `add(rows of x in the square, or -1; row of w in the square; sums)`.
template <class T, class S, bool kGated, class Add>
UM_DEVICE void StoreSquare(const LinearArgs& a, int panel, int column, Add add) {
  constexpr int kAcross = (kGated ? kTileRows : kSquareRows) / 8, kApart = kLanes / kAcross;
  constexpr int kOctets = kApart < kSquareColumns ? kSquareColumns / kApart : 1;
  static_assert(!kGated || kOctets == 1);
  const int row = Lane() % kAcross * 8, outputs = kGated ? a.n / 2 : a.n;
  LinearOctets<kOctets> out = {};
  out.n = (panel * S::kPanel + Squares<S>::Row()) / (kGated ? 2 : 1) + row;
  int rows[kOctets];
#pragma unroll
  for (int i = 0; i < kOctets; ++i) {
    const int in_square = Lane() / kAcross + i * kApart;
    rows[i] = in_square < kSquareColumns && column + in_square < a.m && out.n < outputs ? in_square : -1;
    out.row[i] = rows[i] < 0 ? -1 : column + in_square;
  }
  add(rows, row, out.sum);
  float up[8] = {};
  if (kGated) add(rows, row + kTileRows, up);
  if (outputs % 8 == 0 && a.y_stride % 8 == 0) {
    // It runs once or twice a launch, so fetching its instructions is what it costs: there are few of them.
    if (out.row[0] < 0) return;  // then the others are absent, too
    Vec16 residual[2 * kOctets] = {};
    LoadResidual(a, out, residual);
    FinishOctets(a, out, kGated ? up : nullptr, residual);
    StoreOctets<T>(a, out);
  } else {
    FinishRagged<T>(a, out, kGated ? up : nullptr, outputs);
  }
}

// Leaves this block's part of the group's squares: bit i tells that this was the last part of square i, so that all of
// its parts may be read.
template <class S>
UM_DEVICE int LeaveSquares(const LinearArgs& a, float* part, int panel, int parts) {
  using Q = Squares<S>;
  const int count = Q::Count(a.m);
#pragma unroll 1
  for (int s = 0; s < count; ++s) {
#pragma unroll
    for (int i = 0; i < Q::kFloats / 8 / kLanes; ++i) {
      const int at = Lane() + i * kLanes, column = Q::Column(s) + at / (kSquareRows / 8);
      float total[8] = {};
      AddCells<S>(total, column, Q::Row() + at % (kSquareRows / 8) * 8);
      Store16(part + Q::Number(s) * Q::kFloats + at * 8, FourOf(total));
      Store16(part + Q::Number(s) * Q::kFloats + at * 8 + 4, FourOf(total + 4));
    }
  }
  GroupSync();  // orders the group's parts before their counts
  bool last = false;
  if (Lane() < count) {
    int* counter = a.counters + panel * Q::kOf + Q::Number(Lane());
    last = AtomicAdd(counter, 1) == parts - 1;
    if (last) *counter = 0;
  }
  int squares = 0;
  for (int s = 0; s < count; ++s) squares |= Shuffle(last ? 1 : 0, s) << s;
  GroupSync();  // orders all parts before they are read
  return squares;
}

// After a block's last stage of a panel, by groups 0 .. S::kGroups - 1, when the cells of their rows are complete: ends
// the squares, or leaves the block's part of them.
template <class T, class S>
UM_DEVICE void FinishPanel(const LinearArgs& a, const PanelWork& work, int panel) {
  using Q = Squares<S>;
  constexpr int kAtOnce = 4;  // parts on their way at once: reading them is waiting
  const int first = panel * work.stages / work.share, parts = ((panel + 1) * work.stages - 1) / work.share - first + 1;
  // A block leaves two parts at most, and only the first one of a panel may have begun in another panel.
  const auto part_of = [&](int block) {
    const int slot = block * 2 + (block * work.share < panel * work.stages ? 1 : 0);
    return a.partial + static_cast<int64_t>(slot) * S::kRows * S::kPanel;
  };
  const int last = parts > 1 ? LeaveSquares<S>(a, part_of(BlockX()), panel, parts) : -1;
#pragma unroll 1
  for (int s = 0; s < Q::Count(a.m); ++s) {
    if ((last >> s & 1) == 0) continue;
    const int column = Q::Column(s);
    const auto add = [&](const auto& rows, int row, float* total) {
      constexpr int kOctets = sizeof(rows) / sizeof(int);
      if (parts == 1) {
#pragma unroll
        for (int i = 0; i < kOctets; ++i) {
          if (rows[i] >= 0) AddCells<S>(total + 8 * i, column + rows[i], Q::Row() + row);
        }
        return;
      }
#pragma unroll 1
      for (int block = first; block < first + parts; block += kAtOnce) {
        Vec16 v[kAtOnce][2 * kOctets] = {};
#pragma unroll
        for (int b = 0; b < kAtOnce; ++b) {
          if (block + b >= first + parts) continue;
          const float* part = part_of(block + b) + Q::Number(s) * Q::kFloats + row;
#pragma unroll
          for (int i = 0; i < kOctets; ++i) {
            if (rows[i] < 0) continue;
            v[b][2 * i] = Load16(part + rows[i] * kSquareRows);
            v[b][2 * i + 1] = Load16(part + rows[i] * kSquareRows + 4);
          }
        }
#pragma unroll
        for (int b = 0; b < kAtOnce; ++b) {
#pragma unroll
          for (int i = 0; i < 2 * kOctets; ++i) AddFour(total + 4 * i, v[b][i]);
        }
      }
    };
    const bool gated = a.flags & kLinearActMul;
    gated ? StoreSquare<T, S, true>(a, panel, column, add) : StoreSquare<T, S, false>(a, panel, column, add);
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
