// SPDX-License-Identifier: Apache-2.0
// The commands of the program. Each adds its options to a CLI11 subcommand, made once; Act runs when it was given.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "base/status.h"
#include "engine/model.h"

namespace unimax {

class Command {
 public:
  explicit Command(CLI::App* app) : app_(app) {}
  virtual ~Command() = default;
  CLI::App& app() const { return *app_; }
  // Errors are printed by main as one sentence; their kind is the exit status.
  virtual Status Act() = 0;

 private:
  CLI::App* app_;
};

// A command that is a function of its options, which the subcommand's parser fills.
template <class Options>
class CommandOf : public Command {
 public:
  CommandOf(CLI::App* app, Status (*act)(const Options&)) : Command(app), act_(act) {}
  Options& options() { return options_; }
  Status Act() override { return act_(options_); }

 private:
  Options options_;
  Status (*act_)(const Options&);
};

std::unique_ptr<Command> AddRun(CLI::App& app);
std::unique_ptr<Command> AddChat(CLI::App& app);
std::unique_ptr<Command> AddInspect(CLI::App& app);
std::unique_ptr<Command> AddEval(CLI::App& app);
std::unique_ptr<Command> AddBench(CLI::App& app);
std::unique_ptr<Command> AddSelftest(CLI::App& app);
std::unique_ptr<Command> AddTune(CLI::App& app);
std::unique_ptr<Command> AddTokenize(CLI::App& app);
std::unique_ptr<Command> AddRender(CLI::App& app);
std::unique_ptr<Command> AddVerify(CLI::App& app);

// --device, --isa, --threads, --dtype, --context and the hidden --executor.
void AddModelOptions(CLI::App& app, ModelOptions& options, bool model_required);

// Model::Load, with a line on the terminal about its weights where it takes long and `show` allows it.
Result<std::unique_ptr<Model>> LoadModel(ModelOptions options, bool show);

// `text` as a JSON string, with quotes.
std::string JsonString(const std::string& text);

// Prints one line to stdout and flushes.
void PrintLine(const std::string& line);

}  // namespace unimax
