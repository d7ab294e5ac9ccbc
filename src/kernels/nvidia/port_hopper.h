// SPDX-License-Identifier: Apache-2.0
// The words of Hopper (sm_90a) that the portable port has not: barriers in shared memory that count bytes, bulk copies,
// and the matrix instruction of a warpgroup. Source: PTX ISA 9.0, sections mbarrier, cp.async.bulk and wgmma.
#pragma once

#include "kernels/gpu/port_cuda.h"

namespace unimax::gpu {

inline constexpr int kWarpgroup = 128;  // threads that issue one wgmma together

UM_DEVICE uint32_t SharedAddress(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }
UM_DEVICE uint32_t SharedOffset(int offset) { return SharedAddress(um_shared + offset); }
UM_DEVICE void Pause() {}

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
// BulkCopy of what is read once: the first to leave L2, so that what is read again stays there.
UM_DEVICE void BulkCopyOnce(uint32_t to, const void* from, int bytes, uint32_t barrier) {
  asm volatile(
      "{\n"
      ".reg .b64 once;\n"
      "createpolicy.fractional.L2::evict_first.b64 once, 1.0;\n"
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], once;\n"
      "}" ::"r"(to),
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

UM_DEVICE void Store8(void* p, uint32_t a, uint32_t b) { *static_cast<uint2*>(p) = make_uint2(a, b); }

// Ends the launch with a fault, which the driver reports.
UM_DEVICE void Fail() { asm volatile("trap;"); }

// ---- Registers of a warpgroup ----
template <int kRegisters>
UM_DEVICE void GiveRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
UM_DEVICE void TakeRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// ---- wgmma: d[64 rows, columns] += a[64, 16 k] * b[columns, 16 k]^T; the instruction itself is in port_wgmma.h ----
// a: registers, per warp those of mma.m16n8k16. b: shared memory, rows of 128 bytes (64 k), swizzled by 128 bytes: the
// 16-byte chunk c of row r lies at chunk c ^ (r % 8). Tiles of 8 rows begin on 1,024 bytes.
UM_DEVICE uint64_t SwizzledMatrix(uint32_t address) {
  constexpr uint64_t kSwizzle128 = 1ull << 62, kTileStride = 1024 / 16;
  return kSwizzle128 | kTileStride << 32 | 1ull << 16 | (address & 0x3ffffu) >> 4;
}
// Has the compiler finish `v` before it goes on: an operand that it finishes between two products parts these.
UM_DEVICE void KeepHere(Vec16& v) { asm volatile("" : "+r"(v.w[0]), "+r"(v.w[1]), "+r"(v.w[2]), "+r"(v.w[3])); }
// Thread(), of which the compiler keeps nothing.
UM_DEVICE int ThreadAfresh() {
  int thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  return thread;
}
// `p`, of which the compiler computes nothing before: what it hoists out of a loop holds registers.
template <class T>
UM_DEVICE T* Afresh(T* p) {
  asm volatile("" : "+l"(p));
  return p;
}
UM_DEVICE void BeginProducts() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
UM_DEVICE void CommitProducts() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kLeft>
UM_DEVICE void WaitProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}

}  // namespace unimax::gpu
