// SPDX-License-Identifier: Apache-2.0
// Ends a long measurement from outside: on Ctrl-C or SIGTERM, and when a device falls silent, both also while a launch
// hangs, which nothing could wait out. The process then ends at once, without destructors; what was there stays.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>

namespace unimax {

class TuneGuard {
 public:
  // From here on the signals come to a thread of the guard: made before any other thread.
  TuneGuard();
  ~TuneGuard();
  TuneGuard(const TuneGuard&) = delete;
  TuneGuard& operator=(const TuneGuard&) = delete;

  // Watches the device: each piece of work begins with a call of Working, and a new one must come in time.
  void Watch() { watching_ = true; }
  void Working(const std::string& on);
  // The measuring is over: no more ends from here, so that what is then written is written whole.
  void Finish();

 private:
  void Wait();
  void EndWhereAsked(bool signalled);

  std::atomic<bool> watching_ = false, done_ = false;
  std::mutex mutex_;  // of what follows, and of the end
  std::string on_;
  double since_ = 0;  // milliseconds
  std::thread thread_;
};

}  // namespace unimax
