// SPDX-License-Identifier: Apache-2.0
#include "engine/watchdog.h"

#include <unistd.h>

#include <utility>

#include "base/log.h"

namespace unimax {

Watchdog::Watchdog(const Engine& engine, std::chrono::milliseconds limit, std::function<void(double)> on_silence)
    : engine_(engine), limit_(limit), on_silence_(std::move(on_silence)), thread_([this] { Watch(); }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    stop_changed_.notify_all();
  }
  thread_.join();
}

void Watchdog::Watch() {
  std::unique_lock lock(mutex_);
  while (!stop_changed_.wait_for(lock, limit_ / 8, [this] { return stop_; })) {
    const Time since = engine_.state().stepping_since;
    const Time silent = since > 0 ? Engine::Now() - since : 0;
    if (silent <= std::chrono::microseconds(limit_).count()) continue;
    on_silence_(static_cast<double>(silent) * 1e-6);
    return;
  }
}

std::unique_ptr<Watchdog> WatchGpu(Model& model, const Engine& engine) {
  constexpr std::chrono::seconds kLimit(30);
  const bool gpu = model.device() != nullptr && !model.device()->limits().target.starts_with("emulator");
  return gpu ? std::make_unique<Watchdog>(engine, kLimit, &ExitOnSilence) : nullptr;
}

void ExitOnSilence(double seconds) {
  WriteLog(
      LogLevel::kError,
      fmt::format("the device has not answered for {:.0f} s; the requests in flight are lost: restart, and look at "
                  "the driver's own log",
                  seconds));
  _exit(static_cast<int>(ErrorKind::kInternal));
}

}  // namespace unimax
