// SPDX-License-Identifier: Apache-2.0
// The words of Hopper (sm_90a) for blocks that share what they copy: clusters, boxes of a mapped matrix that go to all
// blocks of a cluster at once, and the matrix instruction of a warpgroup with other operands. Source: PTX ISA 9.0,
// sections barrier.cluster, cp.async.bulk.tensor, mapa and wgmma.
#pragma once

#include "kernels/args.h"
#include "kernels/nvidia/port_wgmma.h"

// An entry whose blocks form clusters of `cluster` neighbours along x.
#define UM_CLUSTER_ENTRY(name, Args, body, max_threads, cluster)                               \
  extern "C" __global__ void __launch_bounds__(max_threads, 1) __cluster_dims__(cluster, 1, 1) \
      name(const __grid_constant__ Args args) {                                                \
    body(args);                                                                                \
  }

namespace unimax::gpu {

// All threads of all blocks of the cluster meet; what they did before is seen by all behind it.
UM_DEVICE void ClusterBarrier() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// Makes initialised barriers visible to the cluster's other blocks.
UM_DEVICE void FenceBarriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

// Arrives at the barrier of block `block` of the cluster that lies where `barrier` lies in this one.
UM_DEVICE void ArriveAt(uint32_t barrier, int block) {
  asm volatile(
      "{\n"
      ".reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
      "}" ::"r"(barrier),
      "r"(block)
      : "memory");
}

// What other blocks of the device have counted so far, and all that they did before.
UM_DEVICE int LoadAcquire(const int* counter) {
  int v;
  asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(counter) : "memory");
  return v;
}

// Adds to what LoadAcquire reads; what the group did before it is seen by who reads it.
UM_DEVICE void AddRelease(int* counter, int v) {
  asm volatile("red.release.gpu.global.add.s32 [%0], %1;" ::"l"(counter), "r"(v) : "memory");
}
// Whole numbers that many add to, and the nearest one of a float, of which a negative one counts down.
UM_DEVICE void AddWhole(unsigned long long* to, unsigned long long v) { atomicAdd(to, v); }
UM_DEVICE void SetBits(unsigned long long* to, unsigned long long bits) { atomicOr(to, bits); }
UM_DEVICE unsigned long long ToWhole(float v) { return static_cast<unsigned long long>(__float2ll_rn(v)); }
UM_DEVICE unsigned long long LoadAgain(const unsigned long long* p) {
  unsigned long long v;
  asm volatile("ld.relaxed.gpu.global.b64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
  return v;
}

// Has `bytes`, a multiple of 16 like the address, brought near.
UM_DEVICE void FetchNear(const void* from, int bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}

// The same of a map, which lies among the arguments.
UM_DEVICE void FetchMapNear(const MatrixMap& map) { asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory"); }

// Copies the map's box that begins at `column`, `row` to the same place in each block of `blocks` (a bit each); its
// bytes count towards the barrier of each that lies where `barrier` does.
UM_DEVICE void CopyBox(uint32_t to, const MatrixMap& map, int column, int row, uint32_t barrier, int blocks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
      "l"(&map), "r"(column), "r"(row), "r"(barrier), "h"(static_cast<uint16_t>(blocks))
      : "memory");
}

// The same for this block alone.
UM_DEVICE void CopyBox(uint32_t to, const MatrixMap& map, int column, int row, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::
          "r"(to),
      "l"(&map), "r"(column), "r"(row), "r"(barrier)
      : "memory");
}

// ---- Shared memory by address ----
UM_DEVICE void StoreFloat(uint32_t at, float v) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(at), "f"(v) : "memory");
}
UM_DEVICE void StoreZeros(uint32_t at) {  // 16 bytes
  asm volatile("st.shared.v4.u32 [%0], {%1, %1, %1, %1};" ::"r"(at), "r"(0) : "memory");
}
UM_DEVICE void LoadFour(uint32_t at, float* v) {
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v[0]), "=f"(v[1]), "=f"(v[2]), "=f"(v[3])
               : "r"(at)
               : "memory");
}

// ---- wgmma of 128 columns with other operands than in port_wgmma.h ----
#define UM_WIDE_WGMMA(operands, ...)                                                                         \
  asm volatile(                                                                                              \
      "{\n"                                                                                                  \
      ".reg .pred add;\n"                                                                                    \
      "setp.ne.b32 add, %64, 0;\n"                                                                           \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." operands "}"                                            \
      : UM_SUMS(0), UM_SUMS(8), UM_SUMS(16), UM_SUMS(24), UM_SUMS(32), UM_SUMS(40), UM_SUMS(48), UM_SUMS(56) \
      : __VA_ARGS__)
// d = a * b^T, or d += it; a too lies in shared memory, as b does.
template <class T>
UM_DEVICE void MultiplyShared(ColumnSums<128>& d, uint64_t a, uint64_t b, bool add);
template <>
UM_DEVICE void MultiplyShared<bf16>(ColumnSums<128>& d, uint64_t a, uint64_t b, bool add) {
  UM_WIDE_WGMMA("bf16.bf16 {" UM_NAMES_64 "}, %65, %66, add, 1, 1, 0, 0;\n", "r"(static_cast<int>(add)), "l"(a),
                "l"(b));
}
template <>
UM_DEVICE void MultiplyShared<f16>(ColumnSums<128>& d, uint64_t a, uint64_t b, bool add) {
  UM_WIDE_WGMMA("f16.f16 {" UM_NAMES_64 "}, %65, %66, add, 1, 1, 0, 0;\n", "r"(static_cast<int>(add)), "l"(a), "l"(b));
}
// d += a * b, where b[16 k, 128 columns] lies as rows of k: 64 columns are 128 bytes, swizzled; the other 64 `apart`
// bytes behind.
UM_DEVICE uint64_t StandingMatrix(uint32_t address, int apart) {
  constexpr uint64_t kSwizzle128 = 1ull << 62, kTileStride = 1024 / 16;
  return kSwizzle128 | kTileStride << 32 | static_cast<uint64_t>(apart / 16) << 16 | (address & 0x3ffffu) >> 4;
}
template <class T>
UM_DEVICE void MultiplyDown(ColumnSums<128>& d, const Vec16& a, uint64_t b);
template <>
UM_DEVICE void MultiplyDown<bf16>(ColumnSums<128>& d, const Vec16& a, uint64_t b) {
  UM_WIDE_WGMMA("bf16.bf16 {" UM_NAMES_64 "}, {%65, %66, %67, %68}, %69, add, 1, 1, 1;\n", "r"(1), "r"(a.w[0]),
                "r"(a.w[1]), "r"(a.w[2]), "r"(a.w[3]), "l"(b));
}
template <>
UM_DEVICE void MultiplyDown<f16>(ColumnSums<128>& d, const Vec16& a, uint64_t b) {
  UM_WIDE_WGMMA("f16.f16 {" UM_NAMES_64 "}, {%65, %66, %67, %68}, %69, add, 1, 1, 1;\n", "r"(1), "r"(a.w[0]),
                "r"(a.w[1]), "r"(a.w[2]), "r"(a.w[3]), "l"(b));
}

}  // namespace unimax::gpu
