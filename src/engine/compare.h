// SPDX-License-Identifier: Apache-2.0
// Finds the first op whose result differs between two executors, by running longer and longer prefixes of the program.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "exec/executor.h"
#include "program/program.h"

namespace unimax {

using ExecutorMaker = std::function<Result<std::unique_ptr<Executor>>(const Program&)>;

struct Difference {
  int op = 0;        // index in the program
  double error = 0;  // ||a - b|| / ||b||; infinity where a value is not finite
  double norm = 0;   // ||b||
};

struct Comparison {
  std::vector<Difference> ops;  // one for every prefix that was run, in the order of running
  int first_bad = -1;           // index of the first op over the tolerance, -1: none
};

inline constexpr int kEveryPrefix = 64;  // longer programs are halved instead of walked

// Runs prefixes of the program on both executors over `ids` (a prompt at positions 0, 1, ...) and compares the last
// op's value: every prefix of a short program, of a longer one the whole and then halves around the first bad op.
// Fusion inside an executor cannot hide an op, since each prefix is fused by itself. `progress` is called with the
// number of prefixes done.
Result<Comparison> ComparePrefixes(const Program& program, const ExecutorOptions& limits, const std::vector<int>& ids,
                                   const ExecutorMaker& candidate, const ExecutorMaker& truth, double tolerance,
                                   const std::function<void(int)>& progress);

}  // namespace unimax
