// SPDX-License-Identifier: Apache-2.0
#include "cli/tune_guard.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"

namespace unimax {
namespace {

constexpr double kSilenceMilliseconds = 120'000;

sigset_t Signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

TuneGuard::TuneGuard() {
  const sigset_t set = Signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);  // threads made from now on inherit it
  thread_ = std::thread([this] { Wait(); });
}

TuneGuard::~TuneGuard() {
  {
    const std::unique_lock lock(mutex_);
    done_ = true;
  }
  thread_.join();
  const sigset_t set = Signals();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

void TuneGuard::Working(const std::string& on) {
  const std::unique_lock lock(mutex_);
  on_ = on;
  since_ = NowMilliseconds();
}

Status TuneGuard::Write(const std::function<Status()>& write, const std::string& what_stays) {
  const std::unique_lock lock(mutex_);
  Status status = write();
  if (status.ok()) stays_ = what_stays;
  return status;
}

void TuneGuard::Wait() {
  const sigset_t set = Signals();
  const timespec step = {0, 50'000'000};
  while (!done_) EndWhereAsked(sigtimedwait(&set, nullptr, &step) > 0);
}

void TuneGuard::EndWhereAsked(bool signalled) {
  const std::unique_lock lock(mutex_);
  const double silent = since_ > 0 ? NowMilliseconds() - since_ : 0;
  const bool hangs = watching_ && silent > kSilenceMilliseconds;
  if (done_ || (!signalled && !hangs)) return;
  if (isatty(STDERR_FILENO) != 0) std::fputs("\r\033[K", stderr);
  WriteLog(LogLevel::kError, signalled
                                 ? std::string("interrupted: nothing was written, an older plan stays")
                                 : fmt::format("the device has not answered for {:.0f} s, at {}; nothing was written",
                                               silent * 1e-3, on_));
  _exit(static_cast<int>(signalled ? ErrorKind::kIo : ErrorKind::kInternal));
}

}  // namespace unimax
