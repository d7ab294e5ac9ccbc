// SPDX-License-Identifier: Apache-2.0
// stream_merge: how the sums of a query head come together in the stream kernel: of the groups of a block, and of the
//            blocks that took the runs of its pages.
// Who calls: stream, for each run of stream_attention by a group beside the readers, and for stages kMerge.
// Work:      kMerge: a unit is a row and query head; group g takes the runs g, g + 8, ...
// Bound:     latency. bytes = runs * (head_dim + 2) * 8 a head.
// Launch:    that of stream.
// Reference: RefAttentionRow. Sum order: runs of a group in turn, then groups in turn.
// Source:    Flash-Decoding (split over tokens).
#pragma once

#include "kernels/gpu/stream_attention.h"

namespace unimax::UM_PORT_NAMESPACE {

// Two neighbouring dims of a head.
struct StreamMix {
  float low = 0, high = 0, top = -Infinity(), sum = 0;
  // Adds sums whose weights stand relative to 2^other_top.
  UM_DEVICE void Take(float other_low, float other_high, float other_top, float other_sum) {
    const float most = Max(top, other_top);
    const float mine = top == -Infinity() ? 0.0f : Exp2(top - most);
    const float theirs = other_top == -Infinity() ? 0.0f : Exp2(other_top - most);
    low = low * mine + other_low * theirs;
    high = high * mine + other_high * theirs;
    sum = sum * mine + other_sum * theirs;
    top = most;
  }
};

template <class T, int kDims, int kG>
struct StreamMerge {
  using Attention = StreamAttention<T, kDims, kG>;
  static constexpr int kPitch = kDims + 2, kPairs = (kDims / 2 + kLanes - 1) / kLanes;  // of the sums of a run
  static constexpr int kState = Attention::kPitch, kNext = kG * kState;  // in `states`: of a head, a group
  const StreamArgs& a;
  const StreamStage& s;
  StreamThread& t;
  // Of StatesOf runs, [group][kG][kPitch].
  Shared<float> states{StreamLayout{a.m}.x() + StreamLayout::kAsked * StreamLayout::AskedBytes(kDims, kG)};

  UM_DEVICE StreamMerge(const StreamArgs& args, const StreamStage& stage, StreamThread& thread)
      : a(args), s(stage), t(thread) {}

  // By what the groups' sums count together; a group that has counted nothing may have left none.
  struct Factors {
    float of[kStreamGroups], top = -Infinity(), sum = 0;
  };
  UM_DEVICE Factors FactorsOf(int from) const {
    Factors f;
    Vec16 v[kStreamGroups];
#pragma unroll
    for (int i = 0; i < kStreamGroups; ++i) {
      v[i] = states.Get16(from + i * kNext + kDims);
      f.top = Max(f.top, v[i].template As<float>(0));
    }
#pragma unroll
    for (int i = 0; i < kStreamGroups; ++i) {
      const float top = v[i].template As<float>(0);
      f.of[i] = top == -Infinity() ? 0.0f : Exp2(top - f.top);
      f.sum += f.of[i] * v[i].template As<float>(1);
    }
    return f;
  }
  // Four dims of the groups' sums at `from`.
  struct Sums {
    float v[4] = {};
  };
  UM_DEVICE Sums OfGroups(const Factors& f, int from, int d) const {
    Sums all;
#pragma unroll
    for (int i = 0; i < kStreamGroups; ++i) {
      const Vec16 v = f.of[i] == 0.0f ? Vec16{} : states.Get16(from + i * kNext + d);
#pragma unroll
      for (int e = 0; e < 4; ++e) all.v[e] += f.of[i] * v.template As<float>(e);
    }
    return all;
  }
  UM_DEVICE void Tell(const Sums& sums, float sum, int row, int head, int d, unsigned epoch) {
#pragma unroll
    for (int e = 0; e < 4; e += 2) {
      const uint32_t low = BitCopy<uint16_t>(FromFloat<T>(sums.v[e] / sum));
      const uint32_t high = BitCopy<uint16_t>(FromFloat<T>(sums.v[e + 1] / sum));
      StoreWord(WordPointer(s.y, NarrowAt(head * kDims + d + e, row, a.m)), high << 16 | low, epoch);
    }
  }
  // The end of a run: its sums, or the result where it is the only one of its row, as the kMerge behind would tell it.
  UM_DEVICE void FinishRun(const StreamRun& r) {
    static_assert(kG * kStreamGroups <= kLanes);
    constexpr int kOfHead = kDims / 4, kHeads = kLanes / kOfHead;  // lanes of a head; heads at once
    const int heads = a.heads / a.kv_heads, d = Lane() % kOfHead * 4;
    const int run = (t.run & (StreamLayout::StatesOf(kDims, kG, a.x_bytes) - 1)) * kStreamGroups * kNext;
    const unsigned epoch = t.EpochOf(a, r.stage);
    // A lane has a head's state in one group, and finds with its neighbours what that counts.
    const int state = run + Lane() % kStreamGroups * kNext + Lane() / kStreamGroups * kState + kDims;
    const bool mine = Lane() / kStreamGroups < heads;
    const float own = mine ? states.Get(state) : -Infinity();
    float top = own;
#pragma unroll
    for (int mask = 1; mask < kStreamGroups; mask *= 2) top = Max(top, ShuffleXor(top, mask));
    const float factor = own == -Infinity() ? 0.0f : Exp2(own - top);
    float sum = mine ? factor * states.Get(state + 1) : 0.0f;
#pragma unroll
    for (int mask = 1; mask < kStreamGroups; mask *= 2) sum += ShuffleXor(sum, mask);
#pragma unroll
    for (int first = 0; first < kG; first += kHeads) {
      const int g = first + Lane() / kOfHead, at = g * kStreamGroups;  // the lane that has its first factor
      Factors f;
#pragma unroll
      for (int i = 0; i < kStreamGroups; ++i) f.of[i] = Shuffle(factor, at + i);
      f.top = Shuffle(top, at);
      f.sum = Shuffle(sum, at);
      if (g >= heads) continue;
      const Sums sums = OfGroups(f, run + g * kState, d);
      if (r.runs == 1) {
        Tell(sums, f.sum, r.row, r.head * heads + g, d, t.EpochOf(a, r.stage + 1));
        continue;
      }
      char* p = WordPointer(s.partial, (r.unit * heads + g) * kPitch);
#pragma unroll
      for (int e = 0; e < 4; e += 2) {
        StoreWords(p + (d + e) * kStreamWordBytes, BitCopy<uint32_t>(sums.v[e]), BitCopy<uint32_t>(sums.v[e + 1]),
                   epoch);
      }
      if (d == 0) {
        StoreWords(p + kDims * kStreamWordBytes, BitCopy<uint32_t>(f.top), BitCopy<uint32_t>(f.sum), epoch);
      }
    }
  }

  // One group's share of the runs; `p` points at the sums of the first of them, which lie `step` words apart.
  UM_DEVICE void TakeRuns(const char* p, int step, int runs) {
    const unsigned epoch = t.EpochOf(a, s.x_from);
    StreamMix mix[kPairs];
#pragma unroll 1
    for (int run = Group(); run < runs; run += kStreamGroups) {
      const char* from = p + static_cast<int64_t>(run) * step * kStreamWordBytes;
      Words state, pair[kPairs];
      unsigned odd;
      StreamWait wait;
      do {  // looks at all of them together
        state = LoadWords(from + kDims * kStreamWordBytes);
#pragma unroll
        for (int j = 0; j < kPairs; ++j) {
          const int d = (Lane() + j * kLanes) * 2;
          pair[j] = d < kDims ? LoadWords(from + d * kStreamWordBytes) : state;
        }
        odd = OddOf(state, epoch);
#pragma unroll
        for (int j = 0; j < kPairs; ++j) {
          if (OddOf(pair[j], epoch) != epoch) odd = OddOf(pair[j], epoch);
        }
      } while (odd != epoch && wait.Again(a, t.stage, odd, epoch));
#pragma unroll
      for (int j = 0; j < kPairs; ++j) {
        if ((Lane() + j * kLanes) * 2 >= kDims) continue;
        mix[j].Take(BitCopy<float>(pair[j].payload0), BitCopy<float>(pair[j].payload1), BitCopy<float>(state.payload0),
                    BitCopy<float>(state.payload1));
      }
    }
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      const int d = (Lane() + j * kLanes) * 2, to = Group() * kNext;
      if (d >= kDims) continue;
      states.Set(to + d, mix[j].low);
      states.Set(to + d + 1, mix[j].high);
      if (d > 0) continue;
      states.Set(to + kDims, mix[j].top);
      states.Set(to + kDims + 1, mix[j].sum);
    }
  }
  UM_DEVICE void Run() {
    const int heads = a.heads / a.kv_heads;
#pragma unroll 1
    for (int unit = (BlockX() - s.first + GridX()) % GridX(); unit < a.m * a.heads; unit += GridX()) {
      const int row = unit / a.heads, head = unit % a.heads;
      StreamRow r;
      while (r.row < row) NextRow(a, s, r);
      if (r.runs == 1) continue;
      const int first = (r.base + head / heads * r.runs) * heads + head % heads;
      TakeRuns(WordPointer(static_cast<const void*>(s.partial), first * kPitch), heads * kPitch, r.runs);
      SomeBarrier(kStreamThreads);  // orders all groups' sums before they are read
      if (Thread() < kDims / 4) {
        const Factors f = FactorsOf(0);
        Tell(OfGroups(f, 0, Thread() * 4), f.sum, row, head, Thread() * 4, t.EpochOf(a, t.stage));
      }
      SomeBarrier(kStreamThreads);  // orders these reads before the next head's sums
    }
  }
};

// Tells the sums of each run as soon as its readers have left it.
template <class T, int kDims, int kG>
UM_DEVICE void FinishRuns(const StreamArgs& a, StreamThread& t) {
#pragma unroll 1
  for (;; ++t.run) {
    const StreamRun& r = AwaitNoted(t.run);
    if (r.kind == StreamRunKind::kQuit) return;
    AwaitLeft(t.run);
    if (r.kind != StreamRunKind::kEnd) StreamMerge<T, kDims, kG>(a, StageOf(r), t).FinishRun(r);
    GroupSync();  // orders the reads of all lanes before they are told
    if (Lane() == 0) TellDone(t.run);
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
