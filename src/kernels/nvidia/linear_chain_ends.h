// SPDX-License-Identifier: Apache-2.0
// linear_chain_ends: the ends of linear_chain's panels: blocks that have part of a panel give each other their sums, and
//            norms before and behind a product are taken in.
// Who calls: linear_chain.
// Work:      squares of 32 rows of w by 16 of x (gpu/linear_parts.h), a group each. Of a panel that begins and ends within
//            the blocks' runs one block ends all; else its blocks share the squares. Sums go through L2 as words that are
//            flags themselves: all bits set is none, which no sum is.
// Bound:     latency: one way through L2 from the last product to the outputs.
// Launch:    that of linear_chain.
// Reference: RefLinear, RefNorm. Sum order: blocks in the order of k; squares in whole numbers.
// Source:    Stream-K (arXiv 2301.03598).
#pragma once

#include "kernels/gpu/linear_parts.h"
#include "kernels/nvidia/port_cluster.h"

namespace unimax::gpu {

UM_DEVICE float FactorOf(unsigned long long squares, int k, float eps) {
  if (squares >> 63) return __int_as_float(0x7fffffff);
  const float mean = static_cast<float>(squares) * (1.0f / (1ull << kSquareBits)) / static_cast<float>(k);
  return Rsqrt(mean + eps);
}
UM_DEVICE void AddSquares(unsigned long long* to, float squares) {
  constexpr float kMost = 1 << 30;  // of 512 strips at most
  if (squares < kMost) {
    atomicAdd(to, __float2ull_rn(squares * (1 << kSquareBits)));
  } else {
    atomicOr(to, 1ull << 63);
  }
}
UM_DEVICE unsigned long long LoadAgain(const unsigned long long* p) {
  unsigned long long v;
  asm volatile("ld.relaxed.gpu.global.b64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
  return v;
}

// What a lane has of a square: two octets of neighbouring weight rows: of two rows of x, or a gate and what it weighs.
template <class S>
struct ChainPiece {
  static constexpr int kVectors = 4;  // of 16 bytes
  bool gated;
  int square;  // its number in the panel
  int row, column;  // of its first octet in the panel

  UM_DEVICE ChainPiece(bool gate, int s) : gated(gate), square(Squares<S>::Number(s)) {
    row = Squares<S>::Row() + (gated ? Lane() % 2 : Lane() % 4) * 8;
    column = Squares<S>::Column(s) + (gated ? Lane() / 2 : Lane() / 4);
  }
  UM_DEVICE Vec16 Own(int i) const {  // from the block's cells
    const int r = row + (gated ? i / 2 * kTileRows : 0), c = column + (gated ? 0 : i / 2 * 8);
    return Shared<float>(S::kCellBytes).Get16(c * S::kCellPitch + r + i % 2 * 4);
  }
  // Where it lies among a block's words.
  UM_DEVICE float* Place(float* part, int i) const {
    return part + (square * kVectors + i) * 4 * kLanes + Lane() * 4;
  }
  UM_DEVICE void Send(float* part) const {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) StoreRelaxed(Place(part, i), Own(i));
  }
};

// Adds to what LoadAcquire reads; what the group did before it is seen by who reads it.
UM_DEVICE void AddRelease(int* counter, int v) {
  asm volatile("red.release.gpu.global.add.s32 [%0], %1;" ::"l"(counter), "r"(v) : "memory");
}

UM_DEVICE bool AnyNone(const Vec16& v) {
  return v.w[0] == ~0u || v.w[1] == ~0u || v.w[2] == ~0u || v.w[3] == ~0u;
}

// Adds up the parts of a panel, of blocks first .. first + parts - 1, of which this one is `own`.
template <class S, class PartOf>
UM_DEVICE void AddParts(const ChainPiece<S>& piece, PartOf part_of, int first, int parts, float (&sum)[16]) {
  constexpr int kAtOnce = 4, kVectors = ChainPiece<S>::kVectors, kLooks = 1 << 24;
  const Vec16 none = {{~0u, ~0u, ~0u, ~0u}};
#pragma unroll 1
  for (int block = first; block < first + parts; block += kAtOnce) {
    Vec16 v[kAtOnce][kVectors];
    bool missing;
    int looks = 0;
    do {
#pragma unroll
      for (int b = 0; b < kAtOnce; ++b) {
#pragma unroll
        for (int i = 0; i < kVectors; ++i) {
          v[b][i] = {};
          if (block + b >= first + parts) continue;
          v[b][i] = block + b == BlockX() ? piece.Own(i) : LoadRelaxed(piece.Place(part_of(block + b), i));
        }
      }
      missing = false;
#pragma unroll
      for (int b = 0; b < kAtOnce; ++b) {
#pragma unroll
        for (int i = 0; i < kVectors; ++i) missing |= AnyNone(v[b][i]);
      }
      if (++looks == kLooks) Fail();
    } while (missing);
#pragma unroll
    for (int b = 0; b < kAtOnce; ++b) {
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        AddFour(sum + 4 * i, v[b][i]);
        if (block + b < first + parts && block + b != BlockX()) StoreRelaxed(piece.Place(part_of(block + b), i), none);
      }
    }
  }
}

// What the norm behind reads. Four lanes hold the 32 outputs of a row: all of them come here, or none.
template <class T>
UM_DEVICE void LeaveNormed(const ChainLink& link, const LinearOctets<2>& out, const Vec16 (&norm)[2]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float square = 0;
    Vec16 v;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float y = out.sum[8 * i + j];
      square += y * y;
      v.Put(j, FromFloat<T>(y * (norm[j / 4].template As<float>(j % 4) + link.offset)));
    }
    square += ShuffleXor(square, 1);
    square += ShuffleXor(square, 2);
    if (out.row[i] < 0) continue;
    Store16(static_cast<T*>(link.normed) + static_cast<int64_t>(out.row[i]) * link.n + out.n, v);
    if (Lane() % 4 == 0) AddSquares(link.squares + out.row[i], square);
  }
}

// Ends one square of which all parts come together here.
template <class T, class S, class PartOf>
UM_DEVICE void EndSquare(const ChainLink& link, const ChainPiece<S>& piece, int panel, PartOf part_of, int first,
                         int parts, int m) {
  const bool gated = piece.gated;
  const int outputs = gated ? link.n / 2 : link.n, in_panel = gated ? piece.row / 32 * 16 + piece.row % 16 : piece.row;
  LinearOctets<2> out = {};
  out.n = panel * (gated ? S::kPanel / 2 : S::kPanel) + in_panel;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = piece.column + 8 * i;
    out.row[i] = out.n < outputs && row < m && !(gated && i > 0) ? row : -1;
  }
  Vec16 residual[4] = {}, norm[2] = {};
  LoadResidual(link, out, residual);
  if (link.norm != nullptr && out.n < outputs) {
    norm[0] = Load16(link.norm + out.n);
    norm[1] = Load16(link.norm + out.n + 4);
  }
  AddParts<S>(piece, part_of, first, parts, out.sum);
  if (out.n >= outputs) return;  // all lanes', since N is a multiple of 32
  if (link.x_squares != nullptr) {
    Shared<float> factors(S::kFactors);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = gated ? out.row[0] : out.row[i];
      const float factor = row < 0 ? 0 : factors.Get(row);
#pragma unroll
      for (int j = 0; j < 8; ++j) out.sum[8 * i + j] *= factor;
    }
  }
  if (!gated) {
    FinishOctets(link, out, nullptr, residual);
    StoreOctets<T>(link, out);
    if (link.norm != nullptr) LeaveNormed<T>(link, out, norm);
    return;
  }
  LinearOctets<1> gate = {{out.row[0]}, out.n};
  float up[8];
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    gate.sum[j] = out.sum[j];
    up[j] = out.sum[8 + j];
  }
  FinishOctets(link, gate, up, {residual[0], residual[1]});
  StoreOctets<T>(link, gate);
}

// After a block's last stage of a panel, by the groups that multiply: ends the squares that are the block's to end, and
// gives away the others. Returns how many it has ended.
template <class T, class S>
UM_DEVICE int EndPanel(const ChainLink& link, float* words, const PanelWork& work, int panel) {
  using Q = Squares<S>;
  const int first = panel * work.stages / work.share, parts = ((panel + 1) * work.stages - 1) / work.share - first + 1;
  // A block has parts of two panels at most, and only the first one of a panel may have begun in another panel.
  const auto part_of = [&](int block) {
    const int slot = block * 2 + (block * work.share < panel * work.stages ? 1 : 0);
    return words + static_cast<int64_t>(slot) * S::kRows * S::kPanel;
  };
  // A run that goes on behind the panel's end began with it, long before the blocks that have the rest come to theirs:
  // it must not wait for them.
  const bool goes_on = (first + parts) * work.share > (panel + 1) * work.stages;
  const int sharing = goes_on && parts > 1 ? parts - 1 : parts;
  int ended = 0;
#pragma unroll 1
  for (int s = 0; s < Q::Count(link.m); ++s) {
    const ChainPiece<S> piece((link.flags & kLinearActMul) != 0, s);
    if (first + piece.square % sharing != BlockX()) {
      piece.Send(part_of(BlockX()));
      continue;
    }
    EndSquare<T, S>(link, piece, panel, part_of, first, parts, link.m);
    ++ended;
  }
  return ended;
}

// Ends a square of no rows: then the instructions are there when time counts.
template <class T, class S>
UM_DEVICE void RehearseEnd(const ChainLink& link, float* words) {
  const auto part_of = [&](int) { return words; };
  EndSquare<T, S>(link, ChainPiece<S>((link.flags & kLinearActMul) != 0, 0), 0, part_of, 0, 0, 0);
}

}  // namespace unimax::gpu
