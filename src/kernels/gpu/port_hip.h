// SPDX-License-Identifier: Apache-2.0
// The port's words for AMD GPUs; the contract is in port.h. Compiled by plain clang with neither HIP headers nor device
// libraries, so every word is an attribute, a builtin or our own arithmetic. CDNA (gfx90a, gfx942, gfx950): 64 lanes
// and v_mfma_f32_16x16x16. RDNA (gfx11, gfx12): 32 lanes and v_wmma_f32_16x16x16.
#pragma once

#include "base/fragments.h"
#include "base/tile_order.h"

#define UM_PORT_NAMESPACE gpu
#define UM_DEVICE __attribute__((device, always_inline)) inline
#define UM_ENTRY(name, Args, body, max_threads, min_blocks)                                                    \
  extern "C" __attribute__((global, amdgpu_flat_work_group_size(1, max_threads))) void name(const Args args) { \
    body(args);                                                                                                \
  }

#if defined(__gfx90a__) || defined(__gfx942__) || defined(__gfx950__)
#define UM_HIP_MFMA 1
#else
#define UM_HIP_MFMA 0
#endif
#if defined(__gfx1200__) || defined(__gfx1201__)
#define UM_HIP_GFX12 1
#else
#define UM_HIP_GFX12 0
#endif

#include "kernels/gpu/port_types.h"

namespace unimax::gpu {

using uint16_t = unsigned short;
using uint32_t = unsigned int;
using uint64_t = unsigned long long;
using int64_t = long long;

inline constexpr int kLanes = UM_HIP_MFMA ? 64 : 32;
inline constexpr int kTileRows = kPackRows, kTileK = kPackK, kTileCols = 16, kTileBytes = kPackElements * 2;
UM_DEVICE float Infinity() { return __builtin_inff(); }

UM_DEVICE int BlockX() { return static_cast<int>(__builtin_amdgcn_workgroup_id_x()); }
UM_DEVICE int BlockY() { return static_cast<int>(__builtin_amdgcn_workgroup_id_y()); }
UM_DEVICE int BlockZ() { return static_cast<int>(__builtin_amdgcn_workgroup_id_z()); }
// Code object 5 puts the counts of blocks at the start of the implicit arguments.
UM_DEVICE int HiddenArg(int i) {
  return ((const __attribute__((address_space(4))) int*)__builtin_amdgcn_implicitarg_ptr())[i];
}
UM_DEVICE int GridX() { return HiddenArg(0); }
UM_DEVICE int GridY() { return HiddenArg(1); }
UM_DEVICE int Thread() { return static_cast<int>(__builtin_amdgcn_workitem_id_x()); }
UM_DEVICE int BlockThreads() { return static_cast<int>(__builtin_amdgcn_workgroup_size_x()); }
UM_DEVICE int Lane() { return Thread() % kLanes; }
UM_DEVICE int Group() { return Thread() / kLanes; }
UM_DEVICE int Groups() { return BlockThreads() / kLanes; }

template <class To, class From>
UM_DEVICE To BitCopy(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, from);
}

UM_DEVICE void Barrier() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
// Lanes of a wave run together; the fences keep the compiler and the LDS queue in order.
UM_DEVICE void GroupSync() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "wavefront");
  __builtin_amdgcn_wave_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront");
}
template <class V>
UM_DEVICE V Shuffle(V v, int lane) {
  return BitCopy<V>(__builtin_amdgcn_ds_bpermute(lane * 4, BitCopy<int>(v)));
}
template <class V>
UM_DEVICE V ShuffleXor(V v, int mask) {
  return Shuffle(v, Lane() ^ mask);
}
UM_DEVICE float Max(float a, float b) { return __builtin_fmaxf(a, b); }
UM_DEVICE float Min(float a, float b) { return __builtin_fminf(a, b); }
template <class Combine>
UM_DEVICE float Butterfly(float v, Combine combine) {
  for (int distance = kLanes / 2; distance > 0; distance /= 2) v = combine(v, ShuffleXor(v, distance));
  return v;
}
UM_DEVICE float GroupSum(float v) {
  return Butterfly(v, [](float a, float b) { return a + b; });
}
UM_DEVICE float GroupMax(float v) {
  return Butterfly(v, [](float a, float b) { return Max(a, b); });
}
// No dependent launches here.
UM_DEVICE void WaitForPrevious() {}
UM_DEVICE void LetNextStart() {}

UM_DEVICE float ToFloat(float v) { return v; }
UM_DEVICE float ToFloat(bf16 v) { return BitCopy<float>(static_cast<uint32_t>(v.bits) << 16); }
UM_DEVICE float ToFloat(f16 v) { return static_cast<float>(BitCopy<_Float16>(v.bits)); }
UM_DEVICE uint16_t RoundToBF16(float f) {  // to nearest even; NaN stays NaN
  const uint32_t u = BitCopy<uint32_t>(f);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : rounded);
}
template <class T>
UM_DEVICE T FromFloat(float f) {
  if constexpr (__is_same(T, bf16))
    return {RoundToBF16(f)};
  else if constexpr (__is_same(T, f16))
    return {BitCopy<uint16_t>(static_cast<_Float16>(f))};
  else
    return T(f);
}

using Words4 = uint32_t __attribute__((ext_vector_type(4)));
struct alignas(16) Vec16 {
  uint32_t w[4];
  template <class T>
  UM_DEVICE T As(int i) const {
    T v;
    __builtin_memcpy(&v, reinterpret_cast<const char*>(w) + i * static_cast<int>(sizeof(T)), sizeof(T));
    return v;
  }
  template <class T>
  UM_DEVICE void Put(int i, T v) {
    __builtin_memcpy(reinterpret_cast<char*>(w) + i * static_cast<int>(sizeof(T)), &v, sizeof(T));
  }
};
// Global addresses as such: a generic pointer would give the slower flat_load.
template <class T>
using GlobalPointer = __attribute__((address_space(1))) T*;
UM_DEVICE Vec16 Load16(const void* p) { return BitCopy<Vec16>(*(GlobalPointer<const Words4>)(p)); }
UM_DEVICE Vec16 Load16Once(const void* p) {
  return BitCopy<Vec16>(__builtin_nontemporal_load((GlobalPointer<const Words4>)(p)));
}
UM_DEVICE void Store16(void* p, const Vec16& v) { *(GlobalPointer<Words4>)(p) = BitCopy<Words4>(v); }

UM_DEVICE int AtomicAdd(int* p, int v) {
  return __scoped_atomic_fetch_add((GlobalPointer<int>)(p), v, __ATOMIC_ACQ_REL, __MEMORY_SCOPE_DEVICE);
}

extern __attribute__((shared, aligned(16))) unsigned char um_shared[];
template <class T>
using SharedPointer = __attribute__((address_space(3))) T*;
template <class T>
class Shared {
 public:
  UM_DEVICE explicit Shared(int offset)
      : data_((SharedPointer<T>)((SharedPointer<unsigned char>)(&um_shared[0]) + offset)) {}
  UM_DEVICE T Get(int i) const { return *(const T*)(data_ + i); }
  UM_DEVICE void Set(int i, T v) { *(T*)(data_ + i) = v; }
  UM_DEVICE Vec16 Get16(int i) const { return BitCopy<Vec16>(*(SharedPointer<const Words4>)(data_ + i)); }
  UM_DEVICE void Set16(int i, const Vec16& v) const { *(SharedPointer<Words4>)(data_ + i) = BitCopy<Words4>(v); }
  UM_DEVICE SharedPointer<void> Address(int i) const { return (SharedPointer<void>)(data_ + i); }
  UM_DEVICE T Add(int i, T v) {
    return __scoped_atomic_fetch_add(data_ + i, v, __ATOMIC_RELAXED, __MEMORY_SCOPE_WRKGRP);
  }

 private:
  SharedPointer<T> data_;
};

// Copies to an address of the lane's own go through registers: the copy is done when it returns.
template <class T>
UM_DEVICE void CopyAsync16(const Shared<T>& to, int i, const void* from, bool take) {
  to.Set16(i, take ? Load16(from) : Vec16{});
}
UM_DEVICE void CommitCopies() {}
#if UM_HIP_MFMA
// Copies past the registers (CDNA3 ISA, "Memory to LDS loads"): neighbouring lanes write neighbouring words behind one
// address of the wave; 16 bytes a lane on gfx950, 4 on the others, where four lanes share a chunk.
#if defined(__gfx950__)
inline constexpr int kDirectBytes = 16;
#else
inline constexpr int kDirectBytes = 4;
#endif
template <class T, class Source>
UM_DEVICE void CopyChunks(const Shared<T>& to, int at, int chunks, Source source) {
  constexpr int kLanesAChunk = 16 / kDirectBytes, kTogether = kLanes / kLanesAChunk;  // chunks an instruction
  constexpr int kChunk = 16 / static_cast<int>(sizeof(T));
  const int part = Lane() % kLanesAChunk;
  for (int first = Group() * kTogether; first < chunks; first += Groups() * kTogether) {
    const int chunk = first + Lane() / kLanesAChunk;
    if (chunk >= chunks) break;
    const char* from = static_cast<const char*>(source(chunk));
    if (from != nullptr) {
      __builtin_amdgcn_global_load_lds((GlobalPointer<void>)(from + part * kDirectBytes),
                                       to.Address(at + first * kChunk), kDirectBytes, 0, 0);
    } else if (part == 0) {
      to.Set16(at + chunk * kChunk, Vec16{});
    }
  }
}
// The hardware counts loads, not batches: all are waited for.
template <int kLeft>
UM_DEVICE void WaitCopies() {
  __builtin_amdgcn_s_waitcnt(0x0f70);  // vmcnt(0)
}
#else
template <int kLeft>
UM_DEVICE void WaitCopies() {}
#endif

UM_DEVICE float Fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
UM_DEVICE float Rint(float x) { return __builtin_rintf(x); }
UM_DEVICE float Scale(float x, float n) { return __builtin_amdgcn_ldexpf(x, static_cast<int>(n)); }
UM_DEVICE float Exp2(float x) { return __builtin_amdgcn_exp2f(x); }  // v_exp_f32: 1 ulp, by AMD's ISA documents
UM_DEVICE float Rsqrt(float x) {
  // One Newton step on the instruction's 1 ulp, to agree with 1 / sqrt; not for 0 and infinity, where it gives NaN.
  const float y = __builtin_amdgcn_rsqf(x);
  const float better = y * __builtin_fmaf(-0.5f * x * y, y, 1.5f);
  return better == better ? better : y;
}
struct Exact {
  UM_DEVICE static double Mul(double a, double b) {
#pragma clang fp contract(off)
    return a * b;
  }
  UM_DEVICE static double Add(double a, double b) {
#pragma clang fp contract(off)
    return a + b;
  }
};
UM_DEVICE bool IsFinite(float x) { return (BitCopy<uint32_t>(x) & 0x7f800000u) != 0x7f800000u; }

}  // namespace unimax::gpu

#include "kernels/gpu/port_exp.h"

namespace unimax::gpu {
UM_DEVICE float Exp(float x) { return ExpExact(x); }
}  // namespace unimax::gpu

#if !UM_HIP_MFMA
#include "kernels/gpu/port_copy.h"
#endif
#include "kernels/gpu/port_hip_matrix.h"
