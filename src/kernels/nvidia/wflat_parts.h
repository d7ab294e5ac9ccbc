// SPDX-License-Identifier: Apache-2.0
// wflat_parts: how linear_wflat and linear_chain cut a panel's sums into pieces, and how blocks give each other theirs.
// Who calls: wflat_ends.
// Work:      pieces of 32 rows of w by 8 of x, a group each. Sums go through L2 as words that are flags themselves: all
//            bits set is none, which no sum is.
// Bound:     latency: one way through L2.
// Launch:    that of linear_wflat or linear_chain.
// Reference: RefLinear. Sum order: blocks in the order of k.
// Source:    Stream-K (arXiv 2301.03598).
#pragma once

#include "kernels/gpu/linear_parts.h"
#include "kernels/nvidia/port_hopper_words.h"

namespace unimax::UM_PORT_NAMESPACE {

// What a lane has of a piece: eight neighbouring weight rows of one row of x. Or four gates and what they weigh; or
// four of each of a head's halves, which turn together: then a piece is 16 rows of each half.
enum class PieceForm { kPlain, kGated, kTurned };
UM_DEVICE PieceForm FormOf(const LinearArgs& a) {
  return a.flags & kLinearActMul ? PieceForm::kGated : PieceForm::kPlain;
}

// The pieces of a group: those of a strip of 32 weight rows are parted between the groups that have its sums.
template <class S>
struct Pieces {
  static constexpr int kColumns = 8, kStripRows = 2 * kTileRows, kDown = S::kRows / kColumns;
  static constexpr int kGroupsEach = S::kGroups * kStripRows / S::kPanel;
  static_assert(kGroupsEach == 2);
  int first, count;  // along x

  UM_DEVICE Pieces(int m, int group) {
    const int down = (m + kColumns - 1) / kColumns, half = (down + 1) / 2;
    first = group % 2 * half;
    count = group % 2 == 0 ? half : down - half;
  }
  UM_DEVICE static int Strip() { return Group() / kGroupsEach; }
};

template <class S>
struct PanelPiece {
  static constexpr int kVectors = 2;  // of 16 bytes
  int number, row, column;            // in the panel; row and column of its first sum
  int apart;                          // rows from the first four sums to the others

  UM_DEVICE PanelPiece(PieceForm form, int c) {
    using P = Pieces<S>;
    number = P::Strip() * P::kDown + c;
    row = P::Strip() * (form == PieceForm::kTurned ? P::kStripRows / 2 : P::kStripRows);
    row += Lane() % 4 * (form == PieceForm::kPlain ? 8 : 4);
    apart = form == PieceForm::kPlain ? 4 : form == PieceForm::kGated ? kTileRows : kChainHead / 2;
    column = c * P::kColumns + Lane() / 4;
  }
  UM_DEVICE Vec16 Own(int i) const {  // from the block's cells
    return Shared<float>(S::kCellBytes).Get16(column * S::kCellPitch + row + i * apart);
  }
  // Where it lies among a block's words.
  UM_DEVICE float* Place(float* part, int i) const { return part + (number * kVectors + i) * 4 * kLanes + Lane() * 4; }
  UM_DEVICE void Send(float* part) const {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) StoreRelaxed(Place(part, i), Own(i));
  }
};

UM_DEVICE bool AnyNone(const Vec16& v) { return v.w[0] == ~0u || v.w[1] == ~0u || v.w[2] == ~0u || v.w[3] == ~0u; }

// The blocks that have part of a panel: first .. first + count - 1; and where they leave it. A block has parts of two
// panels at most, and only the first one of a panel may have begun in another panel.
template <class S>
struct PanelParts {
  float* words;
  int first, count, share, begin;  // stages of a block, stages before the panel
  UM_DEVICE float* Of(int block) const {
    const int slot = block * 2 + (block * share < begin ? 1 : 0);
    return words + static_cast<int64_t>(slot) * S::kRows * S::kPanel;
  }
};

// Adds up the parts of a piece.
template <class S>
UM_DEVICE void AddParts(const PanelPiece<S>& piece, const PanelParts<S>& parts, float (&sum)[8]) {
  constexpr int kAtOnce = 4, kVectors = PanelPiece<S>::kVectors, kLooks = 1 << 24;
  const Vec16 own[kVectors] = {piece.Own(0), piece.Own(1)}, none = {{~0u, ~0u, ~0u, ~0u}};
  if (parts.count == 1) {
    AddFour(sum, own[0]);
    AddFour(sum + 4, own[1]);
    return;
  }
#pragma unroll 1
  for (int block = parts.first; block < parts.first + parts.count; block += kAtOnce) {
    const int left = parts.first + parts.count - block;
    Vec16 v[kAtOnce][kVectors];
#pragma unroll
    for (int b = 0; b < kAtOnce; ++b) {
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        v[b][i] = b >= left ? Vec16{} : none;
        if (block + b == BlockX()) v[b][i] = own[i];
      }
    }
    bool missing;
    int looks = 0;
    do {
#pragma unroll
      for (int b = 0; b < kAtOnce; ++b) {
#pragma unroll
        for (int i = 0; i < kVectors; ++i) {
          if (AnyNone(v[b][i])) v[b][i] = LoadRelaxed(piece.Place(parts.Of(block + b), i));
        }
      }
      missing = false;
#pragma unroll
      for (int b = 0; b < kAtOnce; ++b) {
#pragma unroll
        for (int i = 0; i < kVectors; ++i) missing |= AnyNone(v[b][i]);
      }
      if (++looks == kLooks) Fail();
      if (missing) Pause();
    } while (missing);
#pragma unroll
    for (int b = 0; b < kAtOnce; ++b) {
#pragma unroll
      for (int i = 0; i < kVectors; ++i) AddFour(sum + 4 * i, v[b][i]);
    }
  }
}
// Makes the words of a piece none again.
template <class S>
UM_DEVICE void ClearParts(const PanelPiece<S>& piece, const PanelParts<S>& parts) {
  const Vec16 none = {{~0u, ~0u, ~0u, ~0u}};
#pragma unroll 1
  for (int block = parts.first; block < parts.first + parts.count; ++block) {
    if (block == BlockX()) continue;
    StoreRelaxed(piece.Place(parts.Of(block), 0), none);
    StoreRelaxed(piece.Place(parts.Of(block), 1), none);
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
