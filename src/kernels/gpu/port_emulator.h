// SPDX-License-Identifier: Apache-2.0
// The words of port.h on the emulator. Compiled once a lane width: UM_EMULATOR_LANES is 32 (fragments of NVIDIA's
// mma.m16n8k16) or 64 (of AMD's v_mfma_f32_16x16x16). Both live in one binary, each in its namespace. Tests also
// compile it with UM_EMULATOR_WMMA 11 or 12 (32 lanes) and UM_EMULATOR_MFMA 32 or 8 (64 lanes), the other instructions
// of AMD: 8 is gfx90a, which differs from gfx942 in int8 alone.
#pragma once

#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <limits>

#include "base/layout.h"
#include "base/tile_order.h"
#include "device/emulator_entry.h"
#include "device/emulator_grid.h"

#ifndef UM_EMULATOR_WMMA
#define UM_EMULATOR_WMMA 0
#endif
#ifndef UM_EMULATOR_MFMA
#define UM_EMULATOR_MFMA 16
#endif
#if UM_EMULATOR_WMMA == 11
#define UM_PORT_NAMESPACE emulator_wmma11
#define UM_EMULATOR_ENTRIES EmulatorEntriesWmma11
#elif UM_EMULATOR_WMMA == 12
#define UM_PORT_NAMESPACE emulator_wmma12
#define UM_EMULATOR_ENTRIES EmulatorEntriesWmma12
#elif UM_EMULATOR_MFMA == 32
#define UM_PORT_NAMESPACE emulator_mfma32
#define UM_EMULATOR_ENTRIES EmulatorEntriesMfma32
#elif UM_EMULATOR_MFMA == 8
#define UM_PORT_NAMESPACE emulator_mfma8
#define UM_EMULATOR_ENTRIES EmulatorEntriesMfma8
#elif UM_EMULATOR_LANES == 32
#define UM_PORT_NAMESPACE emulator32
#define UM_EMULATOR_ENTRIES EmulatorEntries32
#elif UM_EMULATOR_LANES == 64
#define UM_PORT_NAMESPACE emulator64
#define UM_EMULATOR_ENTRIES EmulatorEntries64
#else
#error "UM_EMULATOR_LANES is 32 or 64"
#endif

#define UM_DEVICE inline
// Entries of one translation unit are numbered; emulator_entries.cc collects them.
#define UM_ENTRY(name, Args, body, max_threads, min_blocks) \
  template <>                                               \
  inline constexpr EmulatorEntry kEntryAt<__COUNTER__>{     \
      #name, sizeof(Args), max_threads, [](const void* args) { body(*static_cast<const Args*>(args)); }};

#include "kernels/gpu/port_types.h"

namespace unimax::UM_PORT_NAMESPACE {

template <int kNumber>
inline constexpr EmulatorEntry kEntryAt{};  // no entry has this number

// ---- Where am I ----
inline constexpr int kLanes = UM_EMULATOR_LANES;
inline int BlockX() { return emulator::Self().block->x; }
inline int BlockY() { return emulator::Self().block->y; }
inline int BlockZ() { return emulator::Self().block->z; }
inline int GridX() { return emulator::Self().block->grid->launch().grid_x; }
inline int GridY() { return emulator::Self().block->grid->launch().grid_y; }
inline int Thread() { return emulator::Self().thread; }
inline int BlockThreads() { return emulator::Self().block->threads; }
inline int Lane() { return emulator::Self().lane; }
inline int Group() { return Thread() / kLanes; }
inline int Groups() { return BlockThreads() / kLanes; }

// ---- Together ----
inline void Barrier() {
  emulator::ThreadState& self = emulator::Self();
  self.block->grid->MeetBlock(self);
}
inline void GroupSync() {
  emulator::ThreadState& self = emulator::Self();
  self.block->grid->Meet(self, emulator::Meeting::kGroupSync);
}
inline void WaitForPrevious() {}
inline void LetNextStart() {}

// Gives `v` to the meeting and returns what it leaves for this lane.
template <class T>
T Exchange(emulator::Meeting meeting, T v, int source) {
  emulator::ThreadState& self = emulator::Self();
  self.group->value[self.lane] = std::bit_cast<uint32_t>(v);
  self.group->source[self.lane] = source;
  self.block->grid->Meet(self, meeting);
  return std::bit_cast<T>(self.group->result[self.lane]);
}
template <class T>
requires std::same_as<T, float> || std::same_as<T, int> T Shuffle(T v, int lane) {
  if (lane < 0 || lane >= kLanes) {
    emulator::ThreadState& self = emulator::Self();
    self.block->grid->Fault(self, fmt::format("thread {} shuffles from lane {}", self.thread, lane));
  }
  return Exchange(emulator::Meeting::kShuffle, v, lane);
}
template <class T>
T ShuffleXor(T v, int mask) {
  return Shuffle(v, Lane() ^ mask);
}
inline float GroupSum(float v) { return Exchange(emulator::Meeting::kSum, v, 0); }
inline int GroupSum(int v) { return Exchange(emulator::Meeting::kSumInt, v, 0); }
inline float GroupMax(float v) { return Exchange(emulator::Meeting::kMax, v, 0); }
inline int GroupMax(int v) { return Exchange(emulator::Meeting::kMaxInt, v, 0); }

// ---- Types: port_types.h ----
inline float ToFloat(float v) { return v; }
inline float ToFloat(bf16 v) { return BF16ToFloat(v.bits); }
inline float ToFloat(f16 v) { return F16ToFloat(v.bits); }
template <class T>
T FromFloat(float v) {
  if constexpr (std::same_as<T, bf16>) {
    return {FloatToBF16(v)};
  } else if constexpr (std::same_as<T, f16>) {
    return {FloatToF16(v)};
  } else {
    static_assert(std::same_as<T, float>);
    return v;
  }
}

template <class To, class From>
To BitCopy(const From& from) {
  return std::bit_cast<To>(from);
}

struct alignas(16) Vec16 {
  uint32_t w[4];
  template <class T>
  T As(int i) const {
    T v;
    std::memcpy(&v, reinterpret_cast<const char*>(w) + static_cast<size_t>(i) * sizeof(T), sizeof(T));
    return v;
  }
  template <class T>
  void Put(int i, T v) {
    std::memcpy(reinterpret_cast<char*>(w) + static_cast<size_t>(i) * sizeof(T), &v, sizeof(T));
  }
};

// ---- Shared memory ----
template <class T>
class Shared {
  static_assert(sizeof(T) % 2 == 0, "races are found at a grain of two bytes");

 public:
  explicit Shared(int offset) : shared_(&emulator::Self().block->shared), offset_(offset) {
    if (offset % 16 != 0) {
      emulator::ThreadState& self = emulator::Self();
      self.block->grid->Fault(self, fmt::format("a shared view at offset {}, no multiple of 16", offset));
    }
  }
  T Get(int i) const { return Read<T>(i); }
  void Set(int i, T v) const { Write(i, v); }
  Vec16 Get16(int i) const { return Read<Vec16>(i); }
  void Set16(int i, Vec16 v) const { Write(i, v); }
  T Add(int i, T v) const {
    std::byte* at = At<T>(i, emulator::Touch::kAdd);
    T old;
    std::memcpy(&old, at, sizeof(T));
    const T sum = old + v;
    std::memcpy(at, &sum, sizeof(T));
    return old;
  }

 private:
  template <class V>
  std::byte* At(int i, emulator::Touch touch) const {
    return emulator::SharedAt(*shared_, offset_ + static_cast<int64_t>(i) * static_cast<int64_t>(sizeof(T)), sizeof(V),
                              touch);
  }
  template <class V>
  V Read(int i) const {
    V v;
    std::memcpy(&v, At<V>(i, emulator::Touch::kRead), sizeof(V));
    return v;
  }
  template <class V>
  void Write(int i, V v) const {
    std::memcpy(At<V>(i, emulator::Touch::kWrite), &v, sizeof(V));
  }

  emulator::SharedMemory* shared_;
  int64_t offset_;
};

// ---- Global memory ----
inline Vec16 LoadFrom(const void* p, emulator::GlobalMemory::Use use) {
  emulator::CheckGlobal(p, 16, use);
  Vec16 v;
  std::memcpy(&v, p, 16);
  return v;
}
inline Vec16 Load16(const void* p) { return LoadFrom(p, emulator::GlobalMemory::kRead); }
inline Vec16 Load16Once(const void* p) { return LoadFrom(p, emulator::GlobalMemory::kReadOnce); }
inline void Store16(void* p, const Vec16& v) {
  emulator::CheckGlobal(p, 16, emulator::GlobalMemory::kWrite);
  std::memcpy(p, &v, 16);
}
inline int AtomicAdd(int* p, int v) {
  emulator::CheckGlobal(p, sizeof(int), emulator::GlobalMemory::kWrite);
  const int old = *p;  // all blocks run in one host thread
  *p = static_cast<int>(static_cast<unsigned>(old) + static_cast<unsigned>(v));
  return old;
}

// The copy is done when it returns.
template <class T>
void CopyAsync16(Shared<T> to, int i, const void* from, bool take) {
  to.Set16(i, take ? Load16(from) : Vec16{});
}
inline void CommitCopies() {}
template <int kLeft>
void WaitCopies() {}

// ---- Arithmetic ----
// This project is compiled without contraction.
struct Exact {
  static double Mul(double a, double b) { return a * b; }
  static double Add(double a, double b) { return a + b; }
};
constexpr float Infinity() { return std::numeric_limits<float>::infinity(); }
inline float Fma(float a, float b, float c) { return std::fma(a, b, c); }
inline float Rint(float x) { return std::nearbyint(x); }
inline float Scale(float x, float n) { return std::ldexp(x, static_cast<int>(n)); }
inline float Exp2(float x) { return std::exp2(x); }
inline float Rsqrt(float x) { return 1.0f / std::sqrt(x); }
// The number wins over NaN, as in the hardware's instructions.
inline float Max(float a, float b) { return a > b || b != b ? a : b; }
inline float Min(float a, float b) { return a < b || b != b ? a : b; }
inline int Max(int a, int b) { return a > b ? a : b; }
inline int Min(int a, int b) { return a < b ? a : b; }
inline bool IsFinite(float x) { return std::isfinite(x); }

}  // namespace unimax::UM_PORT_NAMESPACE

#include "kernels/gpu/port_copy.h"
#include "kernels/gpu/port_exp.h"

namespace unimax::UM_PORT_NAMESPACE {

// As the port with as many lanes does it.
inline float Exp(float x) {
  if constexpr (kLanes == 64 || UM_EMULATOR_WMMA) return ExpExact(x);
  return x < kExpLow ? 0.0f : std::exp(x);
}

// ---- Matrix ----
inline int CRow(int i);
inline int CCol(int i);
inline constexpr int kOperandPitch = kPackK + 8;  // elements
inline constexpr int kOperandScratch = kPackRows * kOperandPitch * 2;
// The first half of ToOperand: results, rounded, in shared memory as rows of 32.
template <class T, class Results, int kCount>
void SpreadResults(const Results (&c)[kCount], Shared<T> x, int scratch) {
  GroupSync();
  for (int t = 0; t < kCount; ++t) {
    for (int i = 0; i < static_cast<int>(sizeof(Results) / sizeof(float)); ++i) {
      x.Set(scratch + CRow(i) * kOperandPitch + t * (kPackK / kCount) + CCol(i), FromFloat<T>(c[t].v[i]));
    }
  }
  GroupSync();
}

}  // namespace unimax::UM_PORT_NAMESPACE

#if UM_EMULATOR_LANES == 64 || UM_EMULATOR_WMMA
#include "kernels/gpu/port_emulator_amd.h"
#else
#include "kernels/gpu/port_emulator_matrix.h"
#endif
