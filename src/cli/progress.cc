// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "base/clock.h"

namespace unimax {

Progress::Progress(bool show, double after_seconds)
    : show_(show && isatty(STDERR_FILENO) != 0), after_seconds_(after_seconds), begin_(NowMilliseconds()) {}

double Progress::seconds() const { return (NowMilliseconds() - begin_) * 1e-3; }

void Progress::Show(const std::string& text) const {
  if (due()) std::fprintf(stderr, "\r\033[K%s", text.c_str());
}

void Progress::Clear() const {
  if (due()) std::fputs("\r\033[K", stderr);
}

std::string LoadingText(uint64_t done, uint64_t of) {
  return fmt::format("loading weights: {:.1f} of {:.1f} GB", static_cast<double>(done) * 1e-9,
                     static_cast<double>(of) * 1e-9);
}

LoadingProgress LoadingLine(bool show) {
  return [line = Progress(show)](uint64_t done, uint64_t of) {
    done < of ? line.Show(LoadingText(done, of)) : line.Clear();
  };
}

}  // namespace unimax
