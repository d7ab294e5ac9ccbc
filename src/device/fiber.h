// SPDX-License-Identifier: Apache-2.0
// Host fibers for the emulator: many stacks in one thread, each switch a few nanoseconds. Tells the address and thread
// sanitizers about every switch, so that emulated kernels can be checked with them.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <span>
#include <vector>

#include "base/status.h"

namespace unimax {

// Stacks of one size, mapped in chunks; below each lies a page that faults. A stack keeps its address until the end.
class FiberStacks {
 public:
  FiberStacks() = default;
  FiberStacks(const FiberStacks&) = delete;
  FiberStacks& operator=(const FiberStacks&) = delete;
  ~FiberStacks();

  // Errors: kIo when the system maps no more memory.
  Status Grow(size_t count);
  size_t count() const { return chunks_.size() * kChunk; }
  std::span<std::byte> Stack(size_t index) const;

 private:
  static constexpr size_t kChunk = 64;
  static constexpr size_t kStackBytes = 64 * 1024;  // with the guard page
  static constexpr size_t kGuardBytes = 4096;
  std::vector<std::byte*> chunks_;
};

// One flow of execution: either the stack it was started on, or the thread's own stack for a Fiber never started.
class Fiber {
 public:
  Fiber() = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber();

  // Makes the next switch to this fiber call entry(argument), which must not return. What ran on the stack is dropped.
  void Start(std::span<std::byte> stack, size_t shift, void (*entry)(void*), void* argument);
  // Stops `from`, which is running, and continues `to`; returns when something switches back to `from`.
  // Inlined, as every return after a switch is one that the processor did not foresee.
  static void Switch(Fiber& from, Fiber& to) {
    from.to_ = &to;
    from.BeforeSwitch(to, false);
    const boost::context::detail::transfer_t back = boost::context::detail::jump_fcontext(to.context_, &from);
    Fiber& previous = *static_cast<Fiber*>(back.data);
    previous.context_ = back.fctx;
    from.AfterSwitch(previous);
  }
  // The same, but `from` will not run again until it is started anew.
  [[noreturn]] static void Leave(Fiber& from, Fiber& to);

 private:
  static void Main(boost::context::detail::transfer_t transfer);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  void BeforeSwitch(Fiber& to, bool leave);
  void AfterSwitch(Fiber& from);
#else
  void BeforeSwitch(Fiber&, bool) {}
  void AfterSwitch(Fiber&) {}
#endif

  boost::context::detail::fcontext_t context_ = nullptr;
  Fiber* to_ = nullptr;  // whom this fiber switched to last: tells a new fiber who it is
  void (*entry_)(void*) = nullptr;
  void* argument_ = nullptr;
  const void* low_ = nullptr;  // the stack, for the sanitizers
  size_t bytes_ = 0;
  void* fake_stack_ = nullptr;     // address sanitizer's, while the fiber is stopped
  void* thread_record_ = nullptr;  // thread sanitizer's
  int starts_ = 0;
};

}  // namespace unimax
