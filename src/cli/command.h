// SPDX-License-Identifier: Apache-2.0
// The commands of the program. Each adds its options to a CLI11 subcommand and returns the process's exit status.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "base/status.h"
#include "engine/model.h"

namespace unimax {

// A command: its subcommand is made once, `act` runs when it was given. Errors are printed by main as one sentence.
struct Command {
  CLI::App* app = nullptr;
  std::function<Status()> act;
};

Command AddRun(CLI::App& app);
Command AddInspect(CLI::App& app);
Command AddEval(CLI::App& app);
Command AddBench(CLI::App& app);
Command AddSelftest(CLI::App& app);

// --device, --isa, --threads, --dtype, --context and the hidden --executor.
void AddModelOptions(CLI::App& app, ModelOptions& options, bool model_required);

// `text` as a JSON string, with quotes.
std::string JsonString(const std::string& text);

// Prints one line to stdout and flushes.
void PrintLine(const std::string& line);

}  // namespace unimax
