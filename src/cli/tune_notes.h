// SPDX-License-Identifier: Apache-2.0
// Rows of the kernel table that `unimax tune` did not outlive: a kernel that hangs or faults takes the device, and with
// it the process, away. What it was is noted in a file beside the plan, and the next start leaves it out.
#pragma once

#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "cli/tune_guard.h"
#include "kernels/tune.h"

namespace unimax {

// A text file: a line that names program, kernel table and device, then a line a row and case:
//   linear_flat_bf16_8 | Linear BF16 m=9 n=4096 k=4096 | the device has not answered for 20 s
class TuneNotes {
 public:
  // What `path` has of another device, program or kernel table counts as nothing, and so does all of it where `fresh`.
  TuneNotes(std::string path, const Limits& limits, bool fresh);
  // Why the row must not be tried at the case; "": it may be.
  std::string WhyNot(const Case& c, const Row& row) const;
  // On the disk when it returns. Errors: kIo.
  Status Add(const Case& c, const Row& row, const std::string& what);

 private:
  std::string path_, first_line_;
  std::map<std::pair<std::string, std::string>, std::string> notes_;  // (kernel, case) -> what happened
};

// MeasureRows, watched: a row that is noted is dropped, one that does not come back or that the device does not outlive
// becomes a note. Errors: of MeasureRows; then a note is there, and the log says so.
Result<std::vector<TunedRow>> MeasureNoted(Device& device, const Case& c, std::span<const Row* const> rows,
                                           TuneOptions options, TuneGuard& guard, TuneNotes& notes);

}  // namespace unimax
