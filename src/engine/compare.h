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
  std::vector<Difference> ops;  // one for every prefix
  int first_bad = -1;           // index of the first op over the tolerance, -1: none
};

// Runs prefixes [0, 1), [0, 2), ... on both executors over `ids` (a prompt at positions 0, 1, ...) and compares the
// last op's value. Fusion inside an executor cannot hide an op, since each prefix is fused by itself. Stops at the
// first op over `tolerance`. `progress` is called with the number of prefixes done.
Result<Comparison> ComparePrefixes(const Program& program, const ExecutorOptions& limits, const std::vector<int>& ids,
                                   const ExecutorMaker& candidate, const ExecutorMaker& truth, double tolerance,
                                   const std::function<void(int)>& progress);

}  // namespace unimax
