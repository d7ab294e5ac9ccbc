// SPDX-License-Identifier: Apache-2.0
// `bench --requests`: load on the engine instead of steps on the executor.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "engine/load.h"
#include "engine/model.h"

namespace unimax {

struct BenchLoadOptions {
  LoadOptions load;
  int sequences = 0;    // in steps at the same time; 0: the concurrency, or 64
  int step_tokens = 0;  // of a step; 0: 512 on the CPU, 2048 on a GPU
  bool json = false;
  std::string name, commit, date, command;
};

void AddLoadFlags(CLI::App& app, BenchLoadOptions& options);
// Loads the model for this load and prints what came of it.
Status BenchLoad(const ModelOptions& model, BenchLoadOptions options);

}  // namespace unimax
