// SPDX-License-Identifier: Apache-2.0
// The words of the stream kernel for Hopper: barriers that count bytes, bulk copies, 8-byte words that are read and
// written whole. Source: PTX ISA 9.0, sections mbarrier, cp.async.bulk, and "Memory consistency model": an aligned
// access of 8 bytes is single-copy atomic, a vector of them is so element by element.
#pragma once

#include "kernels/nvidia/port_hopper.h"

#define UM_DEVICE_CALL __device__ __noinline__

namespace unimax::gpu {

// Of a thread; a warp of the feeders and two of the readers share the registers of a quarter of a multiprocessor, 504 a
// lane at the launch.
inline constexpr int kStreamReaderRegisters = 208, kStreamFeederRegisters = 88;

UM_DEVICE void RingInit(int bars, int slots, int readers) {
  for (int s = 0; s < slots; ++s) {
    InitBarrier(SharedOffset(bars + s * 16), 1);
    InitBarrier(SharedOffset(bars + s * 16 + 8), readers);
  }
  FenceAsync();
}
UM_DEVICE uint32_t RingBase() {
  uint32_t base = SharedOffset(0);
  asm volatile("" : "+r"(base));
  return base;
}
// A fresh barrier's phase before the first has ended.
UM_DEVICE void RingWaitFree(int bars, int slot, int parity, uint32_t base = SharedOffset(0)) {
  WaitPhase(base + bars + slot * 16 + 8, parity ^ 1);
}
UM_DEVICE bool RingIsFree(int bars, int slot, int parity, uint32_t base) {
  uint32_t free;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.b32 %0, 1, 0, p;\n"
      "}"
      : "=r"(free)
      : "r"(base + bars + slot * 16 + 8), "r"(parity ^ 1)
      : "memory");
  return free != 0;
}
UM_DEVICE void RingFetchNear(const void* from, int bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}
UM_DEVICE void RingExpect(int bars, int slot, int bytes, uint32_t base = SharedOffset(0)) {
  ArriveExpecting(base + bars + slot * 16, bytes);
}
UM_DEVICE void RingCopy(int bars, int slot, int to, const void* from, int bytes, uint32_t base = SharedOffset(0)) {
  BulkCopyOnce(base + to, from, bytes, base + bars + slot * 16);
}
UM_DEVICE void RingWaitFull(int bars, int slot, int parity, uint32_t base = SharedOffset(0)) {
  WaitPhase(base + bars + slot * 16, parity);
}
UM_DEVICE void RingNote(int notes, int slot, int value, uint32_t base = SharedOffset(0)) {
  asm volatile("st.relaxed.cta.shared.b32 [%0], %1;" ::"r"(base + notes + slot * 4), "r"(value) : "memory");
}
UM_DEVICE int RingNoted(int notes, int slot, uint32_t base = SharedOffset(0)) {
  int value;
  asm volatile("ld.relaxed.cta.shared.b32 %0, [%1];" : "=r"(value) : "r"(base + notes + slot * 4) : "memory");
  return value;
}
UM_DEVICE void HandOver(int, int) {}
UM_DEVICE void RingRelease(int bars, int slot) { Arrive(SharedOffset(bars + slot * 16 + 8)); }

struct Word {
  uint32_t payload, epoch;
};
struct Words {
  uint32_t payload0, epoch0, payload1, epoch1;
};
UM_DEVICE Word LoadWord(const void* p) {
  uint64_t v;
  asm volatile("ld.relaxed.gpu.global.b64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
  return {static_cast<uint32_t>(v), static_cast<uint32_t>(v >> 32)};
}
UM_DEVICE Words LoadWords(const void* p) {
  uint64_t v, w;
  asm volatile("ld.relaxed.gpu.global.v2.b64 {%0, %1}, [%2];" : "=l"(v), "=l"(w) : "l"(p) : "memory");
  return {static_cast<uint32_t>(v), static_cast<uint32_t>(v >> 32), static_cast<uint32_t>(w),
          static_cast<uint32_t>(w >> 32)};
}
UM_DEVICE void StoreWord(void* p, uint32_t payload, uint32_t epoch) {
  const uint64_t v = static_cast<uint64_t>(epoch) << 32 | payload;
  asm volatile("st.relaxed.gpu.global.b64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
}
UM_DEVICE void StoreWords(void* p, uint32_t payload0, uint32_t payload1, uint32_t epoch) {
  const uint64_t high = static_cast<uint64_t>(epoch) << 32;
  asm volatile("st.relaxed.gpu.global.v2.b64 [%0], {%1, %2};" ::"l"(p), "l"(high | payload0), "l"(high | payload1)
               : "memory");
}
UM_DEVICE unsigned Claim(unsigned* count) {
  unsigned old;
  asm volatile("atom.relaxed.gpu.global.add.u32 %0, [%1], 1;" : "=r"(old) : "l"(count) : "memory");
  return old;
}
UM_DEVICE Vec16 Load16Here(const void* p) {
  Vec16 v;
  asm volatile("ld.global.nc.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.w[0]), "=r"(v.w[1]), "=r"(v.w[2]), "=r"(v.w[3])
               : "l"(p));
  return v;
}
UM_DEVICE unsigned long long Nanoseconds() {
  unsigned long long now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

UM_DEVICE void SomeBarrier(int threads) { SomeBarrier(1, threads); }

template <class S>
UM_DEVICE const S& SharedObject(int offset) {
  return *reinterpret_cast<const S*>(um_shared + offset);
}

UM_DEVICE int XColumn() { return Lane() / 4; }
UM_DEVICE int XStart() { return Lane() % 4 * 8; }
template <class T>
UM_DEVICE FragB<T> XOperand(const Vec16& v) {
  return {v};
}
template <class T>
UM_DEVICE FragA<T> LoadTileShared(const Shared<T>& x, int at) {
  return {{x.Get16(at + Lane() * 8), x.Get16(at + kTileBytes / 4 + Lane() * 8)}};
}
template <class T>
UM_DEVICE FragA<T> LoadRowsShared(const Shared<T>& x, int at, int stride, int rows) {
  Vec16 upper = {}, lower = {};
  if (XColumn() < rows) upper = x.Get16(at + XColumn() * stride + XStart());
  if (XColumn() + 8 < rows) lower = x.Get16(at + (XColumn() + 8) * stride + XStart());
  return {{{{upper.w[0], lower.w[0], upper.w[1], lower.w[1]}}, {{upper.w[2], lower.w[2], upper.w[3], lower.w[3]}}}};
}

}  // namespace unimax::gpu
