// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/log.h"
#include "cli/command.h"
#include "engine/compare.h"

namespace unimax {
namespace {

struct EvalOptions {
  ModelOptions model;
  bool check = false, json = false;
  int tokens = 9;
  double tolerance = 0;  // 0: by the precision
};

// f32 rows differ by their sum orders; 16-bit and 8-bit activations by their rounding, which grows over the layers.
double DefaultTolerance(const std::string& executor) {
  const auto says = [&](const char* word) { return executor.find(word) != std::string::npos; };
  if (says("F32") || says("f32 weights, f32 KV")) return 1e-4;
  return says("graph") ? 5e-2 : 2e-1;
}

Status Eval(const EvalOptions& options) {
  if (!options.check)
    return UsageError("say what to evaluate: --check compares this device with the reference, op by op");
  if (options.json) SetLogLevel(LogLevel::kWarning);
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Load(options.model));
  if (options.tokens > model->limits().max_tokens) {
    return UsageError("--tokens {} is more than the context of {}", options.tokens, model->context());
  }
  const double tolerance = options.tolerance > 0 ? options.tolerance : DefaultTolerance(model->executor().Describe());
  std::vector<int> ids;
  for (int i = 0; i < options.tokens; ++i) ids.push_back((1 + 37 * i) % model->config().vocab);
  const Program& program = model->program();
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  const auto progress = [&](int done) {
    if (terminal) std::fprintf(stderr, "\r%d prefixes of %zu ops compared", done, program.ops.size());
  };
  UM_ASSIGN_OR_RETURN(
      const Comparison comparison,
      ComparePrefixes(
          program, model->limits(), ids, [&](const Program& p) { return model->MakeExecutor(p, "auto"); },
          [&](const Program& p) { return model->MakeExecutor(p, "reference"); }, tolerance, progress));
  if (terminal) std::fputc('\n', stderr);
  double worst = 0;
  Difference bad;
  for (const Difference& d : comparison.ops) {
    worst = std::max(worst, d.error);
    if (d.op == comparison.first_bad) bad = d;
  }
  if (comparison.first_bad >= 0) {
    const Op& op = program.ops[static_cast<size_t>(comparison.first_bad)];
    return Internal(
        "op {} ({}, layer {}, writes {}) differs from the reference by {:.3g} (tolerance {:.3g}, norm {:.3g}); {}",
        comparison.first_bad, OpName(op.kind), op.layer, program.values[static_cast<size_t>(op.out)].name, bad.error,
        tolerance, bad.norm, model->executor().Describe());
  }
  PrintLine(options.json
                ? fmt::format("{{\"ops\": {}, \"worst_error\": {:.3g}, \"tolerance\": {:.3g}, \"executor\": {}}}",
                              program.ops.size(), worst, tolerance, JsonString(model->executor().Describe()))
                : fmt::format("{} ops agree with the reference: worst error {:.3g}, tolerance {:.3g}; {}",
                              program.ops.size(), worst, tolerance, model->executor().Describe()));
  return {};
}

}  // namespace

std::unique_ptr<Command> AddEval(CLI::App& app) {
  auto command = std::make_unique<CommandOf<EvalOptions>>(app.add_subcommand("eval", "check a model's results"), &Eval);
  CLI::App* eval = &command->app();
  EvalOptions& options = command->options();
  eval->footer(
      "Examples:\n  unimax eval tiny.gguf --check\n  unimax eval tiny.gguf --check --device emulator64 --dtype f32\n"
      "Exit status: 0 every op agrees, 70 an op differs (it is named).");
  AddModelOptions(*eval, options.model, true);
  eval->add_flag("--check", options.check, "compare every op with the reference, prefix by prefix");
  eval->add_option("--tokens", options.tokens, "tokens of the step")->capture_default_str()->check(CLI::Range(1, 512));
  eval->add_option("--tolerance", options.tolerance, "largest ||a - b|| / ||b||; 0: by the precision")
      ->capture_default_str();
  eval->add_flag("--json", options.json, "one JSON object instead of text");
  return command;
}

}  // namespace unimax
