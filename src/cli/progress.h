// SPDX-License-Identifier: Apache-2.0
// A line on a terminal that says how far work is, once it takes longer than two seconds.
#pragma once

#include <string>

#include "exec/executor.h"

namespace unimax {

class Progress {
 public:
  // Nothing is shown where `show` is false or stderr is no terminal.
  explicit Progress(bool show, double after_seconds = 2);
  double seconds() const;  // since it was made
  bool due() const { return show_ && seconds() >= after_seconds_; }
  void Show(const std::string& text) const;  // in place of what stood there, where it is due
  void Clear() const;

 private:
  bool show_;
  double after_seconds_, begin_;
};

// "loading weights: 3.2 of 16.1 GB", gone when they are there.
LoadingProgress LoadingLine(bool show);
std::string LoadingText(uint64_t done, uint64_t of);

}  // namespace unimax
