// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <optional>

#include "base/log.h"
#include "cli/command.h"
#include "engine/generate.h"

namespace unimax {
namespace {

struct RunOptions {
  ModelOptions model;
  GenerateOptions generate;
  std::string prompt;
  std::vector<int> ids;  // instead of a prompt
  bool raw = false, json = false, quiet = false;
  std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();  // of the process
};

// Peak resident memory of this process in bytes, from /proc; 0 where there is none.
uint64_t PeakResident() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stoull(line.substr(6)) * 1024;
  }
  return 0;
}

Status Run(const RunOptions& options) {
  if (options.ids.empty() && options.prompt.empty()) return UsageError("give the prompt: -p \"...\"");
  if (options.quiet || options.json) SetLogLevel(LogLevel::kWarning);
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Load(options.model));
  std::vector<int> prompt = options.ids;
  if (prompt.empty()) {
    UM_ASSIGN_OR_RETURN(prompt, model->EncodePrompt(options.prompt, options.raw));
  }
  for (int id : prompt) {
    if (id < 0 || id >= model->config().vocab)
      return UsageError("id {} is outside the vocabulary of {}", id, model->config().vocab);
  }
  std::optional<StreamDecoder> decoder;  // without a tokenizer the answer is ids alone
  if (model->tokenizer() != nullptr) decoder.emplace(*model->tokenizer(), true);
  std::string text;
  double first_ms = 0;
  const auto show = [&](const std::string& delta) {
    text += delta;
    if (options.json) return;
    std::fwrite(delta.data(), 1, delta.size(), stdout);
    std::fflush(stdout);
  };
  const auto on_token = [&](int id) {
    if (first_ms == 0)
      first_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - options.begin).count();
    if (decoder) show(decoder->Add(id));
  };
  UM_ASSIGN_OR_RETURN(const GenerateResult result, Generate(*model, prompt, options.generate, on_token));
  if (decoder) show(decoder->Flush());

  const int later = static_cast<int>(result.ids.size()) - 1;
  const double prefill_rate = static_cast<double>(prompt.size()) / result.prefill_ms * 1e3;
  const double decode_rate = later > 0 ? later / result.decode_ms * 1e3 : 0.0;
  if (options.json) {
    PrintLine(
        fmt::format("{{\"text\": {}, \"ids\": [{}], \"finish\": \"{}\", \"prompt_tokens\": {}, \"new_tokens\": {}, "
                    "\"prefill_tok_s\": {:.1f}, \"decode_tok_s\": {:.1f}, \"first_token_ms\": {:.1f}, "
                    "\"peak_resident_bytes\": {}, \"kv_bytes\": {}, \"executor\": {}}}",
                    JsonString(text), fmt::join(result.ids, ", "), result.finish, prompt.size(), result.ids.size(),
                    prefill_rate, decode_rate, first_ms, PeakResident(), model->executor().memory().kv,
                    JsonString(model->executor().Describe())));
    return {};
  }
  PrintLine("");
  if (!options.quiet) {
    LogInfo("{} prompt tokens at {:.0f} tok/s, {} new tokens at {:.1f} tok/s, first after {:.0f} ms; {}", prompt.size(),
            prefill_rate, result.ids.size(), decode_rate, first_ms, model->executor().Describe());
  }
  return {};
}

}  // namespace

std::unique_ptr<Command> AddRun(CLI::App& app) {
  auto command = std::make_unique<CommandOf<RunOptions>>(app.add_subcommand("run", "answer one prompt"), &Run);
  CLI::App* run = &command->app();
  RunOptions& options = command->options();
  run->footer(
      "Examples:\n  unimax run demo -p \"Name the capital of France.\"\n"
      "  unimax run model.gguf -p \"Once upon a time\" --raw -n 64 --temperature 0.8 --seed 7\n"
      "  unimax run demo -p hello --device cuda --json");
  AddModelOptions(*run, options.model, true);
  auto* prompt = run->add_option("-p,--prompt", options.prompt, "the user's message");
  run->add_option("--ids", options.ids, "the prompt as token ids, a list")->delimiter(',')->excludes(prompt);
  run->add_option("-n,--max-new-tokens", options.generate.max_new, "tokens of the answer")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 24));
  run->add_option("--temperature", options.generate.temperature, "0: always the likeliest token")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 100.0));
  run->add_option("--seed", options.generate.seed, "of the draws at a temperature above 0")->capture_default_str();
  run->add_flag("--ignore-end", options.generate.ignore_end, "go on after an end token");
  run->add_flag("--raw", options.raw, "the prompt as it is, without the chat template");
  run->add_flag("--json", options.json, "one JSON object instead of text");
  run->add_flag("-q,--quiet", options.quiet, "no log and no statistics");
  return command;
}

}  // namespace unimax
