// SPDX-License-Identifier: Apache-2.0
// The words of the stream kernel on the emulator. Copies and words arrive late and in any order where the device is
// shuffled (device/emulator_talk.h).
#pragma once

#include <chrono>

#include "kernels/gpu/port_emulator.h"

#define UM_DEVICE_CALL inline

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kStreamReaderRegisters = 0, kStreamFeederRegisters = 0;
template <int kRegisters>
void TakeRegisters() {}
template <int kRegisters>
void GiveRegisters() {}

inline void RingInit(int bars, int slots, int readers) {
  emulator::ThreadState& self = emulator::Self();
  for (int s = 0; s < slots; ++s) {
    self.block->bars.Init(bars + s * 16, 1);
    self.block->bars.Init(bars + s * 16 + 8, readers);
  }
}
inline void WaitBar(int bar, int parity) {
  emulator::ThreadState& self = emulator::Self();
  while (!self.block->bars.Passed(bar, parity)) self.block->grid->Pause(self);
  self.block->grid->PassBar(self, bar);
}
inline uint32_t RingBase() { return 0; }
inline void FenceAsync() {}
inline bool OneLane() { return Lane() == 0; }
inline void RingWaitFree(int bars, int slot, int parity, uint32_t = 0) { WaitBar(bars + slot * 16 + 8, parity ^ 1); }
inline bool RingIsFree(int bars, int slot, int parity, uint32_t) {
  return emulator::Self().block->bars.Passed(bars + slot * 16 + 8, parity ^ 1);
}
inline void RingFetchNear(const void*, int) {}
inline void RingExpect(int bars, int slot, int bytes, uint32_t = 0) {
  emulator::ThreadState& self = emulator::Self();
  self.block->grid->ExpectBar(self, bars + slot * 16, bytes);
}
inline void RingCopy(int bars, int slot, int to, const void* from, int bytes, uint32_t = 0) {
  emulator::ThreadState& self = emulator::Self();
  self.block->grid->CopyLater(self, bars + slot * 16, to, from, bytes);
}
inline void RingWaitFull(int bars, int slot, int parity, uint32_t = 0) { WaitBar(bars + slot * 16, parity); }
inline void RingNote(int notes, int slot, int value, uint32_t = 0) {
  std::memcpy(emulator::Self().block->shared.data() + notes + slot * 4, &value, sizeof(value));
}
inline int RingNoted(int notes, int slot, uint32_t = 0) {
  int value;
  std::memcpy(&value, emulator::Self().block->shared.data() + notes + slot * 4, sizeof(value));
  return value;
}
inline void HandOver(int at, int bytes) {
  emulator::Self().block->shared.MarkCopied(static_cast<uint64_t>(at), static_cast<uint64_t>(bytes));
}
inline void RingRelease(int bars, int slot) {
  emulator::ThreadState& self = emulator::Self();
  self.block->grid->ArriveBar(self, bars + slot * 16 + 8);
}

struct Word {
  uint32_t payload, epoch;
};
struct Words {
  uint32_t payload0, epoch0, payload1, epoch1;
};
template <class W>
W LoadWhole(const void* p) {
  emulator::CheckGlobal(p, sizeof(W), emulator::GlobalMemory::kRead);
  W w;
  std::memcpy(&w, p, sizeof(W));
  return w;
}
inline Word LoadWord(const void* p) { return LoadWhole<Word>(p); }
inline Words LoadWords(const void* p) { return LoadWhole<Words>(p); }
inline void StoreWord(void* p, uint32_t payload, uint32_t epoch) {
  emulator::CheckGlobal(p, sizeof(Word), emulator::GlobalMemory::kWrite);
  emulator::ThreadState& self = emulator::Self();
  self.block->grid->StoreLater(p, payload | uint64_t{epoch} << 32);
}
inline void StoreWords(void* p, uint32_t payload0, uint32_t payload1, uint32_t epoch) {
  StoreWord(p, payload0, epoch);
  StoreWord(static_cast<char*>(p) + 8, payload1, epoch);
}
inline unsigned Claim(unsigned* count) { return static_cast<unsigned>(AtomicAdd(reinterpret_cast<int*>(count), 1)); }
inline Vec16 Load16Here(const void* p) { return Load16(p); }
inline unsigned long long Nanoseconds() {
  return static_cast<unsigned long long>(std::chrono::steady_clock::now().time_since_epoch().count());
}
inline void Pause() {
  emulator::ThreadState& self = emulator::Self();
  self.block->grid->Pause(self);
}

inline void SomeBarrier(int threads) {
  emulator::ThreadState& self = emulator::Self();
  self.block->grid->MeetSome(self, threads);
}

template <class S>
const S& SharedObject(int offset) {
  return *reinterpret_cast<const S*>(emulator::Self().block->shared.data() + offset);
}

template <class T>
FragB<T> XOperand(const Vec16& v) {
  return {v};
}
template <class T>
FragA<T> LoadTileShared(Shared<T> x, int at) {
  FragA<T> a;
  for (int i = 0; i < 64 / kLanes; ++i) a.v[i] = x.Get16(at + i * 256 + Lane() * 8);
  return a;
}
template <class T>
FragA<T> LoadRowsShared(Shared<T> x, int at, int stride, int rows) {
  const auto row = [&](int r) { return r < rows ? x.Get16(at + r * stride + XStart()) : Vec16{}; };
  return RowsOperand<T>(row(XColumn()), kLanes == 32 ? row(XColumn() + 8) : Vec16{});
}

// ---- Matrix, of 32 lanes ----
inline float QuickExp2(float x) { return std::exp2(x); }
// Element [column][row] of 8 x 8: two neighbours of row lane / 4 a lane.
inline uint32_t Transposed(uint32_t v) {
  const int column = Lane() / 4, low = (Lane() % 4 * 2) * 4 + column / 2, high = low + 4;
  const auto a = static_cast<uint32_t>(Shuffle(static_cast<int>(v), low));
  const auto b = static_cast<uint32_t>(Shuffle(static_cast<int>(v), high));
  const int shift = column % 2 * 16;
  return (a >> shift & 0xffffu) | (b >> shift & 0xffffu) << 16;
}
struct TwoWords {
  uint32_t a, b;
  uint32_t Low() const { return (a & 0xffffu) | b << 16; }
  uint32_t High() const { return a >> 16 | (b & 0xffff0000u); }
};
template <class T>
uint32_t Pair(float low, float high) {
  return BitCopy<uint16_t>(FromFloat<T>(low)) | static_cast<uint32_t>(BitCopy<uint16_t>(FromFloat<T>(high))) << 16;
}
template <class T>
void Mma16(FragC& c, const Vec16& a, uint32_t b0, uint32_t b1) {
  Mma<T>(c, FragA<T>{{a, {}}}, FragB<T>{{{b0, b1, 0, 0}}});
}

}  // namespace unimax::UM_PORT_NAMESPACE
