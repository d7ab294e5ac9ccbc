// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <iterator>

#include "base/log.h"
#include "cli/bench_load.h"
#include "cli/command.h"
#include "engine/measure.h"
#include "exec/read_rate.h"

namespace unimax {
namespace {

struct BenchOptions {
  ModelOptions model;
  std::vector<int> batches = {1}, contexts = {128, 1024};
  int steps = 64;
  std::string name, commit, trace;
  bool json = false, print_plan = false;
  BenchLoadOptions load;
  CLI::Option* requests = nullptr;  // given: load on the engine
};

std::string Today() {
  const std::time_t now = std::time(nullptr);
  std::tm day{};
  gmtime_r(&now, &day);
  return fmt::format("{:04}-{:02}-{:02}", day.tm_year + 1900, day.tm_mon + 1, day.tm_mday);
}

// This process's command line, words joined by spaces; "" where /proc is missing.
std::string CommandLine() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string line((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::replace(line.begin(), line.end(), '\0', ' ');
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

std::string JsonLine(const BenchOptions& options, Model& model, const char* bench, const Measurement& m, double ms,
                     double tokens, double bytes, double rate) {
  const Limits* limits = model.device() != nullptr ? &model.device()->limits() : nullptr;
  std::string line = fmt::format(
      "{{\"bench\": \"{}\", \"model\": {}, \"device\": {}, \"driver\": {}, \"executor\": {}, \"batch\": {}, "
      "\"context\": {}, "
      "\"ms\": {:.4f}, \"tok_s\": {:.1f}",
      bench, JsonString(options.name), JsonString(limits ? limits->name : "CPU"),
      JsonString(limits ? limits->driver : ""), JsonString(model.executor().Describe()), m.batch, m.context, ms,
      tokens / ms * 1e3);
  if (bytes > 0) {
    line += fmt::format(
        ", \"ms_quartiles\": [{:.4f}, {:.4f}], \"gbps\": {:.1f}, \"read_gbps\": {:.1f}, \"roofline_share\": {:.4f}",
        m.decode_low, m.decode_high, bytes / ms * 1e-6, rate * 1e-9, bytes / ms * 1e3 / rate);
    if (m.guard.blocks > 0) {
      line += fmt::format(", \"softmax_blocks\": {}, \"softmax_redone\": {}, \"softmax_redone_share\": {:.6f}",
                          m.guard.blocks, m.guard.redone, m.guard.share());
    }
  }
  return line + fmt::format(", \"commit\": {}, \"date\": \"{}\", \"command\": {}}}", JsonString(options.commit),
                            Today(), JsonString(CommandLine()));
}

// The kernel rows that such steps would take, in place of their times.
Status PrintPlan(const BenchOptions& options, Model& model) {
  for (int context : options.contexts) {
    for (int batch : options.batches) {
      const std::string plan = model.executor().PlanText(batch, batch, context);
      if (plan.empty()) return UsageError("--print-plan: {} has one way for each op", model.executor().Describe());
      PrintLine(fmt::format("decode of {} rows with up to {} tokens:\n{}", batch, context, plan));
    }
    const int tokens = std::min(context, options.model.max_tokens);
    PrintLine(fmt::format("{} tokens of a prompt:\n{}", tokens, model.executor().PlanText(tokens, 0, context)));
  }
  return {};
}

// The parts of the last step of a measurement, a JSON line each; the file is begun anew.
Status WriteTrace(const BenchOptions& options, Model& model, const Measurement& m) {
  UM_ASSIGN_OR_RETURN(const std::vector<StageTime> stages, model.executor().StageTimes());
  if (stages.empty()) return UsageError("--trace: {} took the step op by op", model.executor().Describe());
  std::string text;
  for (const StageTime& s : stages) {
    const double bytes = s.name == "attention" ? m.kv_bytes / model.program().layers : s.bytes;
    text += fmt::format(
        "{{\"stage\": {}, \"batch\": {}, \"context\": {}, \"bytes\": {:.0f}, \"begin_us\": {:.2f}, "
        "\"ready_us\": {:.2f}, \"end_us\": {:.2f}, \"last_us\": {:.2f}, \"fed_us\": {:.2f}}}\n",
        JsonString(s.name), m.batch, m.context, bytes, s.begin, s.ready, s.end, s.last, s.fed);
  }
  std::ofstream file(options.trace, std::ios::trunc);
  file << text;
  return file.flush() ? Status() : IoError("{} cannot be written", options.trace);
}

Status Bench(const BenchOptions& given) {
  BenchOptions options = given;
  if (options.model.model.empty() == options.model.config.empty()) {
    return UsageError("give a model or --config config.json, one of them");
  }
  if (options.name.empty()) options.name = options.model.model.empty() ? options.model.config : options.model.model;
  if (options.json) SetLogLevel(LogLevel::kWarning);
  if (options.requests->count() > 0) {
    options.load.json = options.json;
    options.load.name = options.name;
    options.load.commit = options.commit;
    options.load.date = Today();
    options.load.command = CommandLine();
    return BenchLoad(options.model, options.load);
  }
  const int longest = *std::max_element(options.contexts.begin(), options.contexts.end());
  options.model.sequences = *std::max_element(options.batches.begin(), options.batches.end());
  options.model.context = longest + options.steps;
  options.model.max_tokens = 2048;
  options.model.note_times = !options.trace.empty();
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, LoadModel(options.model, true));
  if (options.print_plan) return PrintPlan(options, *model);
  if (!options.trace.empty() && model->device() == nullptr) {
    return UsageError("--trace: {} takes steps op by op", model->executor().Describe());
  }
  UM_ASSIGN_OR_RETURN(const double rate, ReadRate(model->device(), options.model.threads));
  if (!options.json) {
    PrintLine(fmt::format("{}; read rate {:.1f} GB/s", model->executor().Describe(), rate * 1e-9));
    PrintLine(fmt::format("{:>5} {:>8} {:>12} {:>12} {:>12} {:>10} {:>9}", "batch", "context", "prefill t/s",
                          "decode ms", "decode t/s", "GB/s", "roofline"));
  }
  for (int batch : options.batches) {
    for (int context : options.contexts) {
      UM_RETURN_IF_ERROR(Measure(*model, batch, context, 4).status());  // warms up: kernels, graphs, clocks
      UM_ASSIGN_OR_RETURN(const Measurement m, Measure(*model, batch, context, options.steps));
      if (!options.trace.empty()) UM_RETURN_IF_ERROR(WriteTrace(options, *model, m));
      if (options.json) {
        PrintLine(JsonLine(options, *model, "prefill", m, m.prefill_ms, 1.0 * batch * context, 0, rate));
        PrintLine(JsonLine(options, *model, "decode", m, m.decode_ms, batch, m.bytes, rate));
        continue;
      }
      PrintLine(fmt::format("{:>5} {:>8} {:>12.0f} {:>12.3f} {:>12.1f} {:>10.1f} {:>8.1f}%", batch, context,
                            1e3 * batch * context / m.prefill_ms, m.decode_ms, 1e3 * batch / m.decode_ms,
                            m.bytes / m.decode_ms * 1e-6, 100 * m.bytes / m.decode_ms * 1e3 / rate));
      if (m.guard.blocks > 0) {
        PrintLine(fmt::format("      unified softmax: {} of {} blocks done again ({:.2f} %)", m.guard.redone,
                              m.guard.blocks, 100 * m.guard.share()));
      }
    }
  }
  return {};
}

}  // namespace

std::unique_ptr<Command> AddBench(CLI::App& app) {
  auto command = std::make_unique<CommandOf<BenchOptions>>(
      app.add_subcommand("bench", "time prefill and decode, as a share of the machine's read rate"), &Bench);
  CLI::App* bench = &command->app();
  BenchOptions& options = command->options();
  bench->footer(
      "Examples:\n  unimax bench demo --device cpu --context 128,512\n"
      "  unimax bench --config llama-2-7b.json --device cuda --batch 1,8 --context 1024 --json\n"
      "  unimax bench --config llama-2-7b.json --device cuda --batch 8 --print-plan\n"
      "  unimax bench demo --requests 64 --concurrency 8 --prompt-tokens 128 --new-tokens 64\n"
      "  unimax bench demo --requests 200 --rate 4 --shared-prefix 100 --json\n"
      "Decode times are wall-clock medians of whole steps, from ids to ids; as in the engine, the host has a GPU's "
      "next\n"
      "step already. --config makes random weights on the device. GB/s counts the weights and the cached K and V that "
      "a\n"
      "step must read. With --requests the engine is under load and the figures are those of its clients, in JSON "
      "under\n"
      "the names of vLLM's benchmark.");
  AddModelOptions(*bench, options.model, false);
  bench->remove_option(bench->get_option("--context"));
  bench->add_option("--config", options.model.config, "a config.json: its shape with random weights");
  bench->add_option("--batch", options.batches, "sequences at once, a list")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024));
  bench->add_option("--context", options.contexts, "cached tokens of a sequence, a list")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 24));
  bench->add_option("--steps", options.steps, "decode steps that are timed")
      ->capture_default_str()
      ->check(CLI::Range(4, 100000));
  AddLoadFlags(*bench, options.load);
  options.requests = bench->get_option("--requests");
  bench->add_flag("--print-plan", options.print_plan, "on a GPU: the kernels of such steps, not their times");
  bench->add_option("--trace", options.trace, "a file for the times within a step of one launch, a JSON line a part");
  bench->add_flag("--json", options.json, "one JSON line a result");
  bench->add_option("--name", options.name, "the model's name in the JSON lines");
  bench->add_option("--commit", options.commit, "the commit's name in the JSON lines");
  return command;
}

}  // namespace unimax
