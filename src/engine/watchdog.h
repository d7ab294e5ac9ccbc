// SPDX-License-Identifier: Apache-2.0
// Finds a device that does not answer: a thread of its own that looks whether the engine's step has been running for
// too long. A hung driver call cannot be ended from outside, so what is left to do is to say so and to end the process.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "engine/engine.h"

namespace unimax {

class Watchdog {
 public:
  // `on_silence` is called once, on the watchdog's thread, when a step of `engine` has run for longer than `limit`.
  // `engine` outlives the watchdog.
  Watchdog(const Engine& engine, std::chrono::milliseconds limit, std::function<void(double seconds)> on_silence);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void Watch();
  const Engine& engine_;
  const std::chrono::milliseconds limit_;
  std::function<void(double)> on_silence_;
  std::mutex mutex_;
  std::condition_variable stop_changed_;
  bool stop_ = false;
  std::thread thread_;
};

// A watchdog for a command on a GPU; null on the CPU, where a step of a large model may take as long as it takes, and
// on the emulator.
std::unique_ptr<Watchdog> WatchGpu(Model& model, const Engine& engine);

// For commands: logs that the device is silent and ends the process with status 70, without destructors, which would
// wait for the device.
void ExitOnSilence(double seconds);

}  // namespace unimax
