// SPDX-License-Identifier: Apache-2.0
// A persistent team of threads that runs one function together. Waiting spins for at most kSpin and then sleeps in the
// kernel, so that an idle team costs nothing and a busy one meets in well under a microsecond.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace unimax {

class Team {
 public:
  explicit Team(int threads);  // at least 1; the caller of Run is one of them
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int threads() const { return threads_; }

  // Calls fn(thread, threads) once on every thread, thread 0 being the caller's, and returns when all have returned.
  // Takes no memory. One caller at a time; not from within Run.
  template <class Fn>
  void Run(Fn&& fn) {
    using Plain = std::remove_reference_t<Fn>;
    Start([](void* f, int thread, int threads) { (*static_cast<Plain*>(f))(thread, threads); }, &fn);
  }

  // Within Run, called by every thread: nobody passes before all have come. Orders all writes before it with all reads
  // after it.
  void Barrier();

  // Processors this process may use.
  static int DefaultThreads();

 private:
  // A number that others wait for a change of.
  struct alignas(64) Gate {
    std::atomic<uint32_t> value{0};
    std::atomic<int> sleepers{0};
  };
  using Job = void (*)(void*, int, int);

  void Start(Job job, void* argument);
  void Work(int thread);
  static void Open(Gate& gate);                      // changes the number and wakes the sleepers
  static void WaitChange(Gate& gate, uint32_t old);  // returns once the number is no longer `old`

  const int threads_;
  Job job_ = nullptr;  // written before start_ opens, read after
  void* argument_ = nullptr;
  bool stop_ = false;
  Gate start_, barrier_;
  alignas(64) std::atomic<int> arrived_{0};
  std::vector<std::thread> workers_;
};

}  // namespace unimax
