// SPDX-License-Identifier: Apache-2.0
// The port's words for NVIDIA GPUs (sm_80 and later); the contract is in port.h. Matrix fragments follow the PTX ISA,
// "Matrix fragments for mma.m16n8k16", with the 32 k of a tile dealt so that every lane's share is contiguous.
#pragma once

#include "base/tile_order.h"

#define UM_PORT_NAMESPACE gpu
#define UM_DEVICE __device__ __forceinline__
#define UM_ENTRY(name, Args, body, max_threads, min_blocks)                                                       \
  extern "C" __global__ void __launch_bounds__(max_threads, min_blocks) name(const __grid_constant__ Args args) { \
    body(args);                                                                                                   \
  }

#include "kernels/gpu/port_types.h"

namespace unimax::gpu {

using uint16_t = unsigned short;
using uint32_t = unsigned int;
using uint64_t = unsigned long long;
using int64_t = long long;

inline constexpr int kLanes = 32;
inline constexpr int kTileRows = kPackRows, kTileK = kPackK, kTileCols = 8, kTileBytes = kPackElements * 2;
inline constexpr int kTilesAhead = 2;
inline constexpr uint32_t kAllLanes = 0xffffffffu;
UM_DEVICE float Infinity() { return __int_as_float(0x7f800000); }

UM_DEVICE int BlockX() { return static_cast<int>(blockIdx.x); }
UM_DEVICE int BlockY() { return static_cast<int>(blockIdx.y); }
UM_DEVICE int BlockZ() { return static_cast<int>(blockIdx.z); }
UM_DEVICE int GridX() { return static_cast<int>(gridDim.x); }
UM_DEVICE int GridY() { return static_cast<int>(gridDim.y); }
UM_DEVICE int Thread() { return static_cast<int>(threadIdx.x); }
UM_DEVICE int BlockThreads() { return static_cast<int>(blockDim.x); }
UM_DEVICE int Lane() { return static_cast<int>(threadIdx.x) % kLanes; }
UM_DEVICE int Group() { return static_cast<int>(threadIdx.x) / kLanes; }
UM_DEVICE int Groups() { return static_cast<int>(blockDim.x) / kLanes; }

UM_DEVICE void Barrier() { __syncthreads(); }
UM_DEVICE void GroupSync() { __syncwarp(); }
template <class V>
UM_DEVICE V ShuffleXor(V v, int mask) {
  return __shfl_xor_sync(kAllLanes, v, mask);
}
template <class V>
UM_DEVICE V Shuffle(V v, int lane) {
  return __shfl_sync(kAllLanes, v, lane);
}
UM_DEVICE float Max(float a, float b) { return fmaxf(a, b); }
UM_DEVICE float Min(float a, float b) { return fminf(a, b); }
UM_DEVICE float GroupSum(float v) {
  for (int mask = kLanes / 2; mask > 0; mask /= 2) v += ShuffleXor(v, mask);
  return v;
}
UM_DEVICE float GroupMax(float v) {
  for (int mask = kLanes / 2; mask > 0; mask /= 2) v = Max(v, ShuffleXor(v, mask));
  return v;
}
// Without a dependent launch these return at once.
UM_DEVICE void WaitForPrevious() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
UM_DEVICE void LetNextStart() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

UM_DEVICE float ToFloat(float v) { return v; }
UM_DEVICE float ToFloat(bf16 v) { return __uint_as_float(static_cast<uint32_t>(v.bits) << 16); }
UM_DEVICE float ToFloat(f16 v) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(v.bits));
  return f;
}
template <class T>
UM_DEVICE T FromFloat(float f);
template <>
UM_DEVICE float FromFloat<float>(float f) {
  return f;
}
template <>
UM_DEVICE bf16 FromFloat<bf16>(float f) {
  bf16 v;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(v.bits) : "f"(f));
  return v;
}
template <>
UM_DEVICE f16 FromFloat<f16>(float f) {
  f16 v;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(v.bits) : "f"(f));
  return v;
}

// Reinterprets through a union-free copy that the compiler turns into nothing.
template <class To, class From>
UM_DEVICE To BitCopy(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}

struct alignas(16) Vec16 {
  uint32_t w[4];
  template <class T>
  UM_DEVICE T As(int i) const {
    if constexpr (sizeof(T) == 4) {
      return BitCopy<T>(w[i]);
    } else {
      return BitCopy<T>(static_cast<uint16_t>(w[i / 2] >> (16 * (i % 2))));
    }
  }
  template <class T>
  UM_DEVICE void Put(int i, T v) {
    if constexpr (sizeof(T) == 4) {
      w[i] = BitCopy<uint32_t>(v);
    } else {
      const uint32_t half = BitCopy<uint16_t>(v);
      w[i / 2] = i % 2 ? (w[i / 2] & 0xffffu) | (half << 16) : (w[i / 2] & 0xffff0000u) | half;
    }
  }
};
UM_DEVICE Vec16 Load16(const void* p) {
  const uint4 v = *static_cast<const uint4*>(p);
  return {{v.x, v.y, v.z, v.w}};
}
UM_DEVICE Vec16 Load16Once(const void* p) {
  Vec16 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.w[0]), "=r"(v.w[1]), "=r"(v.w[2]), "=r"(v.w[3])
               : "l"(p));
  return v;
}
UM_DEVICE void Store16(void* p, const Vec16& v) {
  *static_cast<uint4*>(p) = make_uint4(v.w[0], v.w[1], v.w[2], v.w[3]);
}

// Fences on both sides make the relaxed hardware atomic a release and an acquire.
UM_DEVICE int AtomicAdd(int* p, int v) {
  __threadfence();
  const int old = atomicAdd(p, v);
  __threadfence();
  return old;
}

extern __shared__ __align__(16) unsigned char um_shared[];
template <class T>
class Shared {
 public:
  UM_DEVICE explicit Shared(int offset) : data_(reinterpret_cast<T*>(um_shared + offset)) {}
  UM_DEVICE T Get(int i) const { return data_[i]; }
  UM_DEVICE void Set(int i, T v) { data_[i] = v; }
  UM_DEVICE Vec16 Get16(int i) const { return Load16(data_ + i); }
  UM_DEVICE void Set16(int i, const Vec16& v) { Store16(data_ + i, v); }
  UM_DEVICE T Add(int i, T v) { return atomicAdd(data_ + i, v); }
  UM_DEVICE uint32_t Address(int i) const { return static_cast<uint32_t>(__cvta_generic_to_shared(data_ + i)); }

 private:
  T* data_;
};

// Copies of 16 bytes that run beside the arithmetic (PTX ISA, cp.async); a source size of 0 writes zeros.
template <class T>
UM_DEVICE void CopyAsync16(const Shared<T>& to, int i, const void* from, bool take) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to.Address(i)), "l"(from), "r"(take ? 16 : 0)
               : "memory");
}
UM_DEVICE void CommitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kLeft>
UM_DEVICE void WaitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

UM_DEVICE float Fma(float a, float b, float c) { return fmaf(a, b, c); }
UM_DEVICE float Rint(float x) { return rintf(x); }
UM_DEVICE float Scale(float x, float n) { return ldexpf(x, static_cast<int>(n)); }
UM_DEVICE float Exp2(float x) {
  float y;
  asm("ex2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
UM_DEVICE float Exp(float x) { return expf(x); }
UM_DEVICE float Rsqrt(float x) { return 1.0f / sqrtf(x); }
// Intrinsics are never contracted.
struct Exact {
  UM_DEVICE static double Mul(double a, double b) { return __dmul_rn(a, b); }
  UM_DEVICE static double Add(double a, double b) { return __dadd_rn(a, b); }
};
UM_DEVICE bool IsFinite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

}  // namespace unimax::gpu

#include "kernels/gpu/port_copy.h"
#include "kernels/gpu/port_cuda_matrix.h"
#include "kernels/gpu/port_exp.h"
