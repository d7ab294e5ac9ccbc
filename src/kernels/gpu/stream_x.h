// SPDX-License-Identifier: Apache-2.0
// stream_x: where a product of the stream kernel finds x.
// Who calls: stream_linear.
// Work:      of few rows x is waited for as a whole and copied to shared memory, which takes one way through L2. Of
//            more rows it would take several, so the block's first unit reads x as it comes, and each group keeps its
//            k-tiles, which no other group reads. An x that does not fit into shared memory is read so by each unit.
// Bound:     latency. bytes = M * K * 4 from L2 (words) a stage or a unit.
// Launch:    that of stream.
// Reference: none of its own.
// Source:    this project's design (docs/architecture.md).
#pragma once

#include "kernels/gpu/stream_norm.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kStreamXAhead = 4;   // k-tiles of a group that are on their way from L2
inline constexpr int kStreamXStaged = 4;  // most rows whose x is waited for

enum class StreamXFrom { kShared, kMemory, kMemoryOnce };

template <class T>
struct StreamX {
  const StreamArgs& a;
  const StreamStage& s;
  const StreamThread& t;
  StreamLayout at{a.m};
  Shared<T> x{at.x()};

  UM_DEVICE StreamX(const StreamArgs& args, const StreamStage& stage, const StreamThread& thread)
      : a(args), s(stage), t(thread) {}

  // For the first unit.
  UM_DEVICE StreamXFrom From() const {
    if (s.k * a.m * 2 > a.x_bytes) return StreamXFrom::kMemory;
    return a.m > kStreamXStaged ? StreamXFrom::kMemoryOnce : StreamXFrom::kShared;
  }
  UM_DEVICE void Stage(StreamSums& sums) {
    if (From() != StreamXFrom::kShared) return;
    StageWords<T>(a, t, s.x, s.k / 8 * a.m, t.EpochOf(a, s.x_from), x, sums);
  }
  UM_DEVICE const char* Pointer(int tile) const {
    return WordPointer(s.x, (tile * a.m + XColumn()) * 16 + XStart() / 2);
  }
  UM_DEVICE void Fetch(EightWords& words, int tile, int tiles) const {
    if (tile < tiles && XColumn() < a.m) words = LoadEight(Pointer(tile));
  }
  // From memory: piece `i` of those on their way. Where it does not hold, all of them are looked at again.
  template <int kAhead>
  UM_DEVICE FragB<T> Take(EightWords (&all)[kAhead], int i, int tile, int tiles, bool keep) {
    EightWords& words = all[i];
    Vec16 v = {};
    if (XColumn() < a.m && tile < tiles) {
      const unsigned epoch = t.EpochOf(a, s.x_from);
      StreamWait wait;
      while (words.Odd(epoch) != epoch && wait.Again(a, t.stage, words.Odd(epoch), epoch)) {
#pragma unroll
        for (int j = 0; j < kAhead; ++j) {  // those before it are of later tiles
          const int other = tile + (j - i + (j < i ? kAhead : 0)) * kStreamGroups;
          if (other < tiles && all[j].Odd(epoch) != epoch) all[j] = LoadEight(Pointer(other));
        }
      }
      v = words.Elements();
      if (keep) x.Set16((tile * a.m + XColumn()) * kTileK + XStart(), v);
    }
    Fetch(words, tile + kAhead * kStreamGroups, tiles);
    return XOperand<T>(v);
  }
  // From shared memory. Columns that nobody wants repeat the last one; a tile that is not there counts for nothing.
  UM_DEVICE FragB<T> Staged(int tile, int tiles) const {
    const int column = XColumn() < a.m ? XColumn() : a.m - 1, there = tile < tiles ? tile : tiles - 1;
    return XOperand<T>(x.Get16((there * a.m + column) * kTileK + XStart()));
  }
};

}  // namespace unimax::UM_PORT_NAMESPACE
