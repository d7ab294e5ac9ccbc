// SPDX-License-Identifier: Apache-2.0
// The words of Hopper (sm_90a) that the portable port has not: barriers in shared memory that count bytes, bulk copies,
// and the matrix instruction of a warpgroup. Source: PTX ISA 9.0, sections mbarrier, cp.async.bulk and wgmma.
#pragma once

#include "kernels/gpu/port_cuda.h"

namespace unimax::gpu {

inline constexpr int kWarpgroup = 128;  // threads that issue one wgmma together

UM_DEVICE uint32_t SharedAddress(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// ---- Barriers in shared memory: 8 bytes each ----
UM_DEVICE void InitBarrier(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
// Makes initialised barriers, and what was stored before, visible to the copy engine and the matrix units.
UM_DEVICE void FenceAsync() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
UM_DEVICE void Arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// Arrives, and lets the phase end only when `bytes` more have been copied.
UM_DEVICE void ArriveExpecting(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
// Waits until the phase with this parity has ended.
UM_DEVICE void WaitPhase(uint32_t barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
// Copies `bytes` (a multiple of 16) from global to shared memory; they count towards the barrier's expected bytes.
UM_DEVICE void BulkCopy(uint32_t to, const void* from, int bytes, uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
               "l"(from), "r"(bytes), "r"(barrier)
               : "memory");
}

// A barrier of `threads` threads of the block; `number` 1 to 15 tells them apart.
UM_DEVICE void SomeBarrier(int number, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

// ---- 8 x 8 elements of 16 bits: a lane holds two neighbours of row lane / 4, from column lane % 4 * 2 on ----
UM_DEVICE uint32_t Transposed(uint32_t v) {
  uint32_t t;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(t) : "r"(v));
  return t;
}
struct TwoWords {  // of two elements each
  uint32_t a, b;
  UM_DEVICE uint32_t Low() const { return __byte_perm(a, b, 0x5410); }
  UM_DEVICE uint32_t High() const { return __byte_perm(a, b, 0x7632); }
};

UM_DEVICE float Reciprocal(float x) {  // within 1 ulp; 0 of infinity
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

UM_DEVICE float QuickExp2(float x) {  // within 2 ulp; 0 where the result is no normal number
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// One lane of a group, and the compiler knows that it is one: copies need no loop over lanes.
UM_DEVICE bool OneLane() {
  uint32_t one;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "elect.sync _|p, 0xffffffff;\n"
      "selp.b32 %0, 1, 0, p;\n"
      "}"
      : "=r"(one));
  return one != 0;
}

// ---- 16 bytes between blocks that run: each 4 of them are read and written whole ----
UM_DEVICE Vec16 LoadRelaxed(const void* p) {
  Vec16 v;
  asm volatile("ld.relaxed.gpu.global.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.w[0]), "=r"(v.w[1]), "=r"(v.w[2]), "=r"(v.w[3])
               : "l"(p)
               : "memory");
  return v;
}
UM_DEVICE void StoreRelaxed(void* p, const Vec16& v) {
  asm volatile("st.relaxed.gpu.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(v.w[0]), "r"(v.w[1]), "r"(v.w[2]),
               "r"(v.w[3])
               : "memory");
}

// ---- Registers of a warpgroup ----
template <int kRegisters>
UM_DEVICE void GiveRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
UM_DEVICE void TakeRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// ---- wgmma: d[64 rows, 128 columns] += a[64, 16 k] * b[128 columns, 16 k]^T ----
// a: registers, per warp those of mma.m16n8k16. b: shared memory, rows of 128 bytes (64 k), swizzled by 128 bytes: the
// 16-byte chunk c of row r lies at chunk c ^ (r % 8). Tiles of 8 rows begin on 1,024 bytes.
UM_DEVICE uint64_t SwizzledMatrix(uint32_t address) {
  constexpr uint64_t kSwizzle128 = 1ull << 62, kTileStride = 1024 / 16;
  return kSwizzle128 | kTileStride << 32 | 1ull << 16 | (address & 0x3ffffu) >> 4;
}
UM_DEVICE void BeginProducts() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
UM_DEVICE void CommitProducts() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kLeft>
UM_DEVICE void WaitProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}

inline constexpr int kWideColumns = 128;
struct WideSum {  // v[4 j + i]: row lane / 4 + 8 (i / 2) of the warp's 16, column 8 j + lane % 4 * 2 + i % 2
  float v[64];
};
// The instruction for one type of elements; its 64 sums are named one by one, as the assembler wants them.
#define UM_WGMMA(type)                                                                                           \
  asm volatile(                                                                                                  \
      "{\n"                                                                                                      \
      ".reg .pred add;\n"                                                                                        \
      "setp.ne.b32 add, 1, 0;\n"                                                                                 \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type                                               \
      " {"                                                                                                       \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                   \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "                         \
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                         \
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"                           \
      "}, {%64, %65, %66, %67}, %68, add, 1, 1, 0;\n"                                                            \
      "}"                                                                                                        \
      : "+f"(d.v[0]), "+f"(d.v[1]), "+f"(d.v[2]), "+f"(d.v[3]), "+f"(d.v[4]), "+f"(d.v[5]), "+f"(d.v[6]),        \
        "+f"(d.v[7]), "+f"(d.v[8]), "+f"(d.v[9]), "+f"(d.v[10]), "+f"(d.v[11]), "+f"(d.v[12]), "+f"(d.v[13]),    \
        "+f"(d.v[14]), "+f"(d.v[15]), "+f"(d.v[16]), "+f"(d.v[17]), "+f"(d.v[18]), "+f"(d.v[19]), "+f"(d.v[20]), \
        "+f"(d.v[21]), "+f"(d.v[22]), "+f"(d.v[23]), "+f"(d.v[24]), "+f"(d.v[25]), "+f"(d.v[26]), "+f"(d.v[27]), \
        "+f"(d.v[28]), "+f"(d.v[29]), "+f"(d.v[30]), "+f"(d.v[31]), "+f"(d.v[32]), "+f"(d.v[33]), "+f"(d.v[34]), \
        "+f"(d.v[35]), "+f"(d.v[36]), "+f"(d.v[37]), "+f"(d.v[38]), "+f"(d.v[39]), "+f"(d.v[40]), "+f"(d.v[41]), \
        "+f"(d.v[42]), "+f"(d.v[43]), "+f"(d.v[44]), "+f"(d.v[45]), "+f"(d.v[46]), "+f"(d.v[47]), "+f"(d.v[48]), \
        "+f"(d.v[49]), "+f"(d.v[50]), "+f"(d.v[51]), "+f"(d.v[52]), "+f"(d.v[53]), "+f"(d.v[54]), "+f"(d.v[55]), \
        "+f"(d.v[56]), "+f"(d.v[57]), "+f"(d.v[58]), "+f"(d.v[59]), "+f"(d.v[60]), "+f"(d.v[61]), "+f"(d.v[62]), \
        "+f"(d.v[63])                                                                                            \
      : "r"(a.w[0]), "r"(a.w[1]), "r"(a.w[2]), "r"(a.w[3]), "l"(b))

template <class T>
UM_DEVICE void MultiplyWide(WideSum& d, const Vec16& a, uint64_t b);
template <>
UM_DEVICE void MultiplyWide<bf16>(WideSum& d, const Vec16& a, uint64_t b) {
  UM_WGMMA("bf16");
}
template <>
UM_DEVICE void MultiplyWide<f16>(WideSum& d, const Vec16& a, uint64_t b) {
  UM_WGMMA("f16");
}

}  // namespace unimax::gpu
