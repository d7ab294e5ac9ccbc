// SPDX-License-Identifier: Apache-2.0
// linear_wgmma_store: the end of linear_wgmma: bias, activation, residual and cap, then y, by way of shared memory, so
// that neighbouring lanes write neighbouring outputs of one row.
// Who calls: linear_wgmma.h, for the 64 weight rows x 256 rows of x of a warpgroup.
// Work:      64 rows of x at once: each warp leaves its sums, then 8 or 16 threads store a row, four outputs each.
// Bound:     memory: residual and y, once.
// Launch:    the caller's; shared WgmmaShape::kOut a warpgroup.
// Reference: RefLinear.
// Source:    own.
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/activation.h"
#include "kernels/nvidia/port_hopper_words.h"

namespace unimax::UM_PORT_NAMESPACE {

struct WgmmaShape {
  static constexpr int kTokens = 256, kStrips = 8, kStageTiles = 2, kStages = 4, kCluster = 2;
  static constexpr int kX = kTokens * kStageTiles * kTileK * 2;        // 32 KB a stage
  static constexpr int kShare = kX / kCluster;                         // of them from one block
  static constexpr int kWeights = kStrips * kStageTiles * kTileBytes;  // 16 KB
  static constexpr int kStage = kX + kWeights;
  // Parts along K of a tile: at most so many, of so many k-tiles at least (adding them up takes as long as some
  // stages).
  static constexpr int kMostParts = 8, kLeastTiles = 16;
  // Outputs on their way out: kOutTokens rows of a warpgroup's 64 columns, f32.
  static constexpr int kOutTokens = 64, kOutColumns = 64, kOut = kOutTokens * kOutColumns * 4;
  static constexpr int kOuts = kStages * kStage, kBarriers = kOuts + 2 * kOut;  // full and empty of each stage
  static constexpr int kBytes = kBarriers + 16 * kStages + 1024;                // the ring begins on 1,024 bytes
};

// A warpgroup's outputs of 64 tokens in shared memory: four neighbouring columns are a chunk of 16 bytes, and chunk c
// of token t lies at c ^ t / 2 % 4 * 2, so that neither side meets a bank twice.
UM_DEVICE uint32_t OutAt(uint32_t out, int token, int column) {
  return out + token * WgmmaShape::kOutColumns * 4 + (column / 4 ^ token / 2 % 4 * 2) * 16 + column % 4 * 4;
}

// How a thread ends four neighbouring outputs of some rows of y.
template <bool kGated>
struct WgmmaEnd {
  static constexpr int kColumns = kGated ? WgmmaShape::kOutColumns / 2 : WgmmaShape::kOutColumns;
  static constexpr int kEach = kColumns / 4, kRows = kWarpgroup / kEach;     // threads a row, rows at once
  static constexpr int kCount = WgmmaShape::kOutTokens / kRows, kBatch = 4;  // rows of 64, at once
  int row, n, left;      // the thread's first row of 64, its first output, how many from there on
  bool whole;            // all four are there and aligned
  uint32_t from;         // where the first of them lies
  float bias[4], up[4];  // up: of the second of two strips

  UM_DEVICE static WgmmaEnd For(const LinearArgs& a, uint32_t out, int first) {
    WgmmaEnd e;
    const int thread = Thread() % kWarpgroup, column = thread % kEach * 4, outputs = kGated ? a.n / 2 : a.n;
    const auto misfit = [](const void* p, int bytes) { return reinterpret_cast<uint64_t>(p) % bytes != 0; };
    e.row = thread / kEach;
    e.n = (kGated ? first / 2 : first) * kTileRows + column;
    e.left = outputs - e.n;
    e.whole =
        e.left >= 4 && a.y_stride % 4 == 0 && !misfit(a.y, a.flags & kLinearWide ? 16 : 8) && !misfit(a.residual, 16);
    e.from = OutAt(out, e.row, kGated ? column / kTileRows * 2 * kTileRows + column % kTileRows : column);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      e.bias[i] = a.bias != nullptr && i < e.left ? a.bias[e.n + i] : 0.0f;
      e.up[i] = kGated && a.bias != nullptr && i < e.left ? a.bias[outputs + e.n + i] : 0.0f;
    }
    return e;
  }
};

template <class T>
UM_DEVICE void StoreFour(const LinearArgs& a, int64_t at, bool whole, int left, const float* v) {
  float* wide = static_cast<float*>(a.y) + at;
  T* narrow = static_cast<T*>(a.y) + at;
  const bool is_wide = a.flags & kLinearWide;
  if (whole && is_wide) {
    Vec16 four;
#pragma unroll
    for (int i = 0; i < 4; ++i) four.Put(i, v[i]);
    Store16(wide, four);
  } else if (whole) {
    Store8(narrow, Pair<T>(v[0], v[1]), Pair<T>(v[2], v[3]));
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < left && is_wide) wide[i] = v[i];
      if (i < left && !is_wide) narrow[i] = FromFloat<T>(v[i]);
    }
  }
}

// SiLU by the units' own powers and reciprocals, a few units of f32's last place off: divisions would be some twenty
// instructions each, and the matrix units wait meanwhile.
template <int kCount>
UM_DEVICE void SiluNear(float (&v)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) v[i] *= Reciprocal(1.0f + Exp2(-kLog2E * v[i]));
}

// Residuals of kBatch rows from `first` of a thread's on.
template <bool kGated>
UM_DEVICE void FetchResiduals(const LinearArgs& a, const WgmmaEnd<kGated>& e, int first, int tokens, int64_t at,
                              float* residual) {
  using E = WgmmaEnd<kGated>;
#pragma unroll
  for (int i = 0; i < E::kBatch; ++i) {
    if (e.row + (first + i) * E::kRows >= tokens) continue;
    const float* r = a.residual + at + (first + i) * static_cast<int64_t>(E::kRows) * a.y_stride;
    if (e.whole) {
      const Vec16 four = Load16(r);
#pragma unroll
      for (int j = 0; j < 4; ++j) residual[i * 4 + j] = four.As<float>(j);
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) residual[i * 4 + j] = j < e.left ? r[j] : 0.0f;
    }
  }
}

// Stores the outputs of `tokens` rows from `first_row` on. The next residuals are on their way meanwhile: what a
// thread stores is what it alone has fetched.
template <class T, bool kGated>
UM_DEVICE void StoreTokens(const LinearArgs& a, const WgmmaEnd<kGated>& e, int tokens, int first_row) {
  using E = WgmmaEnd<kGated>;
  constexpr int kStep = E::kRows * WgmmaShape::kOutColumns * 4;  // a multiple of 8 tokens: the same place of chunks
  constexpr int kCount = E::kBatch * 4;
  const int64_t at = static_cast<int64_t>(first_row + e.row) * a.y_stride + e.n;
  float next[kCount] = {};
  if (a.residual != nullptr) FetchResiduals<kGated>(a, e, 0, tokens, at, next);
#pragma unroll 1
  for (int b = 0; b < E::kCount; b += E::kBatch) {
    float v[kCount], residual[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) residual[i] = next[i];
    if (a.residual != nullptr && b + E::kBatch < E::kCount) {
      FetchResiduals<kGated>(a, e, b + E::kBatch, tokens, at, next);
    }
#pragma unroll
    for (int i = 0; i < E::kBatch; ++i) {
      LoadFour(e.from + (b + i) * kStep, v + i * 4);
#pragma unroll
      for (int j = 0; j < 4; ++j) v[i * 4 + j] += e.bias[j];
    }
    if (a.act == Activation::kSilu) {
      SiluNear(v);
    } else {
      Activate(a.act, v);
    }
    if (kGated) {  // strips alternate gate, up
#pragma unroll
      for (int i = 0; i < E::kBatch; ++i) {
        float up[4];
        LoadFour((e.from ^ kTileRows * 4) + (b + i) * kStep, up);
#pragma unroll
        for (int j = 0; j < 4; ++j) v[i * 4 + j] *= up[j] + e.up[j];
      }
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] = v[i] * a.scale + residual[i];
    Cap(a.cap, v);
#pragma unroll
    for (int i = 0; i < E::kBatch; ++i) {
      if (e.row + (b + i) * E::kRows >= tokens) continue;
      StoreFour<T>(a, at + (b + i) * static_cast<int64_t>(E::kRows) * a.y_stride, e.whole, e.left, v + i * 4);
    }
  }
}

// A tile whose k several clusters divide: each leaves its sums, waits for the others', and ends every so many blocks of
// 64 tokens of the sums of all.
struct WgmmaParts {
  int count, mine;
  float* sums;   // [count][2 blocks of a cluster][2 warpgroups][kSums], of this warpgroup in the first
  int* counter;  // of those that have left their sums, then of those that have read all
  static constexpr int kSums = 128 * kWarpgroup, kApart = 2 * WgmmaShape::kCluster * kSums;
  static constexpr int kPatience = 1 << 24;  // looks of about a microsecond

  UM_DEVICE float* At(int part, int i) const {
    return sums + static_cast<int64_t>(part) * kApart + (i * kWarpgroup + Thread() % kWarpgroup) * 4;
  }
  // Leaves `sum`, of which then every count-th block of 64 tokens, from `mine` on, is that of all parts.
  UM_DEVICE void Share(int warpgroup, ColumnSums<256>& sum) const {
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      Vec16 four;
#pragma unroll
      for (int j = 0; j < 4; ++j) four.w[j] = BitCopy<uint32_t>(sum.v[i * 4 + j]);
      Store16(At(mine, i), four);
    }
    SomeBarrier(1 + warpgroup, kWarpgroup);  // orders the sums before their count
    if (Thread() % kWarpgroup == 0) {
      AtomicAdd(counter, 1);
      // All parts' blocks run at once, unless another process holds multiprocessors: a fault then, and no hang.
      int looks = 0;
      while (LoadAcquire(counter) < count) {
        if (++looks == kPatience) Fail();
        Pause();
      }
    }
    SomeBarrier(1 + warpgroup, kWarpgroup);  // orders the count before the others' sums
#pragma unroll
    for (int block = 0; block < 4; ++block) {
      if (block % count == mine) AddAll(block * 8, sum);
    }
    SomeBarrier(1 + warpgroup, kWarpgroup);  // orders all reads before their count
    if (Thread() % kWarpgroup == 0 && AtomicAdd(counter, 1) == 2 * count - 1) *counter = 0;
  }
  // In the order of k.
  UM_DEVICE void AddAll(int first, ColumnSums<256>& sum) const {
#pragma unroll
    for (int i = 0; i < 32; ++i) sum.v[first * 4 + i] = 0;
#pragma unroll 1
    for (int part = 0; part < count; ++part) {
      Vec16 four[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) four[i] = Load16(At(part, first + i));
#pragma unroll
      for (int i = 0; i < 32; ++i) sum.v[first * 4 + i] += four[i / 4].As<float>(i % 4);
    }
  }
};

// Through shared memory, so that neighbouring lanes write neighbouring outputs of one row of y.
template <class T, bool kGated>
UM_DEVICE void StoreWgmma(const LinearArgs& a, uint32_t ring, int warpgroup, int first_row, int first_strip,
                          const WgmmaParts& parts, const ColumnSums<256>& sum) {
  using S = WgmmaShape;
  const uint32_t out = ring + S::kOuts + warpgroup * S::kOut;
  const int row = Group() % 4 * kTileRows + Lane() / 4;
  const uint32_t upper = OutAt(out, Lane() % 4 * 2, row), lower = upper ^ 8 * 4;  // the row 8 below
  const auto e = WgmmaEnd<kGated>::For(a, out, first_strip + warpgroup * 4);
#pragma unroll 1
  for (int block = parts.mine; block < S::kTokens / S::kOutTokens; block += parts.count) {
    SomeBarrier(1 + warpgroup, kWarpgroup);  // orders the reads of the block before
#pragma unroll
    for (int b = 0; b < S::kTokens / S::kOutTokens; ++b) {
      if (b != block) continue;
#pragma unroll
      for (int i = 0; i < S::kOutTokens / 2; ++i) {
        const uint32_t at = (i % 4 / 2 ? lower : upper) + (i / 4 * 8 + i % 2) * (S::kOutColumns * 4);
        StoreFloat(at, sum.v[b * (S::kOutTokens / 2) + i]);
      }
    }
    SomeBarrier(1 + warpgroup, kWarpgroup);  // orders the sums before they are read
    const int begin = first_row + block * S::kOutTokens, left = a.m - begin;
    StoreTokens<T, kGated>(a, e, left < S::kOutTokens ? left : S::kOutTokens, begin);
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
