// SPDX-License-Identifier: Apache-2.0
// Ends a long measurement from outside: on Ctrl-C or SIGTERM, and when a device falls silent, both also while a launch
// hangs, which nothing could wait out. The process then ends at once, without destructors; what was there stays.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "base/status.h"

namespace unimax {

class TuneGuard {
 public:
  // From here on the signals come to a thread of the guard: made before any other thread. A row of the kernel table
  // must come back within `row_seconds`, all other work within two minutes.
  explicit TuneGuard(double row_seconds = 20);
  ~TuneGuard();
  TuneGuard(const TuneGuard&) = delete;
  TuneGuard& operator=(const TuneGuard&) = delete;

  // Watches the device: each piece of work begins with a call of Working, and a new one must come in time.
  void Watch() { watching_ = true; }
  void Working(const std::string& on);
  // The piece of work is one row. Where it does not come back, `note` is called with how, before the process ends.
  void Trying(const std::string& on, std::function<Status(const std::string& how)> note);
  // Runs `write` to its end, whatever is asked meanwhile; an end after it says `what_stays`.
  Status Write(const std::function<Status()>& write, const std::string& what_stays);

 private:
  void Wait();
  void EndWhereAsked(bool signalled);
  void Begin(const std::string& on, std::function<Status(const std::string&)> note);

  std::atomic<bool> watching_ = false, done_ = false;
  std::mutex mutex_;  // of what follows, and of the end
  const double row_milliseconds_;
  std::function<Status(const std::string&)> note_;  // of the row that is being tried
  std::string on_, stays_ = "nothing was written, an older plan stays";
  double since_ = 0;  // milliseconds
  std::thread thread_;
};

}  // namespace unimax
