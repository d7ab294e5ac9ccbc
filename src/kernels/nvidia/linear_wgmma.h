// SPDX-License-Identifier: Apache-2.0
// linear_wgmma: y[M, N] = x[M, K] * w[N, K]^T for large M (prefill) on Hopper, w in the same packed tiles as all rows.
// Who calls: op Linear when the plan says "wgmma".
// Work:      one block owns 128 weight rows and 256 rows of x. A producer warpgroup fills a ring of stages of 64 k: the
//            weights' tiles by bulk copies, x through registers. Two consumer warpgroups multiply 64 weight rows each,
//            weights from registers (their packed order is that of the instruction), x from shared memory.
// Bound:     matrix instructions. FLOPs = 2*M*N*K.
// Launch:    grid (ceil(M/256), ceil(N/128)); threads 384; shared WgmmaShared::kBytes.
// Reference: RefLinear. Sum order: k-tiles in turn, that of the instruction within one.
// Source:    PTX ISA (wgmma); warp specialisation as in CUTLASS's Hopper kernels.
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/linear_flat.h"
#include "kernels/nvidia/port_wgmma.h"

namespace unimax::gpu {

struct WgmmaShared {
  static constexpr int kTokens = 256, kStrips = 8, kStageTiles = 2, kStages = 4;
  static constexpr int kX = kTokens * kStageTiles * kTileK * 2;        // 32 KB a stage
  static constexpr int kWeights = kStrips * kStageTiles * kTileBytes;  // 16 KB
  static constexpr int kStage = kX + kWeights;
  static constexpr int kBarriers = kStages * kStage;              // full and empty of each stage
  static constexpr int kBytes = kBarriers + 16 * kStages + 1024;  // 1,024: the ring begins on such a border
  // Results on their way out, over the ring: [token][kPitch] f32 a warpgroup.
  static constexpr int kPitch = 64 + 4;
  static constexpr int kOut = kTokens * kPitch * 4;
  static_assert(2 * kOut <= kBarriers);
};

// A 32-k tile of x is 4 chunks of 16 bytes. The packed weights deal k so that chunk t holds the words {2t, 2t + 1} of
// both halves of both instructions: word w of chunk t becomes word t of chunk w (see MmaTileIndex).
struct WgmmaProducer {
  using S = WgmmaShared;
  static constexpr int kEach = S::kTokens * 8 / kWarpgroup;  // chunks a thread and stage
  static constexpr int kRows = kWarpgroup / 8;               // rows of x between them, a multiple of the swizzle's 8
  Vec16 chunk[kEach];

  const char* x;   // this thread's first chunk of the next stage
  int64_t stride;  // bytes between its rows
  int rows;        // of x from its first one on
  int k_left;      // of x from its first k on
  uint32_t at[4];  // where word w of its first chunk goes in a stage

  template <class T>
  UM_DEVICE static WgmmaProducer For(const LinearArgs& a, int thread, int first_row) {
    WgmmaProducer p;
    const int row = thread / 8, d = thread % 8 / 4, t = thread % 4;
    const int64_t first = static_cast<int64_t>(first_row + row) * a.x_stride + thread % 8 * 8;
    p.x = reinterpret_cast<const char*>(static_cast<const T*>(a.x) + first);
    p.stride = static_cast<int64_t>(a.x_stride) * kRows * sizeof(T);
    p.rows = a.m - first_row - row;
    p.k_left = a.k - thread % 8 * 8;
#pragma unroll
    for (int w = 0; w < 4; ++w) p.at[w] = row * 128 + ((d * 4 + w) ^ (row % 8)) * 16 + t * 4;
    return p;
  }
  // Fetches chunk i of the next stage; what lies outside the matrix becomes zero.
  UM_DEVICE void Fetch(int i) {
    chunk[i] = {};
    if (k_left > 0 && i * kRows < rows) chunk[i] = Load16(x + i * stride);
  }
  UM_DEVICE void Store(int i, uint32_t stage) const {
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      asm volatile("st.shared.u32 [%0], %1;" ::"r"(stage + at[w] + i * kRows * 128), "r"(chunk[i].w[w]) : "memory");
    }
  }
  // Stores one half of the chunks and fetches that half of the next stage: the other half is on its way meanwhile.
  template <int kHalf>
  UM_DEVICE void Turn(uint32_t stage) {
#pragma unroll
    for (int i = 0; i < kEach / 2; ++i) Store(kHalf * kEach / 2 + i, stage);
#pragma unroll
    for (int i = 0; i < kEach / 2; ++i) Fetch(kHalf * kEach / 2 + i);
  }
  UM_DEVICE void Advance() {
    x += S::kStageTiles * kTileK * 2;
    k_left -= S::kStageTiles * kTileK;
  }
};

template <class T>
UM_DEVICE void ProduceWgmma(const LinearArgs& a, uint32_t ring, int first_row, int first_strip) {
  using S = WgmmaShared;
  const int thread = Thread() % kWarpgroup, warp = thread / kLanes;
  const int tiles = (a.k + kTileK - 1) / kTileK, strips = (a.n + kTileRows - 1) / kTileRows;
  const int take = strips - first_strip < S::kStrips ? strips - first_strip : S::kStrips;
  const char* w = static_cast<const char*>(a.w) + static_cast<int64_t>(first_strip) * tiles * kTileBytes;
  WgmmaProducer x = WgmmaProducer::For<T>(a, thread, first_row);
  WaitForPrevious();
#pragma unroll
  for (int i = 0; i < WgmmaProducer::kEach; ++i) x.Fetch(i);
  int slot = 0, phase = 1;
  for (int tile = 0; tile < tiles; tile += S::kStageTiles) {
    const uint32_t stage = ring + slot * S::kStage, full = ring + S::kBarriers + slot * 16, empty = full + 8;
    WaitPhase(empty, phase);
    const int bytes = (tiles - tile < S::kStageTiles ? tiles - tile : S::kStageTiles) * kTileBytes;
    if (thread == 0) ArriveExpecting(full, take * bytes);
    if (Lane() == 0) {
      for (int s = warp; s < take; s += kWarpgroup / kLanes) {
        BulkCopy(stage + S::kX + s * S::kStageTiles * kTileBytes,
                 w + (static_cast<int64_t>(s) * tiles + tile) * kTileBytes, bytes, full);
      }
    }
    x.Advance();
    x.Turn<0>(stage);
    x.Turn<1>(stage);
    FenceAsync();
    Arrive(full);
    if (++slot == S::kStages) {
      slot = 0;
      phase ^= 1;
    }
  }
}

// Products of one stage: kTilesHere k-tiles of this warp's strip with all rows of x.
template <class T, int kTilesHere>
UM_DEVICE void MultiplyStage(uint32_t stage, uint32_t weights, ColumnSums<128> (&sum)[2]) {
  Vec16 w[2 * kTilesHere];
#pragma unroll
  for (int p = 0; p < 2 * kTilesHere; ++p) {
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(w[p].w[0]), "=r"(w[p].w[1]), "=r"(w[p].w[2]), "=r"(w[p].w[3])
                 : "r"(weights + p * (kTileBytes / 2))
                 : "memory");
  }
  BeginProducts();
#pragma unroll
  for (int p = 0; p < 2 * kTilesHere; ++p) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      MultiplyColumns<T>(sum[h], w[p], SwizzledMatrix(stage + h * (128 * 128) + p * 32));
    }
  }
  CommitProducts();
  WaitProducts<0>();
}

template <class T>
UM_DEVICE void ConsumeWgmma(const LinearArgs& a, uint32_t ring, int warpgroup, ColumnSums<128> (&sum)[2]) {
  using S = WgmmaShared;
  const int tiles = (a.k + kTileK - 1) / kTileK;
  const int strip = warpgroup * 4 + Group() % 4;
  int slot = 0, phase = 0;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
#pragma unroll
    for (int i = 0; i < 64; ++i) sum[h].v[i] = 0;
  }
  const uint32_t weights = S::kX + strip * S::kStageTiles * kTileBytes + Lane() * 16;
  for (int tile = 0; tile + 1 < tiles; tile += S::kStageTiles) {
    const uint32_t stage = ring + slot * S::kStage, full = ring + S::kBarriers + slot * 16;
    WaitPhase(full, phase);
    MultiplyStage<T, 2>(stage, stage + weights, sum);
    Arrive(full + 8);  // every lane for its own reads
    if (++slot == S::kStages) {
      slot = 0;
      phase ^= 1;
    }
  }
  if (tiles % 2 == 0) return;
  const uint32_t stage = ring + slot * S::kStage;
  WaitPhase(ring + S::kBarriers + slot * 16, phase);
  MultiplyStage<T, 1>(stage, stage + weights, sum);
}

// Through shared memory, so that neighbouring lanes write neighbouring outputs of one row of y.
template <class T>
UM_DEVICE void StoreWgmma(const LinearArgs& a, unsigned char* ring, int warpgroup, int first_row, int first_strip,
                          const ColumnSums<128> (&sum)[2]) {
  using S = WgmmaShared;
  float* out = reinterpret_cast<float*>(ring + warpgroup * S::kOut);
  const int thread = Thread() % kWarpgroup;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
#pragma unroll
    for (int i = 0; i < 64; ++i) {
      const int row = thread / 32 * 16 + Lane() / 4 + i % 4 / 2 * 8;
      const int token = h * 128 + i / 4 * 8 + Lane() % 4 * 2 + i % 2;
      out[token * S::kPitch + row] = sum[h].v[i];
    }
  }
  SomeBarrier(1 + warpgroup, kWarpgroup);  // orders the sums before they are read
  const int strip = first_strip + warpgroup * 4;
  const int rows = a.m - first_row < S::kTokens ? a.m - first_row : S::kTokens;
  for (int i = thread; i < rows * kTileRows; i += kWarpgroup) {
    const int token = i / kTileRows, r = i % kTileRows;
    const float* v = out + token * S::kPitch + r;  // the same row of the four strips
    if (a.flags & kLinearActMul) {                 // strips alternate gate, up
      LinearOutputs<2> y;
      float up[2];
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        y.n[s] = (strip / 2 + s) * kTileRows + r;
        y.row[s] = y.n[s] < a.n / 2 ? first_row + token : -1;
        y.sum[s] = v[2 * s * kTileRows];
        up[s] = v[(2 * s + 1) * kTileRows];
      }
      FinishGated<T>(a, y, up);
    } else {
      LinearOutputs<4> y;
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        y.n[s] = (strip + s) * kTileRows + r;
        y.row[s] = y.n[s] < a.n ? first_row + token : -1;
        y.sum[s] = v[s * kTileRows];
      }
      FinishLinear<T>(a, y);
    }
  }
}

template <class T>
UM_DEVICE void LinearWgmma(const LinearArgs& a) {
  using S = WgmmaShared;
  const int first_row = BlockX() * S::kTokens, first_strip = BlockY() * S::kStrips;
  const uint32_t base = SharedAddress(um_shared);
  const uint32_t ring = (base + 1023) / 1024 * 1024;
  if (Thread() == 0) {
    for (int s = 0; s < S::kStages; ++s) {
      InitBarrier(ring + S::kBarriers + s * 16, kWarpgroup + 1);  // the copying thread arrives twice
      InitBarrier(ring + S::kBarriers + s * 16 + 8, 2 * kWarpgroup);
    }
    FenceAsync();
  }
  Barrier();  // orders the barriers before their use
  if (Group() < 4) {
    GiveRegisters<104>();
    ProduceWgmma<T>(a, ring, first_row, first_strip);
  } else {
    TakeRegisters<200>();
    ColumnSums<128> sum[2];
    const int warpgroup = Group() / 4 - 1;
    ConsumeWgmma<T>(a, ring, warpgroup, sum);
    SomeBarrier(3, 2 * kWarpgroup);  // both have read the ring
    StoreWgmma<T>(a, um_shared + (ring - base), warpgroup, first_row, first_strip, sum);
  }
}

}  // namespace unimax::gpu
