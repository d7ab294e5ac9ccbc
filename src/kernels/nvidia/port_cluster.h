// SPDX-License-Identifier: Apache-2.0
// The words of Hopper (sm_90a) for blocks that share what they copy: clusters, boxes of a mapped matrix that go to all
// blocks of a cluster at once, and the widest matrix instruction of a warpgroup. Source: PTX ISA 9.0, sections
// barrier.cluster, cp.async.bulk.tensor, mapa and wgmma.
#pragma once

#include "kernels/args.h"
#include "kernels/nvidia/port_hopper.h"

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

UM_DEVICE float Reciprocal(float v) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(v));
  return y;
}

// What other blocks of the device have counted so far, and all that they did before.
UM_DEVICE int LoadAcquire(const int* counter) {
  int v;
  asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(counter) : "memory");
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

// ---- wgmma: d[64 rows, 256 columns] += a[64, 16 k] * b[256 columns, 16 k]^T, operands as in port_hopper.h ----
inline constexpr int kWidestColumns = 256;
struct WidestSum {  // v[4 j + i]: row lane / 4 + 8 (i / 2) of the warp's 16, column 8 j + lane % 4 * 2 + i % 2
  float v[128];
};
#define UM_FOUR_SUMS(i) "+f"(d.v[i]), "+f"(d.v[i + 1]), "+f"(d.v[i + 2]), "+f"(d.v[i + 3])
#define UM_SIXTEEN_SUMS(i) UM_FOUR_SUMS(i), UM_FOUR_SUMS(i + 4), UM_FOUR_SUMS(i + 8), UM_FOUR_SUMS(i + 12)
#define UM_WIDEST_WGMMA(type)                                                                                   \
  asm volatile(                                                                                                 \
      "{\n"                                                                                                     \
      ".reg .pred add;\n"                                                                                       \
      "setp.ne.b32 add, 1, 0;\n"                                                                                \
      "wgmma.mma_async.sync.aligned.m64n256k16.f32." type "." type                                              \
      " {"                                                                                                      \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                  \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "                        \
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                        \
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "                        \
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "                        \
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "                        \
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "            \
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"          \
      "}, {%128, %129, %130, %131}, %132, add, 1, 1, 0;\n"                                                      \
      "}"                                                                                                       \
      : UM_SIXTEEN_SUMS(0), UM_SIXTEEN_SUMS(16), UM_SIXTEEN_SUMS(32), UM_SIXTEEN_SUMS(48), UM_SIXTEEN_SUMS(64), \
        UM_SIXTEEN_SUMS(80), UM_SIXTEEN_SUMS(96), UM_SIXTEEN_SUMS(112)                                          \
      : "r"(a.w[0]), "r"(a.w[1]), "r"(a.w[2]), "r"(a.w[3]), "l"(b))

template <class T>
UM_DEVICE void MultiplyWidest(WidestSum& d, const Vec16& a, uint64_t b);
template <>
UM_DEVICE void MultiplyWidest<bf16>(WidestSum& d, const Vec16& a, uint64_t b) {
  UM_WIDEST_WGMMA("bf16");
}
template <>
UM_DEVICE void MultiplyWidest<f16>(WidestSum& d, const Vec16& a, uint64_t b) {
  UM_WIDEST_WGMMA("f16");
}

// ---- wgmma of 128 columns with other operands than in port_hopper.h ----
#define UM_WIDE_WGMMA(operands, ...)                                                      \
  asm volatile(                                                                           \
      "{\n"                                                                               \
      ".reg .pred add;\n"                                                                 \
      "setp.ne.b32 add, %64, 0;\n"                                                        \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." operands "}"                         \
      : UM_SIXTEEN_SUMS(0), UM_SIXTEEN_SUMS(16), UM_SIXTEEN_SUMS(32), UM_SIXTEEN_SUMS(48) \
      : __VA_ARGS__)
#define UM_WIDE_SUMS                                                                 \
  " {"                                                                               \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "           \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "

// d = a * b^T, or d += it; a too lies in shared memory, as b does.
template <class T>
UM_DEVICE void MultiplyShared(WideSum& d, uint64_t a, uint64_t b, bool add);
template <>
UM_DEVICE void MultiplyShared<bf16>(WideSum& d, uint64_t a, uint64_t b, bool add) {
  UM_WIDE_WGMMA("bf16.bf16" UM_WIDE_SUMS "%65, %66, add, 1, 1, 0, 0;\n", "r"(static_cast<int>(add)), "l"(a), "l"(b));
}
template <>
UM_DEVICE void MultiplyShared<f16>(WideSum& d, uint64_t a, uint64_t b, bool add) {
  UM_WIDE_WGMMA("f16.f16" UM_WIDE_SUMS "%65, %66, add, 1, 1, 0, 0;\n", "r"(static_cast<int>(add)), "l"(a), "l"(b));
}
// d += a * b, where b[16 k, 128 columns] lies as rows of k: 64 columns are 128 bytes, swizzled; the other 64 `apart`
// bytes behind.
UM_DEVICE uint64_t StandingMatrix(uint32_t address, int apart) {
  constexpr uint64_t kSwizzle128 = 1ull << 62, kTileStride = 1024 / 16;
  return kSwizzle128 | kTileStride << 32 | static_cast<uint64_t>(apart / 16) << 16 | (address & 0x3ffffu) >> 4;
}
template <class T>
UM_DEVICE void MultiplyDown(WideSum& d, const Vec16& a, uint64_t b);
template <>
UM_DEVICE void MultiplyDown<bf16>(WideSum& d, const Vec16& a, uint64_t b) {
  UM_WIDE_WGMMA("bf16.bf16" UM_WIDE_SUMS "{%65, %66, %67, %68}, %69, add, 1, 1, 1;\n", "r"(1), "r"(a.w[0]), "r"(a.w[1]),
                "r"(a.w[2]), "r"(a.w[3]), "l"(b));
}
template <>
UM_DEVICE void MultiplyDown<f16>(WideSum& d, const Vec16& a, uint64_t b) {
  UM_WIDE_WGMMA("f16.f16" UM_WIDE_SUMS "{%65, %66, %67, %68}, %69, add, 1, 1, 1;\n", "r"(1), "r"(a.w[0]), "r"(a.w[1]),
                "r"(a.w[2]), "r"(a.w[3]), "l"(b));
}

}  // namespace unimax::gpu
