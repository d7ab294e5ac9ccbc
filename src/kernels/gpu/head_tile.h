// SPDX-License-Identifier: Apache-2.0
// head_tile: decode attention of one group on the matrix units: 32 positions of one KV head in shared memory at a time,
//            with up to eight query heads.
// Who calls: attention_ring, stream_attention.
// Work:      keys, then values, are the left side of the matrix instruction, and the query heads its eight columns.
//            Which elements its rows and k stand for is free: a lane reads 16 bytes of a row at once, and lanes of
//            neighbouring rows the halves of 128 bytes in opposite order, so that they meet different banks.
// Bound:     instructions: some 250 a call, of which all but 32 move operands.
// Launch:    that of the caller; 32 lanes.
// Reference: RefAttentionRow. Sum order: that of the instruction, halves of 16 positions in turn.
// Source:    FlashAttention-2 (arXiv 2307.08691); Milakov & Gimelshein 2018 (online softmax).
#pragma once

#include "kernels/gpu/port_stream.h"

namespace unimax::UM_PORT_NAMESPACE {

template <class T, int kDims>
struct HeadTile {
  static constexpr int kHalf = 16;  // positions of one instruction
  static constexpr int kQueries = kDims / kTileK, kOut = kDims / 16;
  const int g = Lane() / 4, c = Lane() % 4;
  Vec16 q[kQueries] = {};  // of head g: elements 8c .. 8c + 7 of each kTileK
  // Of heads 2c and 2c + 1: largest score times log2 e, this lane's sum of weights; out[j]: of elements Element(0) + j
  // and Element(1) + j.
  float top[2] = {}, sum[2] = {};
  FragC out[kOut] = {};

  UM_DEVICE int Element(int half) const {
    if (kDims == 64) return g * 8 + half * 4;
    return half == 0 ? g * 8 : 64 + (g ^ 4) * 8;
  }
  UM_DEVICE void Clear() {
#pragma unroll
    for (int j = 0; j < kOut; ++j) out[j] = {};
    top[0] = top[1] = -Infinity();
    sum[0] = sum[1] = 0;
  }

  // 16 bytes of each half of 128 bytes of a row; `odd`: of a lane that reads the second half first.
  UM_DEVICE static void Halves(const Shared<T>& x, int row, int first, int second, bool odd, Vec16 (&half)[2]) {
    const Vec16 u = x.Get16(row + (odd ? second : first)), v = x.Get16(row + (odd ? first : second));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      half[0].w[i] = odd ? v.w[i] : u.w[i];
      half[1].w[i] = odd ? u.w[i] : v.w[i];
    }
  }

  // Products of positions g and g + 8 of those from element `keys` on, `pitch` elements apart, with heads 2c, 2c + 1.
  UM_DEVICE FragC Score(const Shared<T>& x, int keys, int pitch = kDims) const {
    FragC even = {}, odd = {};
#pragma unroll
    for (int t = 0; t < kDims / 64; ++t) {
      Vec16 upper[2], lower[2];
      const int row = keys + g * pitch + t * 64 + c * 8;
      Halves(x, row, 0, kTileK, g % 2, upper);
      Halves(x, row + 8 * pitch, 0, kTileK, g % 2, lower);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const Vec16 &u = upper[h], &l = lower[h], &b = q[2 * t + h];
        Mma16<T>(even, {{u.w[0], l.w[0], u.w[1], l.w[1]}}, b.w[0], b.w[1]);
        Mma16<T>(odd, {{u.w[2], l.w[2], u.w[3], l.w[3]}}, b.w[2], b.w[3]);
      }
    }
#pragma unroll
    for (int i = 0; i < kFragC; ++i) even.v[i] += odd.v[i];
    return even;
  }

  // The values of 16 positions, of which a lane holds four: 2c, 2c + 1, 2c + 8, 2c + 9.
  struct Values {
    Vec16 of[4][2];  // both halves
  };
  UM_DEVICE Values LoadValues(const Shared<T>& x, int values) const {
    Values v;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int row = values + (2 * c + n % 2 + n / 2 * 8) * kDims;
      if constexpr (kDims == 64) {
        v.of[n][0] = x.Get16(row + g * 8);
        v.of[n][1] = {{v.of[n][0].w[2], v.of[n][0].w[3], 0, 0}};
      } else {
        Halves(x, row, Element(0), Element(1), c % 2, v.of[n]);
      }
    }
    return v;
  }
  // Adds them, weighed by the scores of their positions, which have become weights.
  UM_DEVICE void Add(const Values& v, const FragC& s) {
    const uint32_t upper = Transposed(Pair<T>(s.v[0], s.v[1])), lower = Transposed(Pair<T>(s.v[2], s.v[3]));
#pragma unroll
    for (int j = 0; j < kOut / 2; ++j) {
      const auto pair = [&](int half, int n) { return TwoWords{v.of[n][half].w[j], v.of[n + 1][half].w[j]}; };
      const TwoWords p[4] = {pair(0, 0), pair(1, 0), pair(0, 2), pair(1, 2)};
      Mma16<T>(out[2 * j], {{p[0].Low(), p[1].Low(), p[2].Low(), p[3].Low()}}, upper, lower);
      Mma16<T>(out[2 * j + 1], {{p[0].High(), p[1].High(), p[2].High(), p[3].High()}}, upper, lower);
    }
  }

  // The largest score of head 2c + h, these and all before.
  UM_DEVICE float Highest(const FragC (&s)[2], int h) const {
    float high = Max(Max(Max(s[0].v[h], s[0].v[h + 2]), Max(s[1].v[h], s[1].v[h + 2])), top[h]);
#pragma unroll
    for (int mask = 4; mask < kLanes; mask *= 2) high = Max(high, ShuffleXor(high, mask));
    return high;
  }
  // Takes in 32 positions. `finish` turns their products into scores times log2 e, -infinity where a position is not
  // seen; kSeen: it leaves one at least.
  template <bool kSeen, class Finish>
  UM_DEVICE void Take(const Shared<T>& x, int keys, int values, const Finish& finish) {
    FragC s[2] = {Score(x, keys), Score(x, keys + kHalf * kDims)};
    const Values v0 = LoadValues(x, values);  // on their way while the weights are found
    finish(s);
    float high[2], keep[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float from = top[h];
      top[h] = high[h] = Highest(s, h);
      if (!kSeen && high[h] == -Infinity()) high[h] = 0;  // nothing seen yet: all weights become 0
      keep[h] = QuickExp2(from - high[h]);
      sum[h] *= keep[h];
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int e = 0; e < kFragC; ++e) {
        s[i].v[e] = QuickExp2(s[i].v[e] - high[e % 2]);
        sum[e % 2] += s[i].v[e];
      }
    }
    const Values v1 = LoadValues(x, values + kHalf * kDims);
#pragma unroll
    for (int j = 0; j < kOut; ++j) {
#pragma unroll
      for (int e = 0; e < kFragC; ++e) out[j].v[e] *= keep[e % 2];
    }
    Add(v0, s[0]);
    Add(v1, s[1]);
  }
  // Every lane of a head gets its sum.
  UM_DEVICE void AddUp() {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int mask = 4; mask < kLanes; mask *= 2) sum[h] += ShuffleXor(sum[h], mask);
    }
  }
  // Leaves the sums of head 2c + h at element `at`: kDims of values, the largest score, the sum of weights.
  UM_DEVICE void Leave(Shared<float>& to, int at, int h, float most, float all) const {
#pragma unroll
    for (int j = 0; j < kOut; j += 4) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        Vec16 four;
#pragma unroll
        for (int i = 0; i < 4; ++i) four.template Put<float>(i, out[j + i].v[2 * half + h]);
        to.Set16(at + Element(half) + j, four);
      }
    }
    if (g != 0) return;
    to.Set(at + kDims, most);
    to.Set(at + kDims + 1, all);
  }
};

}  // namespace unimax::UM_PORT_NAMESPACE
