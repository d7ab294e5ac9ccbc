// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_load.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/command.h"
#include "engine/watchdog.h"

namespace unimax {
namespace {

constexpr int kMostSequences = 64;

// The fields that vLLM's benchmark writes for one of its measures.
std::string JsonFields(const char* name, const Summary& s) {
  return fmt::format(
      ", \"mean_{0}_ms\": {1:.3f}, \"median_{0}_ms\": {2:.3f}, \"std_{0}_ms\": {3:.3f}, \"p90_{0}_ms\": {4:.3f}, "
      "\"p99_{0}_ms\": {5:.3f}",
      name, s.mean, s.median, s.std, s.p90, s.p99);
}

std::string JsonLine(const BenchLoadOptions& o, Model& model, const LoadResult& r) {
  const Limits* limits = model.device() != nullptr ? &model.device()->limits() : nullptr;
  const double input = static_cast<double>(r.input_tokens), output = static_cast<double>(r.output_tokens);
  std::string line = fmt::format(
      "{{\"bench\": \"load\", \"backend\": \"unimax\", \"model\": {}, \"model_id\": {}, \"device\": {}, \"executor\": "
      "{}, "
      "\"num_prompts\": {}, \"request_rate\": {}, \"burstiness\": 1.0, \"max_concurrency\": {}, \"prompt_tokens\": {}, "
      "\"new_tokens\": {}, "
      "\"shared_prefix\": {}, \"seed\": {}",
      JsonString(o.name), JsonString(o.name), JsonString(limits ? limits->name : "CPU"),
      JsonString(model.executor().Describe()), o.load.requests,
      o.load.rate > 0 ? fmt::format("{}", o.load.rate) : "\"inf\"",
      o.load.concurrency > 0 ? fmt::format("{}", o.load.concurrency) : "null", o.load.prompt_tokens, o.load.new_tokens,
      o.load.shared_prefix, o.load.seed);
  line += fmt::format(
      ", \"duration\": {:.4f}, \"completed\": {}, \"failed\": {}, \"total_input_tokens\": {}, "
      "\"total_output_tokens\": {}, \"cached_input_tokens\": {}, \"request_throughput\": {:.4f}, "
      "\"output_throughput\": {:.2f}, \"total_token_throughput\": {:.2f}, \"max_concurrent_requests\": {}",
      r.seconds, r.completed, r.failed, r.input_tokens, r.output_tokens, r.cached_tokens, r.completed / r.seconds,
      output / r.seconds, (input + output) / r.seconds, r.max_concurrent);
  line +=
      JsonFields("ttft", r.ttft) + JsonFields("tpot", r.tpot) + JsonFields("itl", r.itl) + JsonFields("e2el", r.e2el);
  return line + fmt::format(", \"ids_hash\": \"{:016x}\", \"commit\": {}, \"date\": \"{}\", \"command\": {}}}",
                            r.ids_hash, JsonString(o.commit), o.date, JsonString(o.command));
}

void PrintTable(Model& model, const LoadResult& r) {
  PrintLine(fmt::format("{}; {} requests in {:.2f} s, {} failed, at most {} at once", model.executor().Describe(),
                        r.completed, r.seconds, r.failed, r.max_concurrent));
  PrintLine(fmt::format("requests {:.2f}/s; output {:.1f} tok/s; all {:.1f} tok/s; {} of {} prompt tokens cached",
                        r.completed / r.seconds, static_cast<double>(r.output_tokens) / r.seconds,
                        static_cast<double>(r.input_tokens + r.output_tokens) / r.seconds, r.cached_tokens,
                        r.input_tokens));
  PrintLine(fmt::format("{:<28} {:>10} {:>10} {:>10} {:>10}", "milliseconds", "mean", "median", "p90", "p99"));
  const struct {
    const char* name;
    const Summary& s;
  } rows[] = {{"time to first token", r.ttft},
              {"time per output token", r.tpot},
              {"between tokens", r.itl},
              {"whole request", r.e2el}};
  for (const auto& row : rows) {
    PrintLine(fmt::format("{:<28} {:>10.2f} {:>10.2f} {:>10.2f} {:>10.2f}", row.name, row.s.mean, row.s.median,
                          row.s.p90, row.s.p99));
  }
}

}  // namespace

void AddLoadFlags(CLI::App& app, BenchLoadOptions& options) {
  const std::string group = "Load on the engine";
  LoadOptions& load = options.load;
  const auto count = [&](const char* name, int& value, const char* text, int low) {
    return app.add_option(name, value, text)->check(CLI::Range(low, 1 << 24))->group(group);
  };
  count("--requests", load.requests, "so many requests of random ids, through scheduler and sampler", 1);
  app.add_option("--rate", load.rate, "arrivals a second, Poisson; 0: all at once")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e6))
      ->group(group);
  count("--concurrency", load.concurrency, "requests at the same time at most; 0: no bound", 0)->capture_default_str();
  count("--prompt-tokens", load.prompt_tokens, "of each prompt", 1)->capture_default_str();
  count("--new-tokens", load.new_tokens, "of each answer", 1)->capture_default_str();
  app.add_option("--spread", load.spread, "lengths vary by this share around their mean")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0))
      ->group(group);
  count("--shared-prefix", load.shared_prefix, "first tokens that all prompts have in common", 0)
      ->capture_default_str();
  app.add_option("--temperature", load.temperature, "0: always the likeliest token")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 100.0))
      ->group(group);
  count("--top-k", load.top_k, "of draws; 0: all tokens", 0)->capture_default_str();
  app.add_option("--top-p", load.top_p, "of draws; 1: all tokens")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0))
      ->group(group);
  app.add_option("--seed", load.seed, "of ids, lengths, arrivals and draws")->capture_default_str()->group(group);
  count("--sequences", options.sequences, "in a step at most; 0: as --concurrency, at most 64", 0)
      ->capture_default_str();
  count("--step-tokens", options.step_tokens, "of a step at most; 0: 512 on the CPU, 2048 on a GPU", 0)
      ->capture_default_str();
}

Status BenchLoad(const ModelOptions& given, BenchLoadOptions options) {
  const LoadOptions& load = options.load;
  if (load.shared_prefix >= load.prompt_tokens) {
    return UsageError("--shared-prefix {} must be less than --prompt-tokens {}", load.shared_prefix,
                      load.prompt_tokens);
  }
  ModelOptions model_options = given;
  const int together = load.concurrency > 0 ? load.concurrency : load.requests;
  model_options.sequences = options.sequences > 0 ? options.sequences : std::min(together, kMostSequences);
  const double longest = (load.prompt_tokens + load.new_tokens) * (1 + load.spread) + 2;
  model_options.context = static_cast<int>(std::ceil(longest));
  const bool gpu = given.device.starts_with("cuda") || given.device.starts_with("hip") || given.device == "auto";
  model_options.max_tokens = options.step_tokens > 0 ? options.step_tokens : gpu ? 2048 : 512;
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, LoadModel(model_options, true));
  EngineOptions engine_options;
  engine_options.scheduler = SchedulerOptionsFor(model->limits());
  engine_options.scope = model->prefix_scope();
  if (options.step_tokens > 0) engine_options.scheduler.max_step_prefill = model->limits().max_tokens;
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                      Engine::Start(model->executor(), model->limits(), model->program(), engine_options));
  const std::unique_ptr<Watchdog> watchdog = WatchGpu(*model, *engine);
  const bool terminal = isatty(STDERR_FILENO) != 0;
  const auto progress = [&](int done, int of) {
    if (terminal) std::fprintf(stderr, "\r%d of %d requests", done, of);
  };
  UM_ASSIGN_OR_RETURN(const LoadResult result, RunLoad(*engine, model->config().vocab, load, progress));
  if (terminal) std::fputc('\n', stderr);
  if (options.json) {
    PrintLine(JsonLine(options, *model, result));
  } else {
    PrintTable(*model, result);
  }
  if (result.failed > 0) return Internal("{} of {} requests failed: {}", result.failed, load.requests, result.error);
  return {};
}

}  // namespace unimax
