// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "base/clock.h"
#include "base/log.h"
#include "base/new_file.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/tune_guard.h"
#include "cli/tune_notes.h"
#include "cli/tune_peer.h"
#include "cli/tune_steps.h"
#include "cli/tune_tunable.h"
#include "device/open.h"
#include "exec/graph.h"
#include "exec/plan_files.h"
#include "exec/tune_cases.h"
#include "kernels/tune.h"

namespace unimax {
namespace {

constexpr int kMostContext = 4096;  // unless --context says more
constexpr int kStepContext = 1024;  // most cached tokens of whole steps

struct TuneCommand {
  ModelOptions model;
  TuneShapes shapes = {{1, 2, 4, 8, 16, 32, 64}, {128, 256, 512, 1024, 2048}, 0};
  int repeats = 0;
  std::string out, import_from, export_to, arch, anchors;
  PeerCommand peer;
  bool json = false, fresh = false, no_steps = false;
};

void ShowCase(const Progress& progress, size_t done, size_t of, const std::string& what) {
  const double left = done == 0 ? 0 : progress.seconds() / static_cast<double>(done) * static_cast<double>(of - done);
  progress.Show(fmt::format("{} of {} cases, about {:.0f} s left: {}", done, of, left, what));
}

// The table that is replaced: what it has of other cases stays. Empty where there is none that holds here.
PlanFile OldPlan(const std::string& path, const Limits& limits) {
  const Result<PlanFile> old = ReadPlanFor(path, limits);
  if (old.ok()) return *old;
  std::error_code error;
  if (std::filesystem::exists(path, error)) LogInfo("a new plan takes the place of this one: {}", old.status().text());
  return {PlanHeaderOf(limits), {}};
}

void Keep(const PlanEntry& entry, PlanFile* file) {
  const std::string name = PlanCaseName(entry.of);
  const auto old = std::ranges::find_if(file->entries, [&](const PlanEntry& e) { return PlanCaseName(e.of) == name; });
  if (old != file->entries.end()) {
    *old = entry;
  } else {
    file->entries.push_back(entry);
  }
}

std::string RowText(const TunedRow& row) {
  if (!row.dropped.empty()) return fmt::format("{}: dropped, {}", row.row->kernel, row.dropped);
  return fmt::format("{} {:.2f} us", row.row->kernel, row.microseconds);
}

std::string JsonLine(const Limits& limits, const Case& c, const PlanEntry& entry, std::span<const TunedRow> rows) {
  std::string text;
  for (const TunedRow& row : rows) {
    text += fmt::format("{}{{\"row\": \"{}\", \"us\": {:.3f}, \"error\": {:.3g}, \"dropped\": {}}}",
                        text.empty() ? "" : ", ", row.row->kernel, row.microseconds,
                        std::isfinite(row.error) ? row.error : 1e30, JsonString(row.dropped));
  }
  return fmt::format(
      "{{\"bench\": \"tune\", \"device\": {}, \"driver\": {}, \"case\": \"{}\", \"row\": \"{}\", \"us\": {:.3f}, "
      "\"gbps\": {:.1f}, \"second\": \"{}\", \"second_us\": {:.3f}, \"rows\": [{}]}}",
      JsonString(limits.name), JsonString(limits.driver), PlanCaseName(c), entry.kernel, entry.microseconds,
      rows[0].row->bytes(c) / entry.microseconds * 1e-3, entry.second, entry.second_microseconds, text);
}

std::string Line(const Case& c, const PlanEntry& entry, const Row& row, bool other) {
  const std::string second = entry.second.empty()
                                 ? std::string("no other was right")
                                 : fmt::format("next {} {:.2f} us", entry.second, entry.second_microseconds);
  return fmt::format("{:<66} {:<26}{} {:>9.2f} us {:>6.0f} GB/s; {}", PlanCaseName(c), entry.kernel, other ? "*" : " ",
                     entry.microseconds, row.bytes(c) / entry.microseconds * 1e-3, second);
}

// Measures the cases that leave a choice. Errors: of the device.
Status MeasureAll(const TuneCommand& options, Device& device, std::span<const Case> cases, TuneGuard& guard,
                  TuneNotes& notes, PlanFile* plan) {
  const Limits& limits = device.limits();
  const TuneOptions how = TuneOptionsFor(limits, options.repeats);
  const Progress progress(!options.json || isatty(STDOUT_FILENO) == 0);
  if (how.cold && TurnShapeOf(cases.front(), limits, how).sets > 0) {  // the clocks of an idle device rise meanwhile
    const std::vector<const Row*> rows = CandidateRows(cases.front(), limits);
    UM_RETURN_IF_ERROR(MeasureNoted(device, cases.front(), rows, how, guard, notes).status());
  }
  size_t done = 0, chosen = 0, other = 0;
  for (const Case& c : cases) {
    ShowCase(progress, done++, cases.size(), PlanCaseName(c));
    guard.Working(PlanCaseName(c));
    const std::vector<const Row*> rows = CandidateRows(c, limits);
    if (TurnShapeOf(c, limits, how).sets == 0) {
      LogWarning("{} is left out: its data do not fit the free memory", PlanCaseName(c));
      continue;
    }
    Result<std::vector<TunedRow>> tuned = MeasureNoted(device, c, rows, how, guard, notes);
    if (!tuned.ok()) return tuned.status().At(PlanCaseName(c));
    progress.Clear();
    for (const TunedRow& row : *tuned) {
      if (!row.dropped.empty()) LogWarning("{}: {}", PlanCaseName(c), RowText(row));
    }
    const Result<PlanEntry> entry = ChooseRow(c, *tuned);
    if (!entry.ok()) {
      LogWarning("{} is left out: {}", PlanCaseName(c), entry.status().text());
      continue;
    }
    const bool another = entry->kernel != rows.front()->kernel;
    PrintLine(options.json ? JsonLine(limits, c, *entry, *tuned) : Line(c, *entry, *rows.front(), another));
    Keep(*entry, plan);
    ++chosen;
    other += another ? 1 : 0;
  }
  progress.Clear();
  if (chosen == 0) return Internal("no case could be measured on {}", limits.name);
  LogInfo(
      "{} cases measured on {}; in {} of them (*) another row than the built-in order's is "
      "faster",
      chosen, limits.name, other);
  return {};
}

Result<std::string> PlaceOf(const TuneCommand& options, const Limits& limits) {
  if (!options.out.empty()) return options.out;
  const std::string path = PlanPath(limits);
  if (path.empty()) return UsageError("there is no model cache: neither HOME nor XDG_CACHE_HOME is set: give --out");
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::filesystem::create_directories(folder, error);
  if (error) return IoError("{}: cannot make the folder of plans: {}", folder.string(), error.message());
  return path;
}

// The context to measure up to, and the chunks of prompts within it.
Status FitShapes(const Model& model, TuneCommand* options) {
  const int own = std::max(model.config().context, 1);
  options->shapes.context = options->model.context > 0 ? options->model.context : std::min(own, kMostContext);
  if (options->shapes.context > own) {
    return UsageError("--context {} is more than the model's {}", options->shapes.context, own);
  }
  std::erase_if(options->shapes.prompts, [&](int tokens) { return tokens > options->shapes.context; });
  return {};
}

Status Export(TuneCommand& options) {
  if (options.model.model.empty() && options.model.config.empty()) {
    return ExportTunableOp(options.export_to, options.arch, {});
  }
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Open(options.model));
  UM_RETURN_IF_ERROR(FitShapes(*model, &options));
  const DType act = model->DeviceType();
  return ExportTunableOp(options.export_to, options.arch,
                         TuneCases(FuseForGraph(model->program(), act), Limits(), act, options.shapes));
}

// Our products beside a vendor's: of a model's decode steps and prompts, or of the anchors at the batches.
Status Beside(TuneCommand& options, TuneGuard& guard) {
  const bool anchors = !options.anchors.empty();
  if (anchors != (options.model.model.empty() && options.model.config.empty())) {
    return UsageError("--peer {}: give a model, --config config.json or --shapes anchors, one of them",
                      options.peer.peer);
  }
  UM_ASSIGN_OR_RETURN(const DeviceChoice choice, ParseDevice(options.model.device));
  std::unique_ptr<Model> model;
  if (!anchors) {
    UM_ASSIGN_OR_RETURN(model, Model::Open(options.model));
    UM_RETURN_IF_ERROR(FitShapes(*model, &options));
  } else if (options.model.dtype != "auto" && options.model.dtype != "bf16" && options.model.dtype != "f16") {
    return UsageError("--dtype {}: the anchors are products in bf16 or f16", options.model.dtype);
  }
  UM_ASSIGN_OR_RETURN(const OpenedDevice opened, Open(choice));
  LogInfo("{}", opened.why);
  if (opened.device == nullptr) return UsageError("--peer {} is for a GPU: give --device", options.peer.peer);
  UM_RETURN_IF_ERROR(CheckPeer(options.peer.peer, opened.device->limits()));
  std::vector<Case> cases;
  if (anchors) {
    cases = AnchorCases(options.model.dtype == "f16" ? DType::kF16 : DType::kBF16, options.shapes.batches);
  } else {
    const DType act = model->DeviceType();
    std::set<std::string> seen;
    for (const Case& c : TuneCases(FuseForGraph(model->program(), act), opened.device->limits(), act, options.shapes)) {
      if (c.op != OpKind::kLinear) continue;
      // The library's product has no epilogue, so neither has ours.
      const Case plain{.op = c.op, .act = c.act, .m = c.m, .n = c.n, .k = c.k, .bare = true};
      if (seen.insert(PlanCaseName(plain)).second) cases.push_back(plain);
    }
  }
  guard.Watch();
  options.peer.repeats = options.repeats;
  options.peer.json = options.json;
  return ComparePeer(options.peer, *opened.device, cases, guard);
}

// Measures the rows of the model's cases and writes them, among what the plan at `path` has of others.
Status TuneRows(TuneCommand& options, TuneGuard& guard, PlanFile* plan, std::string* path) {
  UM_ASSIGN_OR_RETURN(const DeviceChoice choice, ParseDevice(options.model.device));
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Open(options.model));
  UM_ASSIGN_OR_RETURN(const OpenedDevice opened, Open(choice));
  LogInfo("{}", opened.why);
  if (opened.device == nullptr) return UsageError("the CPU has one row for each op: there is nothing to measure");
  Device& device = *opened.device;
  const Limits& limits = device.limits();
  if (!limits.target.starts_with("emulator")) guard.Watch();
  UM_RETURN_IF_ERROR(FitShapes(*model, &options));
  const DType act = model->DeviceType();
  std::vector<Case> cases = TuneCases(FuseForGraph(model->program(), act), limits, act, options.shapes);
  const size_t all = cases.size();
  std::erase_if(cases, [&](const Case& c) { return !TuneData::Has(c.op) || CandidateRows(c, limits).size() < 2; });
  if (cases.empty()) {
    return UsageError("all {} cases of this model have one row each in {}: there is nothing to measure", all,
                      Info(act).name);
  }
  LogInfo("{} cases, of which {} have several rows to choose from", all, cases.size());
  UM_ASSIGN_OR_RETURN(*path, PlaceOf(options, limits));
  NewFile file("plan");
  UM_RETURN_IF_ERROR(file.Create(*path));
  *plan = options.fresh ? PlanFile{PlanHeaderOf(limits), {}} : OldPlan(*path, limits);
  TuneNotes notes(*path + ".left_out", limits, options.fresh);
  UM_RETURN_IF_ERROR(MeasureAll(options, device, cases, guard, notes, plan));
  UM_RETURN_IF_ERROR(guard.Write([&] { return file.Write(PrintPlan(*plan)); },
                                 "the plan has the rows, but not the steps of this model"));
  LogInfo("{}: {} cases", *path, plan->entries.size());
  return {};
}

// Adds whole steps in one launch and op by op.
Status TuneSteps(const TuneCommand& options, TuneGuard& guard, PlanFile& plan, const std::string& path) {
  ModelOptions model = options.model;
  model.plan = path;
  const int context = std::min(options.shapes.context, kStepContext);
  UM_ASSIGN_OR_RETURN(const std::vector<PlanStep> steps, MeasureSteps(model, options.shapes.batches, context, guard));
  if (steps.empty()) return {};
  for (const PlanStep& step : steps) {
    std::erase_if(plan.steps, [&](const PlanStep& s) {
      return s.program == step.program && s.act == step.act && s.rows == step.rows;
    });
    plan.steps.push_back(step);
    PrintLine(options.json ? fmt::format("{{\"bench\": \"tune_step\", \"program\": \"{}\", \"batch\": {}, "
                                         "\"stream_ms\": {:.4f}, \"graph_ms\": {:.4f}}}",
                                         step.program, step.rows, step.stream_microseconds * 1e-3,
                                         step.graph_microseconds * 1e-3)
                           : fmt::format("steps of {} rows: {:.3f} ms in one launch, {:.3f} ms op by op", step.rows,
                                         step.stream_microseconds * 1e-3, step.graph_microseconds * 1e-3));
  }
  NewFile file("plan");
  UM_RETURN_IF_ERROR(file.Create(path));
  return guard.Write([&] { return file.Write(PrintPlan(plan)); }, "the plan is written");
}

Status Tune(const TuneCommand& given) {
  TuneGuard guard;
  TuneCommand options = given;
  if (options.json) SetLogLevel(LogLevel::kWarning);
  if (!options.import_from.empty()) return ImportTunableOp(options.import_from, options.out);
  if (!options.model.model.empty() && !options.model.config.empty()) {
    return UsageError("give a model or --config config.json, one of them");
  }
  if (!options.export_to.empty()) return Export(options);
  if (!options.anchors.empty() && options.anchors != "anchors") {
    return UsageError("--shapes {}: there is one set of shapes, anchors", options.anchors);
  }
  if (!options.peer.peer.empty()) return Beside(options, guard);
  if (!options.anchors.empty()) return UsageError("--shapes anchors is for --peer");
  if (options.model.model.empty() && options.model.config.empty()) {
    return UsageError("give a model or --config config.json, one of them");
  }
  PlanFile plan;
  std::string path;
  UM_RETURN_IF_ERROR(TuneRows(options, guard, &plan, &path));
  return options.no_steps ? Status() : TuneSteps(options, guard, plan, path);
}

}  // namespace

std::unique_ptr<Command> AddTune(CLI::App& app) {
  auto command = std::make_unique<CommandOf<TuneCommand>>(
      app.add_subcommand("tune", "measure the kernels of a GPU at a model's shapes, and plan by what was measured"),
      &Tune);
  CLI::App* tune = &command->app();
  TuneCommand& options = command->options();
  tune->footer(
      "Examples:\n  unimax tune demo --device cuda\n"
      "  unimax tune --shapes anchors --peer cublas --device cuda\n"
      "  unimax tune --import-tunableop tunableop_results0.csv\n"
      "  unimax tune demo --export-tunableop demo.csv --arch gfx942\n"
      "  unimax tune --config llama-2-7b.json --device cuda --batches 1,8,32 --context 8192 --out h200.plan\n"
      "Every row of the kernel table that fits is compared with the reference and timed with cold caches, in turns. "
      "The\n"
      "table is kept in the model cache, one a device, where all commands find it (--plan none leaves it out); what "
      "it\n"
      "has of other models stays. bench --print-plan shows what it changes. Ctrl-C leaves the old table as it was.\n"
      "Exit status: 0 written, 2 nothing to measure, 69 no device, 74 interrupted or the file cannot be written.");
  tune->add_option("model", options.model.model, "a GGUF or safetensors file, a folder, or a name in the model cache");
  tune->add_option("--config", options.model.config, "a config.json: its shapes");
  tune->add_option("--device", options.model.device, "auto, cuda[:N], hip[:N], emulator or emulator64")
      ->capture_default_str();
  tune->add_option("--dtype", options.model.dtype, "activations: auto, f32, bf16 or f16")->capture_default_str();
  tune->add_option("--batches", options.shapes.batches, "rows of decode steps, a list")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  tune->add_option("--prompts", options.shapes.prompts, "rows of a prompt's chunk, a list; those within the context")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 16));
  tune->add_option("--context", options.model.context, "most cached tokens; 0: the model's, at most 4096")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 24));
  tune->add_option("--repeats", options.repeats, "timed passes of each row; 0: 11, on the emulator 1")
      ->capture_default_str()
      ->check(CLI::Range(0, 10000));
  tune->add_option("--out", options.out, "where the table goes, in place of the model cache");
  tune->add_option("--peer", options.peer.peer,
                   "instead: time products beside a vendor's: cublas, hipblaslt or rocblas");
  tune->add_option("--shapes", options.anchors, "with --peer, in place of a model: anchors, 13 products of 7B and 13B");
  tune->add_option("--choices", options.peer.choices, "with --peer: the library's own suggestions to try")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  tune->add_option("--import-tunableop", options.import_from,
                   "instead: keep the solutions of a CSV of PyTorch's TunableOp for the vendor's products");
  tune->add_option("--export-tunableop", options.export_to,
                   "instead: write such a CSV, of a model's products or of all that is kept")
      ->excludes("--import-tunableop");
  tune->add_option("--arch", options.arch, "the GPU of --export-tunableop, such as gfx942");
  tune->add_flag("--fresh", options.fresh, "drop what the table has of other cases, and try again rows that hung");
  tune->add_flag("--no-steps", options.no_steps, "leave out whole decode steps in one launch and op by op");
  tune->add_flag("--json", options.json, "one JSON line a case");
  return command;
}

}  // namespace unimax
