// SPDX-License-Identifier: Apache-2.0
// linear_chain_ends: the ends of linear_chain's panels: blocks that have part of a panel give each other their sums,
//            norms before and behind a product are taken in, and heads turn.
// Who calls: linear_chain.
// Work:      the pieces of linear_chain_parts.h, dealt over the blocks whose runs end with the panel, and their groups.
//            A group gives away what others end before it ends its own.
// Bound:     latency: one way through L2 from the last product to the outputs.
// Launch:    that of linear_chain.
// Reference: RefLinear, RefNorm, RefRope. Sum order: blocks in the order of k; squares in whole numbers.
// Source:    Stream-K (arXiv 2301.03598).
#pragma once

#include "kernels/gpu/rowwise.h"
#include "kernels/nvidia/linear_chain_parts.h"

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

// What the norm behind reads, by all lanes: four of them hold the 32 outputs of a row.
template <class T>
UM_DEVICE void LeaveNormed(const ChainLink& link, const LinearOctets<1>& out, const Vec16 (&norm)[2]) {
  float square = 0;
  Vec16 v;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    square += out.sum[j] * out.sum[j];
    v.Put(j, FromFloat<T>(out.sum[j] * (norm[j / 4].template As<float>(j % 4) + link.offset)));
  }
  square += ShuffleXor(square, 1);
  square += ShuffleXor(square, 2);
  if (out.row[0] < 0) return;
  Store16(static_cast<T*>(link.normed) + static_cast<int64_t>(out.row[0]) * link.n + out.n, v);
  if (Lane() % 4 == 0) AddSquares(link.squares + out.row[0], square);
}

// Divides by the root of the row's mean square.
template <class S>
UM_DEVICE void Divide(const ChainLink& link, int row, float (&sum)[8]) {
  if (link.x_squares == nullptr || row < 0) return;
  const float factor = Shared<float>(S::kFactors).Get(row);
#pragma unroll
  for (float& v : sum) v *= factor;
}

// Ends a piece of which all parts come together here. What does not reach M or N has row -1: all lanes' beyond N, which
// is a multiple of 32.
template <class T, class S>
UM_DEVICE void EndPlain(const ChainLink& link, const ChainPiece<S>& piece, int panel, const PanelParts<S>& parts) {
  LinearOctets<1> out = {};
  out.n = panel * S::kPanel + piece.row;
  out.row[0] = piece.column < link.m && out.n < link.n ? piece.column : -1;
  Vec16 residual[2] = {}, norm[2] = {};
  LoadResidual(link, out, residual);
  if (link.norm != nullptr && out.n < link.n) {
    norm[0] = Load16(link.norm + out.n);
    norm[1] = Load16(link.norm + out.n + 4);
  }
  AddParts<S>(piece, parts, out.sum);
  Divide<S>(link, out.row[0], out.sum);
  if (out.row[0] >= 0) FinishOctets(link, out, nullptr, residual);
  StoreOctets<T>(link, out);
  if (link.norm != nullptr) LeaveNormed<T>(link, out, norm);
}

template <class T>
UM_DEVICE void StoreFour(T* to, const float* v) {
  Vec16 out = {};
#pragma unroll
  for (int j = 0; j < 4; ++j) out.Put(j, FromFloat<T>(v[j]));
  Store8(to, out.w[0], out.w[1]);
}

template <class T, class S>
UM_DEVICE void EndGated(const ChainLink& link, const ChainPiece<S>& piece, int panel, const PanelParts<S>& parts) {
  const int outputs = link.n / 2, n = panel * (S::kPanel / 2) + Pieces<S>::Strip() * kTileRows + Lane() % 4 * 4;
  const int row = piece.column < link.m && n < outputs ? piece.column : -1;
  const int64_t at = static_cast<int64_t>(row) * link.y_stride + n;
  Vec16 residual = {};
  if (link.residual != nullptr && row >= 0) residual = Load16(link.residual + at);
  float sum[8] = {};
  AddParts<S>(piece, parts, sum);
  Divide<S>(link, row, sum);
  if (row < 0) return;
  float gate[4] = {sum[0], sum[1], sum[2], sum[3]};
  if (link.bias != nullptr) {
    AddFour(gate, Load16(link.bias + n));
    AddFour(sum + 4, Load16(link.bias + outputs + n));
  }
  Activate(link.act, gate);
#pragma unroll
  for (int j = 0; j < 4; ++j) gate[j] = gate[j] * sum[4 + j] * link.scale + residual.As<float>(j);
  Cap(link.cap, gate);
  if (link.flags & kLinearWide) {
    Store16(static_cast<float*>(link.y) + at, FourOf(gate));
  } else {
    StoreFour(static_cast<T*>(link.y) + at, gate);
  }
}

// A head, number `head` of queries, keys and values: what comes early are the angles and the page.
template <class T, class S>
UM_DEVICE void EndTurned(const ChainLink& link, const RopeStoreArgs& rope, const ChainPiece<S>& piece, int head,
                         const PanelParts<S>& parts) {
  const int row = piece.column < link.m ? piece.column : -1, turning = rope.heads + rope.kv_heads;
  Vec16 turns[2] = {};  // cosine and sine of two pairs each
  T* to = static_cast<T*>(rope.q) + static_cast<int64_t>(row) * rope.stride + head * kChainHead + piece.row;
  if (row >= 0 && head < turning) {
    const float* angle = rope.cos_sin + static_cast<int64_t>(rope.rope_rows[row]) * rope.rotary + 2 * piece.row;
    turns[0] = Load16(angle);
    turns[1] = Load16(angle + 4);
  }
  if (row >= 0 && head >= rope.heads) {
    const bool key = head < turning;
    to = CacheAt<T>(rope, key ? rope.k_cache : rope.v_cache, row, head - (key ? rope.heads : turning)) + piece.row;
  }
  float sum[8] = {};
  AddParts<S>(piece, parts, sum);
  if (row < 0) return;
  Divide<S>(link, row, sum);
  if (link.bias != nullptr) {
    AddFour(sum, Load16(link.bias + head * kChainHead + piece.row));
    AddFour(sum + 4, Load16(link.bias + head * kChainHead + kChainHead / 2 + piece.row));
  }
  if (head < turning) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float c = turns[j / 2].template As<float>(j % 2 * 2), s = turns[j / 2].template As<float>(j % 2 * 2 + 1);
      const float low = sum[j], high = sum[4 + j];
      sum[j] = low * c - high * s;
      sum[4 + j] = high * c + low * s;
    }
  }
  StoreFour(to, sum);
  StoreFour(to + kChainHead / 2, sum + 4);
}

// What a block does after its last stage of a panel, by the groups that multiply; planned before its first one, since
// afterwards each instruction is waited for.
template <class S>
struct PanelEnd {
  PanelParts<S> parts;
  int panel, owned;  // a bit for each of the group's pieces that end here

  UM_DEVICE PanelEnd(const ChainArgs& a, int l, const PanelWork& work, int p) : panel(p), owned(0) {
    const int begin = panel * work.stages, first = begin / work.share;
    const int count = (begin + work.stages - 1) / work.share - first + 1;
    parts = {a.words, first, count, work.share, begin};
    // A run that goes on behind the panel's end began with it, long before the blocks that have the rest come to
    // theirs: it must not wait for them.
    const bool goes_on = (first + count) * work.share > begin + work.stages;
    const int sharing = goes_on && count > 1 ? count - 1 : count;
    const Pieces<S> pieces(a.link[l].m, Group());
    for (int i = 0; i < pieces.count; ++i) {
      if ((Pieces<S>::Strip() + pieces.first + i) % sharing == BlockX() - first) owned |= 1 << i;
    }
  }

  // Gives away the pieces that other blocks end, then ends the others. Returns how many.
  template <class T>
  UM_DEVICE int Run(const ChainArgs& a, int l) const {
    PanelParts<S> all = parts;
    all.words = Afresh(all.words);
    const ChainForm form = FormOf(a, l);
    const Pieces<S> pieces(a.link[l].m, Group());
    int ended = 0;
#pragma unroll 1
    for (int i = 0; i < pieces.count; ++i) {
      if ((owned >> i & 1) == 0) ChainPiece<S>(form, pieces.first + i).Send(all.Of(BlockX()));
    }
#pragma unroll 1
    for (int i = 0; owned >> i != 0; ++i) {
      if ((owned >> i & 1) == 0) continue;
      const ChainPiece<S> piece(form, pieces.first + i);
      if (form == ChainForm::kTurned) {
        EndTurned<T, S>(a.link[l], a.rope, piece, panel, all);
      } else if (form == ChainForm::kGated) {
        EndGated<T, S>(a.link[l], piece, panel, all);
      } else {
        EndPlain<T, S>(a.link[l], piece, panel, all);
      }
      ClearParts<S>(piece, all);
      ++ended;
    }
    return ended;
  }
};

}  // namespace unimax::UM_PORT_NAMESPACE
