// SPDX-License-Identifier: Apache-2.0
#include "base/team.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <climits>

#include "base/status.h"

namespace unimax {
namespace {

// Ops of a step are 5 to 500 us apart: a shorter spin would sleep between ops, a longer one would burn a core that
// another program could use.
constexpr auto kSpin = std::chrono::microseconds(50);

}  // namespace

Team::Team(int threads) : threads_(threads) {
  UM_CHECK(threads >= 1);
  workers_.reserve(static_cast<size_t>(threads) - 1);
  for (int thread = 1; thread < threads; ++thread) workers_.emplace_back([this, thread] { Work(thread); });
}

Team::~Team() {
  stop_ = true;
  Open(start_);
  for (std::thread& worker : workers_) worker.join();
}

int Team::DefaultThreads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  const int count = CPU_COUNT(&set);
  return count > 0 ? count : 1;
}

void Team::Open(Gate& gate) {
  // Both sides are sequentially consistent: either the waiter sees the new number, or we see the waiter.
  gate.value.fetch_add(1, std::memory_order_seq_cst);
  if (gate.sleepers.load(std::memory_order_seq_cst) > 0) {
    syscall(SYS_futex, reinterpret_cast<uint32_t*>(&gate.value), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  }
}

void Team::WaitChange(Gate& gate, uint32_t old) {
  if (gate.value.load(std::memory_order_acquire) != old) return;
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {  // reading the clock takes some 20 ns: long enough to leave the line and a sibling thread alone
    if (gate.value.load(std::memory_order_acquire) != old) return;
  } while (std::chrono::steady_clock::now() < end);
  gate.sleepers.fetch_add(1, std::memory_order_seq_cst);
  while (gate.value.load(std::memory_order_seq_cst) == old) {
    syscall(SYS_futex, reinterpret_cast<uint32_t*>(&gate.value), FUTEX_WAIT_PRIVATE, old, nullptr, nullptr, 0);
  }
  gate.sleepers.fetch_sub(1, std::memory_order_seq_cst);
}

void Team::Barrier() {
  if (threads_ == 1) return;
  const uint32_t old = barrier_.value.load(std::memory_order_relaxed);  // cannot change before this thread arrives
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads_ - 1) {
    arrived_.store(0, std::memory_order_relaxed);  // ordered by the gate
    Open(barrier_);
  } else {
    WaitChange(barrier_, old);
  }
}

void Team::Start(Job job, void* argument) {
  job_ = job;
  argument_ = argument;
  if (threads_ > 1) Open(start_);
  job(argument, 0, threads_);
  Barrier();
}

void Team::Work(int thread) {
  for (uint32_t seen = 0;; ++seen) {
    WaitChange(start_, seen);
    if (stop_) return;
    job_(argument_, thread, threads_);
    Barrier();
  }
}

}  // namespace unimax
