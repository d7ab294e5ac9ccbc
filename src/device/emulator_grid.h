// SPDX-License-Identifier: Apache-2.0
// Runs a grid on host fibers, one a GPU thread, all in one host thread. The words of kernels/gpu/port_emulator.h are
// written on what this file offers to the fiber that is running.
//
// A fiber runs until it must wait for others; then it continues the next ready fiber directly. The last lane to arrive
// at a meeting (a barrier, a shuffle, a matrix product) does its work for all and makes them ready. When nobody is
// ready but somebody waits, the kernel is wrong, and the launch fails with the reason.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "device/device.h"
#include "device/emulator_entry.h"
#include "device/emulator_memory.h"
#include "device/emulator_mma.h"
#include "device/emulator_shared.h"
#include "device/emulator_talk.h"
#include "device/fiber.h"

namespace unimax::emulator {

class Grid;
struct BlockState;

// Where threads wait for each other. From kGroupSync on they are meetings of one group.
enum class Meeting : uint8_t {
  kNone,
  kPause,
  kSomeBarrier,
  kCluster,
  kBarrier,
  kGroupSync,
  kShuffle,
  kSum,
  kSumInt,
  kMax,
  kMaxInt,
  kMmaBF16,
  kMmaF16,
  kMmaI8
};

constexpr int kMaxLanes = 64;
constexpr int kMaxThreads = 1024, kSomeBarriers = 16, kMaxCluster = 8;

struct GroupState {
  Meeting meeting = Meeting::kNone;  // of those that have arrived
  int arrived = 0;
  uint32_t value[kMaxLanes];
  int source[kMaxLanes];  // shuffles: the lane whose value is wanted
  uint32_t result[kMaxLanes];
  MatrixLane matrix[kMaxLanes];
};

// A product of Hopper's matrix instruction, which runs by itself until it is waited for.
struct LateProduct {
  void (*run)(const LateProduct&);
  void* sums;
  uint32_t a[4];
  uint64_t b;
  int batch;
};

struct ThreadState {
  Fiber fiber;
  int thread = 0, lane = 0;
  Meeting waiting = Meeting::kNone;
  int number = 0;  // of the barrier of some threads
  bool done = false;
  BlockState* block = nullptr;
  GroupState* group = nullptr;
  std::vector<LateProduct> products;
  int batches = 0;  // of products that are closed
};

// Blocks that share copies and barriers.
struct Cluster {
  BlockState* block[kMaxCluster] = {};
  int arrived = 0;
  Order order;
};

struct BlockState {
  Grid* grid = nullptr;
  Cluster* cluster = nullptr;  // null: the block is alone
  int x = 0, y = 0, z = 0, rank = 0;
  int threads = 0, arrived = 0, done = 0;
  int some_arrived[kSomeBarriers] = {};
  bool running = false;
  Order own_order;            // of its groups; notes nothing where no races are looked for
  Order* order = &own_order;  // or that of the cluster's groups
  SharedMemory shared;
  CopyBars bars;
  FiberStacks stacks;
  std::unique_ptr<ThreadState[]> thread;  // kMaxThreads
  std::unique_ptr<GroupState[]> group;    // kMaxThreads / 32
};

// The thread whose fiber runs now; null outside kernels.
extern constinit thread_local ThreadState* running_thread;

class Grid {
 public:
  Grid(const EmulatorOptions& options, GlobalMemory* memory);

  // Runs all threads of all blocks to their end. Errors: kInternal with what the kernel did wrong; the grid is usable
  // afterwards, memory is as the kernel left it.
  Status Run(const EmulatorEntry& entry, const Launch& launch);

  const Launch& launch() const { return *launch_; }
  GlobalMemory& memory() { return *memory_; }
  int lanes() const { return lanes_; }

  // For the running thread (`self`). Meet returns when all lanes of the group have called it; MeetBlock when all
  // threads of the block have.
  void Meet(ThreadState& self, Meeting meeting);
  void MeetBlock(ThreadState& self);
  // Returns when all threads of the cluster have called it.
  void MeetCluster(ThreadState& self);
  // Returns when `threads` threads of the block have called it with this number.
  void MeetSome(ThreadState& self, int threads, int number = 0);
  // Barriers in shared memory (CopyBars): arrives, with `bytes` to come or without; has passed.
  void ArriveBar(ThreadState& self, int bar);
  void ArriveBarOf(ThreadState& self, int rank, int bar);  // of another block of the cluster
  void ExpectBar(ThreadState& self, int bar, int bytes);
  void PassBar(ThreadState& self, int bar);
  // The number of the thread's group among those of its cluster.
  int GroupOf(const ThreadState& self) const { return FirstGroup(*self.block) + self.thread / lanes_; }
  Toucher WhoIs(const ThreadState& self) const {
    return {self.block->rank * self.block->threads + self.thread, GroupOf(self)};
  }
  // Only in launches whose blocks run together (Launch::together). Pause lets everybody else go on; what a thread
  // pauses for must come, or the launch fails once nothing happens any more.
  void Pause(ThreadState& self);
  void Progress() { progress_ = true; }
  void StoreLater(void* address, uint64_t word);
  void CopyLater(ThreadState& self, int bar, int to, const void* from, int bytes);
  // A box of a matrix, to the same place of each block of the cluster that has a bit in `blocks`: rows of 64 elements
  // of 16 bits, whose chunks of 16 bytes are exchanged by the row's number; zeros beyond the matrix.
  void CopyBoxLater(ThreadState& self, int bar, int to, const Mail::Box& box, int blocks);
  // Ends the launch; `self` does not continue.
  [[noreturn]] void Fault(const ThreadState& self, std::string what);

 private:
  static void Enter(void* thread);
  int FirstGroup(const BlockState& block) const { return block.rank * (block.threads / lanes_); }
  void CopyTo(ThreadState& self, const Mail::Copy& copy);
  void Free(BlockState& block, const ThreadState& self);  // its threads, which have met
  void MakeBlocks(size_t count);                          // that run at the same time
  void StartBlock(BlockState& block, int index);
  // What waits for what will never come; "" when every thread has ended.
  std::string Stuck() const;
  std::string Where(const BlockState& block) const;

  void MakeReady(ThreadState* thread) { ready_[ready_count_++] = thread; }
  ThreadState* TakeReady() {
    if (ready_count_ == 0 && !WakePaused()) return nullptr;
    if (shuffled_) std::swap(ready_[Random(ready_count_)], ready_[ready_count_ - 1]);
    return ready_[--ready_count_];
  }
  size_t Random(size_t below);
  // Makes those that pause ready again; false when there are none, or nothing has happened since the last time.
  bool WakePaused();
  void DeliverSome();
  // Continues another thread until somebody makes this one ready.
  void Suspend(ThreadState& self) {
    ThreadState* next = TakeReady();
    if (next == &self) return;
    Fiber::Switch(self.fiber, next != nullptr ? next->fiber : main_);
    running_thread = &self;
  }
  // The work of the last lane to arrive at a meeting.
  void Finish(ThreadState& self);
  void FinishBlock(ThreadState& self);
  [[noreturn]] void FaultMeeting(const ThreadState& self, Meeting meeting);

  const int lanes_;
  const bool shuffled_, check_races_;
  GlobalMemory* memory_;
  uint64_t random_;
  const Launch* launch_ = nullptr;
  const EmulatorEntry* entry_ = nullptr;
  Fiber main_;
  std::deque<BlockState> blocks_;  // those that run at the same time
  size_t running_ = 0;             // of these in this launch
  std::vector<Cluster> clusters_;
  std::vector<ThreadState*> paused_;
  Mail mail_;
  bool progress_ = false;
  std::vector<ThreadState*> ready_;  // taken from the end, or anywhere when shuffled
  size_t ready_count_ = 0;
  std::string fault_;
};

inline ThreadState& Self() { return *running_thread; }

// An access to global memory of a kernel; ends the launch when it is not aligned or outside every buffer.
void CheckGlobalSlow(const void* address, unsigned bytes, GlobalMemory::Use use);
inline void CheckGlobal(const void* address, unsigned bytes, GlobalMemory::Use use) {
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0 || !Self().block->grid->memory().Contains(address, bytes, use))
      [[unlikely]] {
    CheckGlobalSlow(address, bytes, use);
  }
}

// The address of `bytes` bytes of shared memory; ends the launch when they are out of bounds or touched in a race.
std::byte* CheckShared(uint64_t offset, unsigned bytes, Touch touch);
inline std::byte* SharedAt(SharedMemory& shared, int64_t offset, unsigned bytes, Touch touch) {
  const uint64_t at = static_cast<uint64_t>(offset);
  if (at < shared.fast_bytes() && bytes <= shared.fast_bytes() - at && at % bytes == 0) [[likely]] {
    return shared.data() + at;
  }
  return CheckShared(at, bytes, touch);
}

}  // namespace unimax::emulator
