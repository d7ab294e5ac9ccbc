// SPDX-License-Identifier: Apache-2.0
// wflat_ends: the ends of panels: blocks that have part of a panel give each other their sums; in chains norms before
//            and behind a product are taken in, and heads turn.
// Who calls: linear_wflat, linear_chain.
// Work:      the pieces of wflat_parts.h, dealt over the blocks whose runs end with the panel, and their groups.
//            A group gives away what others end before it ends its own.
// Bound:     latency: one way through L2 from the last product to the outputs.
// Launch:    that of linear_wflat or linear_chain.
// Reference: RefLinear, RefNorm, RefRope. Sum order: blocks in the order of k; norms' sums in whole numbers.
// Source:    Stream-K (arXiv 2301.03598).
#pragma once

#include "kernels/gpu/rowwise.h"
#include "kernels/nvidia/wflat_parts.h"

namespace unimax::UM_PORT_NAMESPACE {

// A product alone has no norms and no heads that turn.
template <class Link>
inline constexpr bool kInChain = false;
template <>
inline constexpr bool kInChain<ChainLink> = true;

// What makes up for the norm of a row of x: y = (sum - mean * slope) * factor. A variance is the mean square less the
// squared mean.
struct RowNorm {
  float factor, mean;
};
UM_DEVICE RowNorm RowNormOf(const ChainLink& link, int row) {
  const unsigned long long squares = LoadAgain(link.x_sums + 2 * row);
  if (squares >> 63) return {BitCopy<float>(0x7fffffffu), 0.0f};
  const float each = 1.0f / (1 << kSumBits) / static_cast<float>(link.k);
  RowNorm norm = {static_cast<float>(squares) * each, 0.0f};
  if (link.slope != nullptr) {
    norm.mean = static_cast<float>(static_cast<long long>(LoadAgain(link.x_sums + 2 * row + 1))) * each;
    norm.factor = Max(norm.factor - norm.mean * norm.mean, 0.0f);
  }
  norm.factor = Rsqrt(norm.factor + link.eps);
  return norm;
}
// Adds what a strip's outputs of a row come to.
UM_DEVICE void AddSums(const ChainLink& link, int row, float squares, float sum) {
  constexpr float kMost = 1 << 30;  // of 512 strips at most; the sum of 32 is less than the root of 32 squares
  unsigned long long* to = link.sums + 2 * row;
  if (!(squares < kMost)) return SetBits(to, 1ull << 63);
  AddWhole(to, ToWhole(squares * (1 << kSumBits)));
  if (link.layer) AddWhole(to + 1, ToWhole(sum * (1 << kSumBits)));
}

// What the norm behind reads, by all lanes: four of them hold the 32 outputs of a row.
template <class T>
UM_DEVICE void LeaveNormed(const ChainLink& link, const LinearOctets<1>& out, const Vec16 (&norm)[2]) {
  float square = 0, sum = 0;
  Vec16 v;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    square += out.sum[j] * out.sum[j];
    v.Put(j, FromFloat<T>(out.sum[j] * (norm[j / 4].template As<float>(j % 4) + link.offset)));
  }
  square += ShuffleXor(square, 1);
  square += ShuffleXor(square, 2);
  if (link.layer) {
#pragma unroll
    for (int j = 0; j < 8; ++j) sum += out.sum[j];
    sum += ShuffleXor(sum, 1);
    sum += ShuffleXor(sum, 2);
  }
  if (out.row[0] < 0) return;
  Store16(static_cast<T*>(link.normed) + static_cast<int64_t>(out.row[0]) * link.n + out.n, v);
  if (Lane() % 4 == 0) AddSums(link, out.row[0], square, sum);
}

// The slopes of a piece's outputs, asked for before its sums are there.
struct Slopes {
  Vec16 of[2];
};
template <class S>
UM_DEVICE Slopes SlopesOf(const LinearArgs&, const PanelPiece<S>&, int) {
  return {};
}
template <class S>
UM_DEVICE Slopes SlopesOf(const ChainLink& link, const PanelPiece<S>& piece, int panel) {
  const int n = panel * S::kPanel + piece.row;
  if (link.slope == nullptr || n >= link.n) return {};
  return {{Load16(link.slope + n), Load16(link.slope + n + piece.apart)}};
}
// Makes up for the norm of x.
template <class S>
UM_DEVICE void Norm(const LinearArgs&, const Slopes&, int, float (&)[8]) {}
template <class S>
UM_DEVICE void Norm(const ChainLink& link, const Slopes& slopes, int row, float (&sum)[8]) {
  if (link.x_sums == nullptr || row < 0) return;
  const Shared<float> factors(S::kFactors);
  const float factor = factors.Get(row);
  if (link.slope != nullptr) {
    const float mean = factors.Get(S::kRows + row);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum[j] -= mean * slopes.of[j / 4].template As<float>(j % 4);
  }
#pragma unroll
  for (float& v : sum) v *= factor;
}

// Ends a piece of which all parts come together here. What does not reach M or N has row -1: in chains all lanes'
// beyond N, which is a multiple of 32 there.
template <class T, class S, class Link>
UM_DEVICE void EndPlain(const Link& link, const PanelPiece<S>& piece, int panel, const PanelParts<S>& parts) {
  LinearOctets<1> out = {};
  out.n = panel * S::kPanel + piece.row;
  out.row[0] = piece.column < link.m && out.n < link.n ? piece.column : -1;
  Vec16 residual[2] = {}, norm[2] = {};
  const Slopes slopes = SlopesOf<S>(link, piece, panel);
  const bool ragged = !kInChain<Link> && (link.n % 8 != 0 || link.y_stride % 8 != 0);
  if (!ragged) LoadResidual(link, out, residual);
  if constexpr (kInChain<Link>) {
    if (link.norm != nullptr && out.n < link.n) {
      norm[0] = Load16(link.norm + out.n);
      norm[1] = Load16(link.norm + out.n + 4);
    }
  }
  AddParts<S>(piece, parts, out.sum);
  Norm<S>(link, slopes, out.row[0], out.sum);
  if constexpr (!kInChain<Link>) {
    if (ragged) return FinishRagged<T>(link, out, nullptr, link.n);
  }
  if (out.row[0] >= 0) FinishOctets(link, out, nullptr, residual);
  StoreOctets<T>(link, out);
  if constexpr (kInChain<Link>) {
    if (link.norm != nullptr) LeaveNormed<T>(link, out, norm);
  }
}

template <class T>
UM_DEVICE void StoreFour(T* to, const float* v) {
  Vec16 out = {};
#pragma unroll
  for (int j = 0; j < 4; ++j) out.Put(j, FromFloat<T>(v[j]));
  Store8(to, out.w[0], out.w[1]);
}

template <class T, class S, class Link>
UM_DEVICE void EndGated(const Link& link, const PanelPiece<S>& piece, int panel, const PanelParts<S>& parts) {
  const int outputs = link.n / 2, n = panel * (S::kPanel / 2) + Pieces<S>::Strip() * kTileRows + Lane() % 4 * 4;
  const int row = piece.column < link.m && n < outputs ? piece.column : -1;
  const int64_t at = static_cast<int64_t>(row) * link.y_stride + n;
  Vec16 residual = {};
  if (link.residual != nullptr && row >= 0) residual = Load16(link.residual + at);
  float sum[8] = {};
  AddParts<S>(piece, parts, sum);
  Norm<S>(link, {}, row, sum);
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

// A head, number `head` of queries, keys and values: what comes early are the angles, if it turns, and the page.
template <class T, class S>
UM_DEVICE void EndTurned(const ChainLink& link, const RopeStoreArgs& rope, const PanelPiece<S>& piece, int head,
                         const PanelParts<S>& parts) {
  const int row = piece.column < link.m ? piece.column : -1, stored = rope.heads + rope.kv_heads;
  const bool turns = rope.rotary > 0 && head < stored;
  const Slopes slopes = SlopesOf<S>(link, piece, head);
  Vec16 angles[2] = {};  // cosine and sine of two pairs each
  T* to = static_cast<T*>(rope.q) + static_cast<int64_t>(row) * rope.stride + head * kChainHead + piece.row;
  if (row >= 0 && turns) {
    const float* angle = rope.cos_sin + static_cast<int64_t>(rope.rope_rows[row]) * rope.rotary + 2 * piece.row;
    angles[0] = Load16(angle);
    angles[1] = Load16(angle + 4);
  }
  if (row >= 0 && head >= rope.heads) {
    const bool key = head < stored;
    to = CacheAt<T>(rope, key ? rope.k_cache : rope.v_cache, row, head - (key ? rope.heads : stored)) + piece.row;
  }
  float sum[8] = {};
  AddParts<S>(piece, parts, sum);
  if (row < 0) return;
  Norm<S>(link, slopes, row, sum);
  if (link.bias != nullptr) {
    AddFour(sum, Load16(link.bias + head * kChainHead + piece.row));
    AddFour(sum + 4, Load16(link.bias + head * kChainHead + kChainHead / 2 + piece.row));
  }
  if (turns) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float c = angles[j / 2].template As<float>(j % 2 * 2), s = angles[j / 2].template As<float>(j % 2 * 2 + 1);
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

  UM_DEVICE PanelEnd(const LinearArgs& a, const PanelWork& work, int p) : panel(p), owned(0) {
    const int begin = panel * work.stages, first = begin / work.share;
    const int count = (begin + work.stages - 1) / work.share - first + 1;
    parts = {a.words, first, count, work.share, begin};
    // A run that goes on behind the panel's end began with it, long before the blocks that have the rest come to
    // theirs: it must not wait for them.
    const bool goes_on = (first + count) * work.share > begin + work.stages;
    const int sharing = goes_on && count > 1 ? count - 1 : count;
    const Pieces<S> pieces(a.m, Group());
    for (int i = 0; i < pieces.count; ++i) {
      if ((Pieces<S>::Strip() + pieces.first + i) % sharing == BlockX() - first) owned |= 1 << i;
    }
  }

  // Gives away the pieces that other blocks end, then ends the others. Returns how many. `rope`: of heads that turn.
  template <class T, class Link>
  UM_DEVICE int Run(const Link& link, PieceForm form, const RopeStoreArgs* rope) const {
    PanelParts<S> all = parts;
    all.words = Afresh(all.words);
    const Pieces<S> pieces(link.m, Group());
    int ended = 0;
#pragma unroll 1
    for (int i = 0; i < pieces.count; ++i) {
      if ((owned >> i & 1) == 0) PanelPiece<S>(form, pieces.first + i).Send(all.Of(BlockX()));
    }
#pragma unroll 1
    for (int i = 0; owned >> i != 0; ++i) {
      if ((owned >> i & 1) == 0) continue;
      const PanelPiece<S> piece(form, pieces.first + i);
      if (form == PieceForm::kPlain) {
        EndPlain<T, S>(link, piece, panel, all);
      } else if (form == PieceForm::kGated) {
        EndGated<T, S>(link, piece, panel, all);
      } else if constexpr (kInChain<Link>) {
        EndTurned<T, S>(link, *rope, piece, panel, all);
      }
      ClearParts<S>(piece, all);
      ++ended;
    }
    return ended;
  }
};

}  // namespace unimax::UM_PORT_NAMESPACE
