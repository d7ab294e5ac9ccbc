// SPDX-License-Identifier: Apache-2.0
// stream_norm: norms of the stream kernel, from moments that come with x. A product takes x that is not normed yet,
//            and its end makes up for it (stream_linear). A second layer norm of the same x, which can carry one weight
//            only, is a stage of its own.
// Who calls: stream_linear, for products whose x is to be normed; stream, for stages kNorm.
// Work:      kNorm: a unit is 32 columns; a group has a row.
// Bound:     latency. bytes = M * units of x * 16 from L2 a block.
// Launch:    that of stream.
// Reference: RefNorm. Sum order: a lane its units, then the lanes of a group; means first, then squares.
// Source:    Ba et al. 2016 (layer norm); Zhang and Sennrich 2019 (without the mean); Chan et al. 1979 (of parts).
#pragma once

#include "kernels/gpu/stream_words.h"

namespace unimax::UM_PORT_NAMESPACE {

// The moments of a row of x, from its units in an order that M does not change, for the group of the row's number. A
// lane's first words of them are awaited together with x.
struct StreamSums {
  static constexpr int kAhead = 4;
  const StreamArgs& a;
  const StreamStage& s;
  bool wanted;  // of this group
  Words w[kAhead] = {};

  UM_DEVICE StreamSums(const StreamArgs& args, const StreamStage& stage)
      : a(args), s(stage), wanted(stage.sum_units > 0 && Group() < args.m) {}
  UM_DEVICE bool Has(int i) const { return wanted && Lane() + i * kLanes < s.sum_units; }
  UM_DEVICE const char* Pointer(int i) const {
    return WordPointer(s.x_sums, SumAt(Lane() + i * kLanes, Group(), s.sum_units));
  }
  UM_DEVICE void Look(unsigned epoch) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (Has(i) && OddOf(w[i], epoch) != epoch) w[i] = LoadWords(Pointer(i));
    }
  }
  UM_DEVICE unsigned Odd(unsigned epoch) const {
    unsigned odd = epoch;
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (Has(i) && OddOf(w[i], epoch) != epoch) odd = OddOf(w[i], epoch);
    }
    return odd;
  }
  struct Norm {
    float mean, scale;  // mean: 0 where the norm has none
  };
  // Without `await` it runs for nothing. Units of one size have equal weight in the mean.
  UM_DEVICE Norm Find(const StreamThread& t, bool await) {
    const unsigned epoch = t.EpochOf(a, s.x_from);
    for (StreamWait wait; await && Odd(epoch) != epoch && wait.Again(a, t.stage, Odd(epoch), epoch);) Look(epoch);
    float mean = 0, squares = 0;
#pragma unroll
    for (int i = 0; i < kAhead; ++i) Add(i, w[i], mean, squares);
#pragma unroll 1
    for (int i = kAhead; await && Has(i); ++i) {
      Add(i, Await(a, t, Pointer(i), LoadWords(Pointer(i)), epoch), mean, squares);
    }
    if (s.flags & kStreamLayer) {
      mean = GroupSum(mean) / static_cast<float>(s.sum_units);
#pragma unroll
      for (int i = 0; i < kAhead; ++i) Spread(i, w[i], mean, squares);
#pragma unroll 1
      for (int i = kAhead; await && Has(i); ++i) Spread(i, LoadWords(Pointer(i)), mean, squares);
    }
    return {mean, Rsqrt(GroupSum(squares) / static_cast<float>(s.k) + s.eps)};
  }

 private:
  UM_DEVICE void Add(int i, const Words& unit, float& mean, float& squares) const {
    if (!Has(i)) return;
    mean += BitCopy<float>(unit.payload0);
    squares += BitCopy<float>(unit.payload1);
  }
  // What a unit whose mean is not the row's adds to the squares.
  UM_DEVICE void Spread(int i, const Words& unit, float mean, float& squares) const {
    const float apart = BitCopy<float>(unit.payload0) - mean;
    if (Has(i)) squares += static_cast<float>(s.sum_cols) * apart * apart;
  }
};

template <class T>
UM_DEVICE void StreamLayerNorm(const StreamArgs& a, const StreamStage& s, const StreamThread& t) {
  constexpr int kUnit = 32;
  const int row = Group();
  if (row >= a.m) return;
  StreamSums sums(a, s);
  const StreamSums::Norm norm = sums.Find(t, true);
#pragma unroll 1
  for (int unit = (BlockX() - s.first + GridX()) % GridX(); unit < s.units; unit += GridX()) {
    const int n = unit * kUnit + Lane();
    const char* p = WordPointer(s.x, WideAt(n, row, a.m));
    const float x = AwaitFloat(a, t, p, LoadWord(p), t.EpochOf(a, s.x_from));
    const float y = (x - norm.mean) * norm.scale * s.norm[n] + (s.bias != nullptr ? s.bias[n] : 0.0f);
    const int bits = BitCopy<uint16_t>(FromFloat<T>(y)), other = ShuffleXor(bits, 1);
    if (n % 2 != 0) continue;
    StoreWord(WordPointer(s.y, NarrowAt(n, row, a.m)), static_cast<uint32_t>(other << 16 | bits),
              t.EpochOf(a, t.stage));
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
