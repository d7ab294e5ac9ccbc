// SPDX-License-Identifier: Apache-2.0
#include "device/fiber.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace unimax {

using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

FiberStacks::~FiberStacks() {
  for (std::byte* chunk : chunks_) munmap(chunk, kChunk * kStackBytes);
}

Status FiberStacks::Grow(size_t wanted) {
  while (count() < wanted) {
    void* chunk = mmap(nullptr, kChunk * kStackBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (chunk == MAP_FAILED) return IoError("no memory for {} fiber stacks: {}", wanted, std::strerror(errno));
    chunks_.push_back(static_cast<std::byte*>(chunk));
    for (size_t i = 0; i < kChunk; ++i) {
      if (mprotect(chunks_.back() + i * kStackBytes, kGuardBytes, PROT_NONE) != 0) {
        return IoError("no guard page for a fiber stack: {}", std::strerror(errno));
      }
    }
  }
  return {};
}

std::span<std::byte> FiberStacks::Stack(size_t index) const {
  std::byte* low = chunks_[index / kChunk] + index % kChunk * kStackBytes;
  return {low + kGuardBytes, kStackBytes - kGuardBytes};
}

Fiber::~Fiber() {
#if defined(__SANITIZE_THREAD__)
  if (entry_ != nullptr && thread_record_ != nullptr) __tsan_destroy_fiber(thread_record_);
#endif
}

void Fiber::Start(std::span<std::byte> stack, size_t shift, void (*entry)(void*), void* argument) {
#if defined(__SANITIZE_ADDRESS__)
  // Frames that were left without a return still have their red zones marked.
  __asan_unpoison_memory_region(stack.data(), stack.size());
#endif
#if defined(__SANITIZE_THREAD__)
  // The frames that a start leaves behind stay on the record's call stack: a fresh record before it fills.
  constexpr int kStartsPerRecord = 500;
  if (starts_++ % kStartsPerRecord == 0) {
    if (thread_record_ != nullptr) __tsan_destroy_fiber(thread_record_);
    thread_record_ = __tsan_create_fiber(0);
  }
#endif
  low_ = stack.data();
  bytes_ = stack.size() - shift;
  fake_stack_ = nullptr;
  entry_ = entry;
  argument_ = argument;
  context_ = make_fcontext(stack.data() + bytes_, bytes_, &Fiber::Main);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
void Fiber::BeforeSwitch([[maybe_unused]] Fiber& to, [[maybe_unused]] bool leave) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(leave ? nullptr : &fake_stack_, to.low_, to.bytes_);
#endif
#if defined(__SANITIZE_THREAD__)
  if (entry_ == nullptr) thread_record_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(to.thread_record_, 0);
#endif
}

void Fiber::AfterSwitch([[maybe_unused]] Fiber& from) {
#if defined(__SANITIZE_ADDRESS__)
  // The sanitizer knows the bounds of the stack we came from: the only way to learn those of the thread's own.
  __sanitizer_finish_switch_fiber(fake_stack_, &from.low_, &from.bytes_);
#endif
}
#endif

void Fiber::Leave(Fiber& from, Fiber& to) {
  from.to_ = &to;
  from.BeforeSwitch(to, true);
  jump_fcontext(to.context_, &from);
  CheckFailed(__FILE__, __LINE__, "a fiber that left was continued");
}

void Fiber::Main(transfer_t transfer) {
  Fiber& previous = *static_cast<Fiber*>(transfer.data);
  previous.context_ = transfer.fctx;
  Fiber& self = *previous.to_;
  self.AfterSwitch(previous);
  self.entry_(self.argument_);
  CheckFailed(__FILE__, __LINE__, "a fiber's entry returned");
}

}  // namespace unimax
