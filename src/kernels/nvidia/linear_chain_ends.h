// SPDX-License-Identifier: Apache-2.0
// linear_chain_ends: the ends of linear_chain's panels: blocks that have part of a panel give each other their sums,
//            norms before and behind a product are taken in, and heads turn.
// Who calls: linear_chain.
// Work:      squares of 32 rows of w by 16 of x (gpu/linear_parts.h), a group each, dealt over the blocks whose runs
//            end with the panel. Sums go through L2 as words that are flags themselves: all bits set is none, which no
//            sum is.
// Bound:     latency: one way through L2 from the last product to the outputs.
// Launch:    that of linear_chain.
// Reference: RefLinear, RefNorm, RefRope. Sum order: blocks in the order of k; squares in whole numbers.
// Source:    Stream-K (arXiv 2301.03598).
#pragma once

#include "kernels/gpu/linear_parts.h"
#include "kernels/gpu/rowwise.h"
#include "kernels/nvidia/port_hopper_words.h"

namespace unimax::UM_PORT_NAMESPACE {

UM_DEVICE float FactorOf(unsigned long long squares, int k, float eps) {
  if (squares >> 63) return BitCopy<float>(0x7fffffffu);
  const float mean = static_cast<float>(squares) * (1.0f / (1ull << kSquareBits)) / static_cast<float>(k);
  return Rsqrt(mean + eps);
}
UM_DEVICE void AddSquares(unsigned long long* to, float squares) {
  constexpr float kMost = 1 << 30;  // of 512 strips at most
  squares < kMost ? AddWhole(to, ToWhole(squares * (1 << kSquareBits))) : SetBits(to, 1ull << 63);
}

// What a lane has of a square: two octets of neighbouring weight rows. Of two rows of x; or a gate and what it weighs;
// or of a head's two halves, which turn together: then a square is 16 rows of each half.
enum class ChainForm { kPlain, kGated, kTurned };
template <class S>
struct ChainPiece {
  static constexpr int kVectors = 4;  // of 16 bytes
  ChainForm form;
  int square;       // its number in the panel
  int row, column;  // of its first octet in the panel

  UM_DEVICE ChainPiece(ChainForm f, int s) : form(f), square(Squares<S>::Number(s)) {
    const bool plain = form == ChainForm::kPlain;
    const int first = form == ChainForm::kTurned ? Squares<S>::Row() / 2 : Squares<S>::Row();
    row = first + Lane() % (plain ? 4 : 2) * 8;
    column = Squares<S>::Column(s) + Lane() / (plain ? 4 : 2);
  }
  UM_DEVICE Vec16 Own(int i) const {  // from the block's cells
    const int apart = form == ChainForm::kPlain ? 0 : form == ChainForm::kGated ? kTileRows : kChainHead / 2;
    const int r = row + i / 2 * apart, c = column + (form == ChainForm::kPlain ? i / 2 * 8 : 0);
    return Shared<float>(S::kCellBytes).Get16(c * S::kCellPitch + r + i % 2 * 4);
  }
  // Where it lies among a block's words.
  UM_DEVICE float* Place(float* part, int i) const { return part + (square * kVectors + i) * 4 * kLanes + Lane() * 4; }
  UM_DEVICE void Send(float* part) const {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) StoreRelaxed(Place(part, i), Own(i));
  }
};
UM_DEVICE bool Turns(const ChainArgs& a, int link) { return a.rope.q != nullptr && link + 1 == a.links; }
UM_DEVICE ChainForm FormOf(const ChainArgs& a, int link) {
  if (Turns(a, link)) return ChainForm::kTurned;
  return a.link[link].flags & kLinearActMul ? ChainForm::kGated : ChainForm::kPlain;
}

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

// Adds up the parts of a panel.
template <class S>
UM_DEVICE void AddParts(const ChainPiece<S>& piece, const PanelParts<S>& parts, float (&sum)[16]) {
  constexpr int kAtOnce = 4, kVectors = ChainPiece<S>::kVectors, kLooks = 1 << 24;
  const Vec16 none = {{~0u, ~0u, ~0u, ~0u}};
#pragma unroll 1
  for (int block = parts.first; block < parts.first + parts.count; block += kAtOnce) {
    const int left = parts.first + parts.count - block;
    Vec16 v[kAtOnce][kVectors];
#pragma unroll
    for (int b = 0; b < kAtOnce; ++b) {
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        v[b][i] = b >= left ? Vec16{} : none;
        if (block + b == BlockX()) v[b][i] = piece.Own(i);
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
      for (int i = 0; i < kVectors; ++i) {
        AddFour(sum + 4 * i, v[b][i]);
        if (b < left && block + b != BlockX()) StoreRelaxed(piece.Place(parts.Of(block + b), i), none);
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

// Divides rows by the root of their mean square.
template <class S>
UM_DEVICE void Divide(const ChainLink& link, int row0, int row1, float (&sum)[16]) {
  if (link.x_squares == nullptr) return;
  Shared<float> factors(S::kFactors);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = i == 0 ? row0 : row1;
    const float factor = row < 0 ? 0 : factors.Get(row);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum[8 * i + j] *= factor;
  }
}

// What a lane ends of a square; `n` is `outputs` or more where it is nothing.
template <class S>
UM_DEVICE LinearOctets<2> OutputsOf(const ChainPiece<S>& piece, int panel, int outputs, int m) {
  const bool gated = piece.form == ChainForm::kGated;
  const int in_panel = gated ? piece.row / 32 * 16 + piece.row % 16 : piece.row;
  LinearOctets<2> out = {};
  out.n = panel * (gated ? S::kPanel / 2 : S::kPanel) + in_panel;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = piece.column + 8 * i;
    out.row[i] = out.n < outputs && row < m && !(gated && i > 0) ? row : -1;
  }
  return out;
}

// Ends one square of which all parts come together here.
template <class T, class S>
UM_DEVICE void EndSquare(const ChainLink& link, const ChainPiece<S>& piece, int panel, const PanelParts<S>& parts,
                         int m) {
  const bool gated = piece.form == ChainForm::kGated;
  const int outputs = gated ? link.n / 2 : link.n;
  LinearOctets<2> out = OutputsOf(piece, panel, outputs, m);
  Vec16 residual[4] = {}, norm[2] = {};
  LoadResidual(link, out, residual);
  if (link.norm != nullptr && out.n < outputs) {
    norm[0] = Load16(link.norm + out.n);
    norm[1] = Load16(link.norm + out.n + 4);
  }
  AddParts<S>(piece, parts, out.sum);
  if (out.n >= outputs) return;  // all lanes', since N is a multiple of 32
  Divide<S>(link, out.row[0], gated ? out.row[0] : out.row[1], out.sum);
  if (!gated) {
    FinishOctets(link, out, nullptr, residual);
    StoreOctets<T>(link, out);
    if (link.norm != nullptr) LeaveNormed<T>(link, out, norm);
    return;
  }
  LinearOctets<1> gate = {};
  gate.row[0] = out.row[0];
  gate.n = out.n;
  float up[8];
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    gate.sum[j] = out.sum[j];
    up[j] = out.sum[8 + j];
  }
  FinishOctets(link, gate, up, {residual[0], residual[1]});
  StoreOctets<T>(link, gate);
}

// The same of a head, number `head` of queries, keys and values: what comes early are the angles and the page.
template <class T, class S>
UM_DEVICE void EndTurned(const ChainLink& link, const RopeStoreArgs& rope, const ChainPiece<S>& piece, int head,
                         const PanelParts<S>& parts, int m) {
  const int row = piece.column < m ? piece.column : -1, turning = rope.heads + rope.kv_heads;
  Vec16 turns[4] = {};  // cosine and sine of two pairs each
  T* to = static_cast<T*>(rope.q) + static_cast<int64_t>(row) * rope.stride + head * kChainHead + piece.row;
  if (row >= 0 && head < turning) {
    const float* angle = rope.cos_sin + static_cast<int64_t>(rope.rope_rows[row]) * rope.rotary + 2 * piece.row;
#pragma unroll
    for (int j = 0; j < 4; ++j) turns[j] = Load16(angle + 4 * j);
  }
  if (row >= 0 && head >= rope.heads) {
    const bool key = head < turning;
    to = CacheAt<T>(rope, key ? rope.k_cache : rope.v_cache, row, head - (key ? rope.heads : turning)) + piece.row;
  }
  float sum[16] = {};
  AddParts<S>(piece, parts, sum);
  if (row < 0) return;
  Divide<S>(link, row, row, sum);
  if (link.bias != nullptr) {
    AddEight(sum, link.bias + head * kChainHead + piece.row);
    AddEight(sum + 8, link.bias + head * kChainHead + kChainHead / 2 + piece.row);
  }
  Vec16 low, high;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    float u = sum[j], w = sum[8 + j];
    if (head < turning) {
      const float c = turns[j / 2].template As<float>(j % 2 * 2), s = turns[j / 2].template As<float>(j % 2 * 2 + 1);
      u = sum[j] * c - sum[8 + j] * s;
      w = sum[8 + j] * c + sum[j] * s;
    }
    low.Put(j, FromFloat<T>(u));
    high.Put(j, FromFloat<T>(w));
  }
  Store16(to, low);
  Store16(to + kChainHead / 2, high);
}

template <class T, class S>
UM_DEVICE void EndPiece(const ChainArgs& a, int l, const ChainPiece<S>& piece, int panel, const PanelParts<S>& parts,
                        int m) {
  if (piece.form == ChainForm::kTurned) {
    EndTurned<T, S>(a.link[l], a.rope, piece, panel, parts, m);
  } else {
    EndSquare<T, S>(a.link[l], piece, panel, parts, m);
  }
}

// What a block does after its last stage of a panel, by the groups that multiply; planned before its first one, since
// afterwards each instruction is waited for.
template <class S>
struct PanelEnd {
  PanelParts<S> parts;
  int panel, sharing;  // blocks among which the squares are dealt

  UM_DEVICE PanelEnd(const ChainArgs& a, const PanelWork& work, int p) : panel(p) {
    const int begin = panel * work.stages, first = begin / work.share;
    const int count = (begin + work.stages - 1) / work.share - first + 1;
    parts = {a.words, first, count, work.share, begin};
    // A run that goes on behind the panel's end began with it, long before the blocks that have the rest come to
    // theirs: it must not wait for them.
    const bool goes_on = (first + count) * work.share > begin + work.stages;
    sharing = goes_on && count > 1 ? count - 1 : count;
  }
  UM_DEVICE bool Owns(const ChainPiece<S>& piece) const { return parts.first + piece.square % sharing == BlockX(); }

  // Ends the squares that are the block's to end, gives away the others. Returns how many it has ended.
  template <class T>
  UM_DEVICE int Run(const ChainArgs& a, int l) const {
    PanelParts<S> own = parts;
    own.words = Afresh(own.words);
    const int m = a.link[l].m;
    int ended = 0;
#pragma unroll 1
    for (int s = 0; s < Squares<S>::Count(m); ++s) {
      const ChainPiece<S> piece(FormOf(a, l), s);
      if (!Owns(piece)) {
        piece.Send(own.Of(BlockX()));
        continue;
      }
      EndPiece<T, S>(a, l, piece, panel, own, m);
      ++ended;
    }
    return ended;
  }
};

}  // namespace unimax::UM_PORT_NAMESPACE
