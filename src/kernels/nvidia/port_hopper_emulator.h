// SPDX-License-Identifier: Apache-2.0
// Words of Hopper on the emulator with 32 lanes: addresses in shared memory are offsets; bulk copies and words for
// other blocks arrive late and in any order where the device is shuffled; a product reads when it is waited for. What
// they mean stands in port_hopper.h, port_wgmma.h and port_cluster.h.
#pragma once

#include "kernels/gpu/port_stream.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kWarpgroup = 128;
inline uint32_t SharedOffset(int offset) { return static_cast<uint32_t>(offset); }

// ---- Barriers ----
inline void InitBarrier(uint32_t barrier, int arrivals) {
  emulator::Self().block->bars.Init(static_cast<int>(barrier), arrivals);
}
inline void Arrive(uint32_t barrier) {
  emulator::ThreadState& self = emulator::Self();
  self.block->grid->ArriveBar(self, static_cast<int>(barrier));
}
inline void ArriveExpecting(uint32_t barrier, int bytes) {
  emulator::ThreadState& self = emulator::Self();
  self.block->grid->ExpectBar(self, static_cast<int>(barrier), bytes);
}
inline void WaitPhase(uint32_t barrier, int parity) { WaitBar(static_cast<int>(barrier), parity); }
inline void SomeBarrier(int number, int threads) {
  emulator::ThreadState& self = emulator::Self();
  self.block->grid->MeetSome(self, threads, number);
}

// ---- Copies ----
inline void BulkCopyOnce(uint32_t to, const void* from, int bytes, uint32_t barrier) {
  emulator::ThreadState& self = emulator::Self();
  self.block->grid->CopyLater(self, static_cast<int>(barrier), static_cast<int>(to), from, bytes);
}
inline void BulkCopy(uint32_t to, const void* from, int bytes, uint32_t barrier) {
  BulkCopyOnce(to, from, bytes, barrier);
}
inline void CopyShared16(uint32_t to, const void* from, bool take) {
  CopyAsync16(Shared<uint32_t>(0), static_cast<int>(to / 4), from, take);
}
inline void FetchNear(const void*, int) {}

// ---- Clusters ----
inline void ClusterBarrier() {
  emulator::ThreadState& self = emulator::Self();
  self.block->grid->MeetCluster(self);
}
inline void FenceBarriers() {}
inline void ArriveAt(uint32_t barrier, int block) {
  emulator::ThreadState& self = emulator::Self();
  self.block->grid->ArriveBarOf(self, block, static_cast<int>(barrier));
}
inline void FetchMapNear(const MatrixMap&) {}
inline void CopyBox(uint32_t to, const MatrixMap& map, int column, int row, uint32_t barrier, int blocks) {
  emulator::ThreadState& self = emulator::Self();
  emulator::Mail::Box box = {{}, row, column};
  std::memcpy(&box.matrix, map.bytes, sizeof(box.matrix));
  self.block->grid->CopyBoxLater(self, static_cast<int>(barrier), static_cast<int>(to), box, blocks);
}
inline void CopyBox(uint32_t to, const MatrixMap& map, int column, int row, uint32_t barrier) {
  CopyBox(to, map, column, row, barrier, 1 << emulator::Self().block->rank);
}

// ---- Words between blocks ----
inline Vec16 LoadRelaxed(const void* p) { return Load16(p); }
inline void StoreRelaxed(void* p, const Vec16& v) {
  StoreWord(p, v.w[0], v.w[1]);
  StoreWord(static_cast<char*>(p) + 8, v.w[2], v.w[3]);
}
inline void Store8(void* p, uint32_t a, uint32_t b) {
  emulator::CheckGlobal(p, 8, emulator::GlobalMemory::kWrite);
  const uint32_t words[2] = {a, b};
  std::memcpy(p, words, sizeof(words));
}
inline int LoadAcquire(const int* counter) {
  emulator::CheckGlobal(counter, sizeof(int), emulator::GlobalMemory::kRead);
  emulator::ThreadState& self = emulator::Self();
  self.block->order->TakeFrom(self.block->grid->GroupOf(self), counter);
  return *counter;
}
inline void AddRelease(int* counter, int v) {
  AtomicAdd(counter, v);
  emulator::ThreadState& self = emulator::Self();
  self.block->order->LeaveAt(self.block->grid->GroupOf(self), counter);
  self.block->grid->Progress();
}
inline void AddWhole(unsigned long long* to, unsigned long long v) {
  emulator::CheckGlobal(to, sizeof(v), emulator::GlobalMemory::kWrite);
  *to += v;
}
inline void SetBits(unsigned long long* to, unsigned long long bits) {
  emulator::CheckGlobal(to, sizeof(bits), emulator::GlobalMemory::kWrite);
  *to |= bits;
}
inline unsigned long long ToWhole(float v) {
  return static_cast<unsigned long long>(static_cast<long long>(std::nearbyint(v)));
}
inline unsigned long long LoadAgain(const unsigned long long* p) {
  emulator::CheckGlobal(p, sizeof(*p), emulator::GlobalMemory::kRead);
  return *p;
}
inline void Fail() {
  emulator::ThreadState& self = emulator::Self();
  self.block->grid->Fault(self, "has waited in vain for other blocks");
}

// ---- Shared memory by address ----
inline int ThreadAfresh() { return Thread(); }
inline void StoreFloat(uint32_t at, float v) { Shared<float>(0).Set(static_cast<int>(at / 4), v); }
inline void StoreZeros(uint32_t at) { Shared<uint32_t>(0).Set16(static_cast<int>(at / 4), {}); }
inline void LoadFour(uint32_t at, float* v) {
  const Vec16 four = Shared<float>(0).Get16(static_cast<int>(at / 4));
  for (int i = 0; i < 4; ++i) v[i] = four.As<float>(i);
}

// ---- Arithmetic ----
inline float Reciprocal(float x) { return 1.0f / x; }

// ---- Matrix ----
struct TwoRows {
  uint32_t w[2];
};
inline TwoRows LoadTwoRows(uint32_t at) {
  const Shared<uint32_t> shared(0);
  return {{shared.Get(static_cast<int>(at / 4)), shared.Get(static_cast<int>(at / 4) + 1)}};
}
template <int kColumns>
struct ColumnSums {
  float v[kColumns / 2];
};
inline uint64_t SwizzledMatrix(uint32_t address) { return address; }
inline void KeepHere(Vec16&) {}
template <class T>
T* Afresh(T* p) {
  return p;
}
// Products read shared memory when they are waited for, as late as they may.
using emulator::LateProduct;
inline void MultiplyLater(void (*run)(const LateProduct&), void* sums, const Vec16& a, uint64_t b) {
  emulator::ThreadState& self = emulator::Self();
  self.products.push_back({run, sums, {a.w[0], a.w[1], a.w[2], a.w[3]}, b, self.batches});
}
inline void BeginProducts() {}
inline void CommitProducts() { ++emulator::Self().batches; }
template <int kLeft>
void WaitProducts() {
  emulator::ThreadState& self = emulator::Self();
  size_t done = 0;
  for (; done < self.products.size() && self.products[done].batch < self.batches - kLeft; ++done) {
    self.products[done].run(self.products[done]);
  }
  self.products.erase(self.products.begin(), self.products.begin() + static_cast<std::ptrdiff_t>(done));
}
// Rows of 128 bytes from a border of 1,024 on, of which the 16-byte chunks are exchanged by the row's number: two
// elements from byte `byte` of row `row` on.
inline uint32_t SwizzledWord(uint32_t base, int row, int byte) {
  const uint32_t at = base + static_cast<uint32_t>(row * 128 + byte);
  return Shared<uint32_t>(0).Get(static_cast<int>((at ^ (at >> 7 & 7) << 4) / 4));
}
// d += a * b^T; `word(column, k)`: elements k and k + 1 of a column.
template <class T, int kColumns, class Word>
void MultiplyBy(ColumnSums<kColumns>& d, const Vec16& a, Word word) {
  for (int j = 0; j < kColumns / 8; ++j) {
    const int column = 8 * j + Lane() / 4, k = Lane() % 4 * 2;
    FragC c;
    for (int i = 0; i < kFragC; ++i) c.v[i] = d.v[4 * j + i];
    Mma16<T>(c, a, word(column, k), word(column, k + 8));
    for (int i = 0; i < kFragC; ++i) d.v[4 * j + i] = c.v[i];
  }
}
// Of a late product: word(column, k) of columns that are rows of k, and of rows of k.
inline uint32_t LyingWord(const LateProduct& p, int column, int k) {
  return SwizzledWord(static_cast<uint32_t>(p.b), column, k * 2);
}
inline uint32_t StandingWord(const LateProduct& p, int column, int k) {
  const auto base = static_cast<uint32_t>(p.b) + static_cast<uint32_t>(column / 64) * static_cast<uint32_t>(p.b >> 32);
  const auto element = [&](int row) {
    return SwizzledWord(base, row, column % 64 / 2 * 4) >> column % 2 * 16 & 0xffffu;
  };
  return element(k) | element(k + 1) << 16;
}
template <class T, int kColumns, uint32_t (*kWord)(const LateProduct&, int, int)>
void RunProduct(const LateProduct& p, const Vec16& a) {
  MultiplyBy<T>(*static_cast<ColumnSums<kColumns>*>(p.sums), a, [&](int column, int k) { return kWord(p, column, k); });
}
inline Vec16 OperandOf(const LateProduct& p) { return {{p.a[0], p.a[1], p.a[2], p.a[3]}}; }

template <class T, int kColumns>
void MultiplyColumns(ColumnSums<kColumns>& d, const Vec16& a, uint64_t b) {
  MultiplyLater([](const LateProduct& p) { RunProduct<T, kColumns, LyingWord>(p, OperandOf(p)); }, &d, a, b);
}
template <class T>
void MultiplyShared(ColumnSums<128>& d, uint64_t a, uint64_t b, bool add) {
  const auto run = [](const LateProduct& p) {
    const int row = Group() % 4 * 16 + Lane() / 4, byte = Lane() % 4 * 4;
    Vec16 rows;
    for (int i = 0; i < 4; ++i) rows.w[i] = SwizzledWord(p.a[0], row + i % 2 * 8, byte + i / 2 * 16);
    if (p.a[1] == 0) *static_cast<ColumnSums<128>*>(p.sums) = {};
    RunProduct<T, 128, LyingWord>(p, rows);
  };
  MultiplyLater(run, &d, {{static_cast<uint32_t>(a), add ? 1u : 0u, 0, 0}}, b);
}
inline uint64_t StandingMatrix(uint32_t address, int apart) { return address | static_cast<uint64_t>(apart) << 32; }
template <class T>
void MultiplyDown(ColumnSums<128>& d, const Vec16& a, uint64_t b) {
  MultiplyLater([](const LateProduct& p) { RunProduct<T, 128, StandingWord>(p, OperandOf(p)); }, &d, a, b);
}

}  // namespace unimax::UM_PORT_NAMESPACE
