// SPDX-License-Identifier: Apache-2.0
// stream_norm: norms of the stream kernel. A root-mean-square norm needs sums of squares, which come with x. A layer
//            norm's mean must go before anything is rounded, so it is a stage of its own, from moments that come with
//            x.
// Who calls: stream_linear, for products whose x is to be normed; stream, for stages kNorm.
// Work:      kNorm: a unit is 32 columns; a group has a row.
// Bound:     latency. bytes = M * units of x * 8 (kNorm: 16) from L2 a block.
// Launch:    that of stream.
// Reference: RefNorm. Sum order: a lane its units, then the lanes of a group.
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
  static constexpr int kAhead = 8, kUnit = 32;  // units of x asked for at once; columns of a unit
  const StreamArgs& a;
  const StreamStage& s;
  const StreamThread& t;
  const int row = Group();

  UM_DEVICE StreamLayerNorm(const StreamArgs& args, const StreamStage& stage, const StreamThread& thread)
      : a(args), s(stage), t(thread) {}

  // What a lane norms, asked for before it is known how.
  struct Own {
    Word x;
    float norm, bias;
  };
  UM_DEVICE const char* Pointer(int n) const { return WordPointer(s.x, WideAt(n, row, a.m)); }
  UM_DEVICE Own Ask(int n) const { return {LoadWord(Pointer(n)), s.norm[n], s.bias != nullptr ? s.bias[n] : 0.0f}; }
  // Moments of kAhead units from unit `first` on, and x of column `n`.
  UM_DEVICE void Await(int first, Words (&w)[kAhead], int n, Own& own) const {
    const unsigned epoch = t.EpochOf(a, s.x_from);
    unsigned odd;
    StreamWait wait;
    do {  // looks at all of them together
      if (own.x.epoch != epoch) own.x = LoadWord(Pointer(n));
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int unit = first + i * kLanes;
        if (unit >= s.sum_units || OddOf(w[i], epoch) == epoch) continue;
        w[i] = LoadWords(WordPointer(s.x_sums, SumAt(unit, row, s.sum_units)));
      }
      odd = own.x.epoch;
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (first + i * kLanes < s.sum_units && OddOf(w[i], epoch) != epoch) odd = OddOf(w[i], epoch);
      }
    } while (odd != epoch && wait.Again(a, t.stage, odd, epoch));
  }
  // The row's mean, and what its elements are multiplied by. Moments are looked at again where a lane holds not all.
  UM_DEVICE void Scale(float& mean, float& scale, int n, Own& own) const {
    const float of_unit = 1.0f / static_cast<float>(s.k);
    float sum = 0, squares = 0;
    Words w[kAhead] = {};  // no word has epoch 0
#pragma unroll 1
    for (int pass = 0; pass < 2; ++pass) {
#pragma unroll 1
      for (int first = Lane(); first - Lane() < s.sum_units; first += kAhead * kLanes) {
        if (s.sum_units > kAhead * kLanes) {
#pragma unroll
          for (int i = 0; i < kAhead; ++i) w[i] = {};
        }
        Await(first, w, n, own);
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
          const int left = s.n - (first + i * kLanes) * s.k;  // elements from this unit of x's writer on
          if (left <= 0) continue;
          const float of = BitCopy<float>(w[i].payload0), count = static_cast<float>(left < s.k ? left : s.k);
          const float apart = (left < s.k ? of / count : of * of_unit) - mean;
          if (pass == 0) sum += of;
          if (pass == 1) squares += BitCopy<float>(w[i].payload1) + count * apart * apart;
        }
      }
      if (pass == 0) mean = GroupSum(sum) / static_cast<float>(s.n);
    }
    scale = Rsqrt(GroupSum(squares) / static_cast<float>(s.n) + s.eps);
  }
  UM_DEVICE void Run() {
    const int first = (BlockX() - s.first + GridX()) % GridX();
    if (row >= a.m || first >= s.units) return;
    Own own = Ask(first * kUnit + Lane());
    float mean = 0, scale;
    Scale(mean, scale, first * kUnit + Lane(), own);
#pragma unroll 1
    for (int unit = first; unit < s.units; unit += GridX()) {
      const int n = unit * kUnit + Lane();
      if (unit != first) own = Ask(n);
      const float x = AwaitFloat(a, t, Pointer(n), own.x, t.EpochOf(a, s.x_from));
      const float y = (x - mean) * scale * own.norm + own.bias;
      const int bits = BitCopy<uint16_t>(FromFloat<T>(y)), other = ShuffleXor(bits, 1);
      if (n % 2 != 0) continue;
      StoreWord(WordPointer(s.y, NarrowAt(n, row, a.m)), static_cast<uint32_t>(other << 16 | bits),
                t.EpochOf(a, t.stage));
    }
  }
};

}  // namespace unimax::UM_PORT_NAMESPACE
