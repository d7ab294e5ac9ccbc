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

TuneGuard::TuneGuard(double row_seconds) : row_milliseconds_(row_seconds * 1e3) {
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

void TuneGuard::Begin(const std::string& on, std::function<Status(const std::string&)> note) {
  const std::unique_lock lock(mutex_);
  on_ = on;
  note_ = std::move(note);
  since_ = NowMilliseconds();
}

void TuneGuard::Working(const std::string& on) { Begin(on, nullptr); }

void TuneGuard::Trying(const std::string& on, std::function<Status(const std::string& how)> note) {
  Begin(on, std::move(note));
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
  const bool hangs = watching_ && silent > (note_ ? row_milliseconds_ : kSilenceMilliseconds);
  if (done_ || (!signalled && !hangs)) return;
  if (isatty(STDERR_FILENO) != 0) std::fputs("\r\033[K", stderr);
  if (signalled) {
    WriteLog(LogLevel::kError, "interrupted: nothing was written, an older plan stays");
  } else {
    const std::string how = fmt::format("the device has not answered for {:.0f} s", silent * 1e-3);
    const Status noted = note_ ? note_(how) : Status();
    const char* next = !note_ ? "" : noted.ok() ? "; start again: it will be left out" : "; ";
    WriteLog(LogLevel::kError, fmt::format("{}, at {}; nothing was written{}{}", how, on_, next, noted.text()));
  }
  _exit(static_cast<int>(signalled ? ErrorKind::kIo : ErrorKind::kInternal));
}

}  // namespace unimax
