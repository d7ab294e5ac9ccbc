// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/log.h"
#include "base/new_file.h"
#include "cli/command.h"
#include "cli/input.h"
#include "engine/compare.h"
#include "engine/determinism.h"
#include "engine/perplexity.h"
#include "engine/softmax_bases.h"

namespace unimax {
namespace {

struct EvalOptions {
  ModelOptions model;
  bool check = false, determinism = false, json = false;
  int tokens = 9;
  double tolerance = 0;  // 0: by the precision
  DeterminismOptions equal;
  std::string text;         // a file: its perplexity
  int window = 0;           // 0: 512, or the context where that is less
  std::string scores, out;  // a file whose rows' largest scores are measured; where they go
};

// f32 rows differ by their sum orders; 16-bit and 8-bit activations by their rounding, which grows over the layers.
double DefaultTolerance(const std::string& executor) {
  const auto says = [&](const char* word) { return executor.find(word) != std::string::npos; };
  if (says("F32") || says("f32 weights, f32 KV")) return 1e-4;
  return says("graph") ? 5e-2 : 2e-1;
}

Status Check(const EvalOptions& options) {
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, LoadModel(options.model, true));
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

std::string Row(const char* id, const DeterminismReport::Part& part, const std::string& more) {
  return fmt::format("{} differing_rows={} runs={} rows={} {} {}", id, part.differing, part.runs, part.rows, more,
                     part.differing == 0 ? "PASS" : "FAIL");
}

Status Determinism(const EvalOptions& given) {
  EvalOptions options = given;
  constexpr int kContext = 128;
  options.model.sequences = *std::ranges::max_element(options.equal.batches);
  options.model.deterministic = true;
  if (options.model.context == 0) options.model.context = kContext;
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, LoadModel(options.model, true));
  const std::string described = model->executor().Describe();
  model->DropExecutor();
  // The number of threads is the CPU's affair.
  if (model->device() != nullptr || options.model.executor != "auto") options.equal.threads = {0};
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  const auto progress = [&](int done, int of) {
    if (terminal) std::fprintf(stderr, "\r%d of %d runs", done, of);
  };
  UM_ASSIGN_OR_RETURN(
      const DeterminismReport report,
      CheckDeterminism(
          model->program(), model->limits(), options.equal,
          [&](int threads) { return model->MakeExecutor(model->program(), options.model.executor, threads); },
          progress));
  if (terminal) std::fputc('\n', stderr);
  const int64_t differing = report.batches.differing + report.histories.differing;
  if (options.json) {
    PrintLine(
        fmt::format("{{\"differing_rows\": {}, \"rows\": {}, \"histories\": {}, \"runs\": {}, \"prompts\": {}, "
                    "\"cached_tokens\": {}, \"preemptions\": {}, \"executor\": {}}}",
                    differing, report.batches.rows + report.histories.rows, report.histories_seen,
                    report.batches.runs + report.histories.runs, options.equal.prompts, report.cached_tokens,
                    report.preemptions, JsonString(described)));
  } else {
    PrintLine(Row("D02", report.batches,
                  fmt::format("prompts={} batches={} orders={} threads={}", options.equal.prompts,
                              options.equal.batches.size(), options.equal.orders, options.equal.threads.size())));
    PrintLine(Row("D03", report.histories,
                  fmt::format("chunks={} cached_tokens={} preemptions={}", options.equal.chunks.size(),
                              report.cached_tokens, report.preemptions)));
  }
  if (differing == 0) return {};
  return Internal("{} of {} rows of logits depend on more than their history; {}", differing,
                  report.batches.rows + report.histories.rows, described);
}

// A model that is loaded for a file's text, and that text in windows.
struct WindowedText {
  std::unique_ptr<Model> model;
  std::vector<int> ids;
  int window = 0;
};

Result<WindowedText> LoadForText(ModelOptions options, const std::string& path, int window) {
  constexpr int kWindow = 512;
  constexpr size_t kMostBytes = 64u << 20;
  UM_ASSIGN_OR_RETURN(const std::string text, ReadInput(path, kMostBytes));
  if (window > 0) options.context = window;
  WindowedText all;
  UM_ASSIGN_OR_RETURN(all.model, LoadModel(options, true));
  if (all.model->tokenizer() == nullptr) return BadModel("{} has no tokenizer", options.model);
  all.window = window > 0 ? window : std::min(kWindow, all.model->context());
  all.ids = all.model->text().EncodeText(text, false);
  const int vocab = all.model->config().vocab;
  for (const int id : all.ids) {
    if (id >= vocab) return BadModel("the tokenizer gives id {} of {}", id, vocab);
  }
  return all;
}

Status TextPerplexity(const EvalOptions& given) {
  constexpr int kOutputs = 32;
  EvalOptions options = given;
  options.model.outputs = kOutputs;
  UM_ASSIGN_OR_RETURN(const WindowedText all, LoadForText(options.model, options.text, options.window));
  const auto& [model, ids, window] = all;
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  const auto progress = [&](int done, int of, const Perplexity& so_far) {
    if (terminal) std::fprintf(stderr, "\r%d of %d windows, perplexity %.4f ", done, of, so_far.value);
  };
  UM_ASSIGN_OR_RETURN(const Perplexity p, MeasurePerplexity(*model, ids, model->text().before, window, progress));
  if (terminal) std::fputc('\n', stderr);
  const double rate = static_cast<double>(p.windows) * window / p.seconds;
  PrintLine(
      options.json
          ? fmt::format("{{\"perplexity\": {:.6f}, \"log_loss\": {:.8f}, \"standard_error\": {:.8f}, "
                        "\"tokens\": {}, \"windows\": {}, \"window\": {}, \"seconds\": {:.2f}, \"tok_s\": {:.1f}, "
                        "\"executor\": {}}}",
                        p.value, p.log_loss, p.standard_error, p.tokens, p.windows, window, p.seconds, rate,
                        JsonString(model->executor().Describe()))
          : fmt::format("perplexity {:.4f} (log loss {:.5f} +- {:.5f}) of {} tokens in {} windows of {}, at {:.0f} "
                        "tok/s; {}",
                        p.value, p.log_loss, p.standard_error, p.tokens, p.windows, window, rate,
                        model->executor().Describe()));
  return {};
}

// The bases of the unified softmax, by a text.
Status MeasurePhi(const EvalOptions& given) {
  EvalOptions options = given;
  if (options.out.empty()) return UsageError("--measure-phi: say where the file goes: --out FILE");
  options.model.note_scores = true;
  NewFile file("file of phi");
  UM_RETURN_IF_ERROR(file.Create(options.out));
  UM_ASSIGN_OR_RETURN(const WindowedText all, LoadForText(options.model, options.scores, options.window));
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  const auto progress = [&](int done, int of) {
    if (terminal) std::fprintf(stderr, "\r%d of %d windows", done, of);
  };
  UM_ASSIGN_OR_RETURN(const SoftmaxBases bases, MeasureSoftmaxBases(*all.model, all.ids, all.window, progress));
  if (terminal) std::fputc('\n', stderr);
  UM_RETURN_IF_ERROR(file.Write(PrintSoftmaxBases(bases)));
  const auto [low, high] = std::ranges::minmax(bases.mean);
  const float least = std::ranges::min(bases.least), largest = std::ranges::max(bases.largest);
  const std::string executor = all.model->executor().Describe();
  PrintLine(
      options.json
          ? fmt::format("{{\"layers\": {}, \"kv_heads\": {}, \"tokens\": {}, \"phi\": [{:.4f}, {:.4f}], "
                        "\"largest_scores\": [{:.4f}, {:.4f}], \"file\": {}, \"executor\": {}}}",
                        bases.layers, bases.kv_heads, bases.tokens, low, high, least, largest, JsonString(options.out),
                        JsonString(executor))
          : fmt::format("{}: phi of {} layers with {} KV heads lies between {:.2f} and {:.2f}; the largest scores "
                        "of {} rows between {:.2f} and {:.2f}; {}",
                        options.out, bases.layers, bases.kv_heads, low, high, bases.tokens, least, largest, executor));
  return {};
}

Status Eval(const EvalOptions& options) {
  const int wanted = options.check + options.determinism + !options.text.empty() + !options.scores.empty();
  if (wanted != 1) {
    return UsageError(
        "say what to evaluate, one of: --check compares this device with the reference, op by op; --perplexity FILE "
        "scores a text; --measure-phi FILE finds bases of the unified softmax; --determinism looks for bits that "
        "depend "
        "on the batch");
  }
  if (options.json) SetLogLevel(LogLevel::kWarning);
  if (options.check) return Check(options);
  if (!options.scores.empty()) return MeasurePhi(options);
  return options.determinism ? Determinism(options) : TextPerplexity(options);
}

}  // namespace

std::unique_ptr<Command> AddEval(CLI::App& app) {
  auto command = std::make_unique<CommandOf<EvalOptions>>(
      app.add_subcommand("eval", "check a model's results, score a text"), &Eval);
  CLI::App* eval = &command->app();
  EvalOptions& options = command->options();
  eval->footer(
      "Examples:\n  unimax eval tiny.gguf --check\n  unimax eval tiny.gguf --check --device emulator64 --dtype f32\n"
      "  unimax eval demo --perplexity /usr/share/common-licenses/GPL-3\n"
      "  unimax eval demo --determinism --prompts 20 --orders 2\n"
      "  unimax eval demo --device cuda --measure-phi /usr/share/common-licenses/GPL-3 --out demo.phi\n"
      "Exit status of the checks: 0 all agrees, 70 something differs (it is named).");
  AddModelOptions(*eval, options.model, true);
  eval->add_flag("--check", options.check, "compare every op with the reference, prefix by prefix");
  eval->add_option("--tokens", options.tokens, "tokens of the step")->capture_default_str()->check(CLI::Range(1, 512));
  eval->add_option("--tolerance", options.tolerance, "largest ||a - b|| / ||b||; 0: by the precision")
      ->capture_default_str();
  eval->add_option("--perplexity", options.text, "how well the model foretells the text of a file; -: standard input");
  eval->add_option("--measure-phi", options.scores,
                   "for the unified softmax on a GPU: the largest scores of a text's rows, by layer and KV head");
  eval->add_option("--out", options.out, "the file of --measure-phi");
  eval->add_option("--window", options.window, "tokens of a window, of which the second half is scored (default 512)")
      ->check(CLI::Range(4, 1 << 20));
  eval->add_flag("--determinism", options.determinism,
                 "whether equal histories give equal bits, in batches, orders, chunks and threads of all kinds");
  eval->add_option("--prompts", options.equal.prompts, "of --determinism")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  eval->add_option("--orders", options.equal.orders, "of --determinism: shuffles for each batch and number of threads")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  eval->add_option("--batches", options.equal.batches, "of --determinism: sequences at once, a list")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024));
  eval->add_flag("--json", options.json, "one JSON object instead of text");
  return command;
}

}  // namespace unimax
