// SPDX-License-Identifier: Apache-2.0
// stream_norm: norms of the stream kernel. A root-mean-square norm needs sums of squares, which come with x. A layer
//            norm's mean must go before anything is rounded, so each block norms the whole residual stream for itself,
//            on the way to shared memory.
// Who calls: stream_linear, for products whose x is to be normed.
// Work:      row after row; a thread holds kKeep pieces of 8 elements of it.
// Bound:     latency. bytes = M * K * 8 from L2.
// Launch:    that of stream; K at most kStreamNormWidth.
// Reference: RefNorm. Sum order: a thread its elements, the lanes of a group, then the groups.
// Source:    Ba et al. 2016 (layer norm).
#pragma once

#include "kernels/gpu/stream_words.h"

namespace unimax::UM_PORT_NAMESPACE {

// The sums of squares of a row of x, from its units in an order that M does not change, for the group of the row's
// number. A lane's first words of them are awaited together with x.
struct StreamSums {
  static constexpr int kAhead = 4;
  const StreamArgs& a;
  const StreamStage& s;
  bool wanted;  // of this group
  Word w[kAhead] = {};

  UM_DEVICE StreamSums(const StreamArgs& args, const StreamStage& stage)
      : a(args), s(stage), wanted(stage.sum_units > 0 && Group() < args.m) {}
  UM_DEVICE bool Has(int i) const { return wanted && Lane() + i * kLanes < s.sum_units; }
  UM_DEVICE const char* Pointer(int i) const {
    return WordPointer(s.x_sums, SumAt(Lane() + i * kLanes, Group(), s.sum_units));
  }
  UM_DEVICE void Look(unsigned epoch) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (Has(i) && w[i].epoch != epoch) w[i] = LoadWord(Pointer(i));
    }
  }
  UM_DEVICE unsigned Odd(unsigned epoch) const {
    unsigned odd = epoch;
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (Has(i) && w[i].epoch != epoch) odd = w[i].epoch;
    }
    return odd;
  }
};

template <class T>
struct StreamLayerNorm {
  static constexpr int kKeep = kStreamNormWidth / 8 / kStreamThreads > 0 ? kStreamNormWidth / 8 / kStreamThreads : 1;
  const StreamArgs& a;
  const StreamStage& s;
  const StreamThread& t;
  float v[kKeep][8];

  UM_DEVICE StreamLayerNorm(const StreamArgs& args, const StreamStage& stage, const StreamThread& thread)
      : a(args), s(stage), t(thread) {}

  UM_DEVICE int Piece(int i) const { return Thread() + i * kStreamThreads; }
  // Element e of piece i stands at k = 8 * Piece(i) + e; absent pieces are zeros.
  UM_DEVICE void Fetch(int row) {
    const unsigned epoch = t.EpochOf(a, s.x_from);
    EightWords low[kKeep] = {}, high[kKeep] = {};
    unsigned odd;
    StreamWait wait;
    do {  // looks at all pieces together
      odd = epoch;
#pragma unroll
      for (int i = 0; i < kKeep; ++i) {
        if (Piece(i) >= s.k / 8) continue;
        const char* p = WordPointer(s.x, WideAt(Piece(i) * 8, row, a.m));
        low[i] = LoadEight(p);
        high[i] = LoadEight(p + 32);
      }
#pragma unroll
      for (int i = 0; i < kKeep; ++i) {
        if (Piece(i) >= s.k / 8) continue;
        if (low[i].Odd(epoch) != epoch) odd = low[i].Odd(epoch);
        if (high[i].Odd(epoch) != epoch) odd = high[i].Odd(epoch);
      }
    } while (odd != epoch && wait.Again(a, t.stage, odd, epoch));
#pragma unroll
    for (int i = 0; i < kKeep; ++i) {
      const Vec16 first = low[i].Elements(), second = high[i].Elements();
#pragma unroll
      for (int e = 0; e < 8; ++e) v[i][e] = e < 4 ? first.template As<float>(e) : second.template As<float>(e - 4);
    }
  }
  // The sum over the block; `at`: 8 floats of scratch that nobody else uses meanwhile.
  UM_DEVICE float BlockTotal(Shared<float>& scratch, int at, float sum) const {
    sum = GroupSum(sum);
    if (Lane() == 0) scratch.Set(at + Group(), sum);
    SomeBarrier(kStreamThreads);  // orders every group's sum before it is read
    float total = 0;
#pragma unroll
    for (int g = 0; g < kStreamGroups; ++g) total += scratch.Get(at + g);
    return total;
  }
  UM_DEVICE void Row(int row, Shared<T>& x, Shared<float>& scratch) {
    Fetch(row);
    const int at = row % 2 * 2 * kStreamGroups;  // of the row before, some may still be read
    float sum = 0, squares = 0;
#pragma unroll
    for (int i = 0; i < kKeep; ++i) {
#pragma unroll
      for (int e = 0; e < 8; ++e) sum += v[i][e];
    }
    const float mean = BlockTotal(scratch, at, sum) / static_cast<float>(s.k);
#pragma unroll
    for (int i = 0; i < kKeep; ++i) {
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        v[i][e] = Piece(i) < s.k / 8 ? v[i][e] - mean : 0.0f;
        squares += v[i][e] * v[i][e];
      }
    }
    const float scale = Rsqrt(BlockTotal(scratch, at + kStreamGroups, squares) / static_cast<float>(s.k) + s.eps);
#pragma unroll
    for (int i = 0; i < kKeep; ++i) {
      if (Piece(i) >= s.k / 8) continue;
      Vec16 out;
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const int k = Piece(i) * 8 + e;
        const float bias = s.x_norm_bias != nullptr ? s.x_norm_bias[k] : 0.0f;
        out.template Put<T>(e, FromFloat<T>(v[i][e] * scale * s.x_norm[k] + bias));
      }
      x.Set16(((Piece(i) / 4 * a.m + row) * 4 + Piece(i) % 4) * 8, out);
    }
  }
  UM_DEVICE void Stage(Shared<T>& x) {
    Shared<float> scratch(StreamLayout::kSums);
#pragma unroll 1
    for (int row = 0; row < a.m; ++row) Row(row, x, scratch);
  }
};

}  // namespace unimax::UM_PORT_NAMESPACE
