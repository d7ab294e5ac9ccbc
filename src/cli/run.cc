// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>

#include "base/log.h"
#include "cli/command.h"
#include "cli/kept_prompt.h"
#include "cli/sampling_flags.h"
#include "engine/answer.h"
#include "engine/engine.h"
#include "engine/watchdog.h"

namespace unimax {
namespace {

constexpr int kDefaultNewTokens = 128;

struct RunOptions {
  ModelOptions model;
  SamplingFlags sampling;
  std::string prompt;
  std::vector<int> ids;      // instead of a prompt
  std::string prompt_cache;  // a file; "": none
  int choices = 1;
  int best_of = 0;              // of so many draws; 0: the choices are all
  std::optional<int> logprobs;  // best ids beside each token
  bool raw = false, json = false, quiet = false, ignore_end = false;
  Time begin = Engine::Now();  // of the process
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

double Milliseconds(Time from, Time to) { return static_cast<double>(to - from) * 1e-3; }

struct Rates {
  double prefill = 0, decode = 0;  // tokens a second
};

// Of the first answer.
Rates RatesOf(const Answer& answer, size_t prompt) {
  Rates rates;
  const EndEvent& end = answer.end();
  const double prefill_ms = Milliseconds(end.started, answer.first_token());
  const double decode_ms = Milliseconds(answer.first_token(), answer.last_token());
  const double computed = static_cast<double>(prompt) - end.cached_tokens;
  if (prefill_ms > 0) rates.prefill = computed / prefill_ms * 1e3;
  if (decode_ms > 0) rates.decode = static_cast<double>(answer.ids().size() - 1) / decode_ms * 1e3;
  return rates;
}

std::string JsonLogprobs(const Model& model, const Answer& answer) {
  const auto piece = [&](int id) {
    return JsonString(model.tokenizer() != nullptr ? model.tokenizer()->Decode(std::vector<int>{id}, false) : "");
  };
  std::string line = "[";
  for (const Answer::Token& token : answer.tokens()) {
    line += fmt::format("{}{{\"id\": {}, \"text\": {}, \"logprob\": {:.6f}, \"rank\": {}, \"top\": [",
                        line.size() > 1 ? ", " : "", token.id, piece(token.id), token.raw_logprob, token.rank);
    for (size_t i = 0; i < token.top.size(); ++i) {
      line += fmt::format("{}{{\"id\": {}, \"text\": {}, \"logprob\": {:.6f}}}", i > 0 ? ", " : "", token.top[i].id,
                          piece(token.top[i].id), token.top[i].logprob);
    }
    line += "]}";
  }
  return line + "]";
}

std::string JsonAnswer(const RunOptions& options, const Model& model, const Answer& answer) {
  std::string line = fmt::format("\"text\": {}, \"ids\": [{}], \"finish\": \"{}\"", JsonString(answer.text()),
                                 fmt::join(answer.ids(), ", "), answer.finish());
  if (options.best_of > 0) line += fmt::format(", \"mean_logprob\": {:.6f}", answer.mean_logprob());
  if (options.logprobs) line += ", \"logprobs\": " + JsonLogprobs(model, answer);
  return line;
}

void PrintJson(const RunOptions& options, Model& model, const Request& request, int restored,
               const std::vector<std::unique_ptr<Answer>>& answers) {
  const size_t prompt = request.prompt.size();
  const Answer& first = *answers[0];
  const Rates rates = RatesOf(first, prompt);
  std::string line = fmt::format(
      "{{{}, \"prompt_tokens\": {}, \"cached_tokens\": {}, \"new_tokens\": {}, \"prefill_tok_s\": {:.1f}, "
      "\"decode_tok_s\": {:.1f}, "
      "\"first_token_ms\": {:.1f}, \"peak_resident_bytes\": {}, \"kv_bytes\": {}, \"executor\": {}",
      JsonAnswer(options, model, first), prompt, first.end().cached_tokens, first.ids().size(), rates.prefill,
      rates.decode, Milliseconds(options.begin, first.first_token()), PeakResident(), model.executor().memory().kv,
      JsonString(model.executor().Describe()));
  if (!options.prompt_cache.empty()) line += fmt::format(", \"restored_tokens\": {}", restored);
  if (request.sampling.temperature > 0) line += fmt::format(", \"seed\": {}", request.sampling.seed);
  for (size_t i = 0; answers.size() > 1 && i < answers.size(); ++i) {
    line += fmt::format("{}{{{}}}", i == 0 ? ", \"choices\": [" : ", ", JsonAnswer(options, model, *answers[i]));
  }
  PrintLine(line + (answers.size() > 1 ? "]}" : "}"));
}

void PrintText(const RunOptions& options, Model& model, size_t prompt,
               const std::vector<std::unique_ptr<Answer>>& answers) {
  for (size_t i = 0; answers.size() > 1 && i < answers.size(); ++i) {
    PrintLine(fmt::format("{}[{}]\n{}", i > 0 ? "\n" : "", i + 1, answers[i]->text()));
  }
  // The text of one that was drawn alone was shown as it came.
  if (answers.size() == 1) PrintLine(options.best_of > 1 ? answers[0]->text() : "");
  if (options.quiet) return;
  const Rates rates = RatesOf(*answers[0], prompt);
  LogInfo("{} prompt tokens at {:.0f} tok/s, {} new tokens at {:.1f} tok/s, first after {:.0f} ms; {}", prompt,
          rates.prefill, answers[0]->ids().size(), rates.decode, Milliseconds(options.begin, answers[0]->first_token()),
          model.executor().Describe());
  const Result<GuardCount> guard = model.executor().Guard();
  if (guard.ok() && guard->blocks > 0) {
    LogInfo("unified softmax: {} of {} blocks done again ({:.2f} %)", guard->redone, guard->blocks,
            100 * guard->share());
  }
}

// What every choice asks.
Result<Request> RequestOf(const RunOptions& options, const Model& model) {
  Request request;
  request.prompt = options.ids;
  if (request.prompt.empty()) {
    UM_ASSIGN_OR_RETURN(request.prompt, model.EncodePrompt(options.prompt, options.raw));
  }
  for (int id : request.prompt) {
    if (id < 0 || id >= model.config().vocab)
      return UsageError("id {} is outside the vocabulary of {}", id, model.config().vocab);
  }
  UM_ASSIGN_OR_RETURN(request.sampling, SamplingOf(options.sampling, model));
  if (options.best_of > 1 && request.sampling.temperature <= 0) {
    return UsageError("--best-of {}: without --temperature every draw is the same", options.best_of);
  }
  request.sampling.raw_logprobs = options.logprobs.has_value() || options.best_of > 0;
  request.sampling.top_logprobs = options.logprobs.value_or(0);
  UM_ASSIGN_OR_RETURN(request.max_new,
                      MaxNewOf(options.sampling, model, static_cast<int>(request.prompt.size()), kDefaultNewTokens));
  request.ignore_end = options.ignore_end;
  request.sink_stops = !options.sampling.stops.empty();
  return request;
}

Status Run(const RunOptions& given) {
  RunOptions options = given;
  if (options.ids.empty() && options.prompt.empty()) return UsageError("give the prompt: -p \"...\"");
  if (options.quiet || options.json) SetLogLevel(LogLevel::kWarning);
  if (options.best_of > 0 && options.best_of < options.choices) {
    return UsageError("--best-of {} is less than --choices {}", options.best_of, options.choices);
  }
  const int draws = std::max(options.choices, options.best_of);
  options.model.sequences = draws;
  KeptPrompt kept(options.prompt_cache);
  UM_RETURN_IF_ERROR(kept.Create());
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, LoadModel(options.model, !options.quiet));
  UM_ASSIGN_OR_RETURN(const Request request, RequestOf(options, *model));

  const auto show = [&](std::string_view piece) {
    if (options.json || draws > 1) return;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  };
  std::vector<std::unique_ptr<Answer>> answers;
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Start(*model));
  const std::unique_ptr<Watchdog> watchdog = WatchGpu(*model, *engine);
  UM_RETURN_IF_ERROR(kept.Restore(*engine, *model, request.prompt, request.max_new));
  for (int choice = 0; choice < draws; ++choice) {
    answers.push_back(std::make_unique<Answer>(model->tokenizer(), options.sampling.stops, show));
    Request one;
    one.prompt = request.prompt;
    one.max_new = request.max_new;
    one.sampling = request.sampling;
    one.sampling.choice = static_cast<uint32_t>(choice);
    one.ignore_end = request.ignore_end;
    one.sink_stops = request.sink_stops;
    one.sink = answers.back().get();
    UM_RETURN_IF_ERROR(engine->Submit(std::move(one)).status());
  }
  engine->Drain();
  for (const auto& answer : answers) UM_RETURN_IF_ERROR(answer->status());
  if (options.best_of > 0) SortBestFirst(&answers);
  answers.resize(static_cast<size_t>(options.choices));
  if (options.json) {
    PrintJson(options, *model, request, kept.restored(), answers);
  } else {
    PrintText(options, *model, request.prompt.size(), answers);
  }
  return kept.Save(*engine, *model, request.prompt, request.max_new);
}

}  // namespace

std::unique_ptr<Command> AddRun(CLI::App& app) {
  auto command = std::make_unique<CommandOf<RunOptions>>(app.add_subcommand("run", "answer one prompt"), &Run);
  CLI::App* run = &command->app();
  RunOptions& options = command->options();
  run->footer(
      "Examples:\n  unimax run demo -p \"Name the capital of France.\"\n"
      "  unimax run model.gguf -p \"Once upon a time\" --raw -n 64 --temperature 0.8 --top-p 0.9 --seed 7\n"
      "  unimax run demo -p \"Count to ten.\" --stop five\n"
      "  unimax run demo -p \"$(cat long.txt)\" --prompt-cache long.kv\n"
      "  unimax run demo -p hello --device cuda --json --logprobs 3");
  AddModelOptions(*run, options.model, true);
  auto* prompt = run->add_option("-p,--prompt", options.prompt, "the user's message");
  run->add_option("--ids", options.ids, "the prompt as token ids, a list")->delimiter(',')->excludes(prompt);
  AddSamplingFlags(*run, options.sampling);
  KeptPrompt::AddFlag(*run, options.prompt_cache);
  run->add_option("--choices", options.choices, "so many answers, by independent draws")
      ->capture_default_str()
      ->check(CLI::Range(1, 128));
  run->add_option("--best-of", options.best_of, "of so many draws the likeliest by mean log-probability; 0: off")
      ->capture_default_str()
      ->check(CLI::Range(0, 128));
  run->add_option("--logprobs", options.logprobs, "with --json: log-probabilities of each token and of the K best ids")
      ->check(CLI::Range(0, kMaxTopLogprobs));
  run->add_flag("--ignore-end", options.ignore_end, "go on after an end token");
  run->add_flag("--raw", options.raw, "the prompt as it is, without the chat template");
  run->add_flag("--json", options.json, "one JSON object instead of text");
  run->add_flag("-q,--quiet", options.quiet, "no log and no statistics");
  return command;
}

}  // namespace unimax
