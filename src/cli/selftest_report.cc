// SPDX-License-Identifier: Apache-2.0
#include "cli/selftest_report.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "cli/built_in.h"

namespace unimax {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFormat = 1;
constexpr DType kPrecisions[] = {DType::kF32, DType::kBF16, DType::kF16};

// An infinite error is a text, which JSON has no number for.
Json Number(double value) { return std::isfinite(value) ? Json(value) : Json("infinite"); }

// Words that look like files could name a person's folders: only their last part stays.
std::string WithoutPaths(const std::string& text) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    size_t end = text.find_first_of(" \t\n\"'():;,", at);
    if (end == std::string::npos) end = text.size();
    const std::string word = text.substr(at, end - at);
    const bool path = word.starts_with('/') || word.starts_with("~/") || word.starts_with("./");
    result += path && word.size() > 1 ? word.substr(word.rfind('/') + 1) : word;
    if (end < text.size()) result += text[end++];
    at = end;
  }
  return result;
}

std::string Month() {
  const std::time_t now = std::time(nullptr);
  std::tm day{};
  gmtime_r(&now, &day);
  return fmt::format("{:04}-{:02}", day.tm_year + 1900, day.tm_mon + 1);
}

Json DeviceOf(const ReportInputs& inputs) {
  if (inputs.limits == nullptr) return {{"name", "CPU"}, {"target", inputs.isa}, {"driver", ""}};
  const Limits& l = *inputs.limits;
  return {{"name", l.name},         {"target", l.target},
          {"driver", l.driver},     {"multiprocessors", l.multiprocessors},
          {"lanes", l.lanes},       {"shared_bytes_per_block", l.shared_bytes_per_block},
          {"l2_bytes", l.l2_bytes}, {"memory_bytes", l.memory_bytes}};
}

Json KernelsOf(const ReportInputs& inputs) {
  Json kernels = Json::array();
  for (const KernelResult& k : inputs.kernels) {
    kernels.push_back({{"kernel", k.kernel},
                       {"case", k.of},
                       {"error", Number(k.error)},
                       {"norm", Number(k.norm)},
                       {"tolerance", k.tolerance},
                       {"us", k.microseconds},
                       {"pass", k.pass}});
  }
  return kernels;
}

// What went wrong, and how the command ends for it.
struct Problems {
  std::vector<std::string> texts;
  ErrorKind kind = ErrorKind::kInternal;
  void Add(const std::string& where, const Status& status) {
    texts.push_back(fmt::format("{}: {}", where, status.text()));
    kind = status.kind();
  }
};

// Each built-in model in each precision.
Json ModelsOf(Device* device, Problems* problems) {
  Json models = Json::array();
  for (const BuiltIn& model : BuiltInModels()) {
    for (const DType act : kPrecisions) {
      if (device == nullptr && act != DType::kF32) continue;  // the CPU's precision follows the file's
      const Result<BuiltInCheck> check = CheckBuiltIn(model, device, act);
      if (!check.ok()) {
        problems->Add(fmt::format("{} in {}", model.name, Info(act).name), check.status());
        continue;
      }
      models.push_back({{"model", model.name},
                        {"precision", Info(act).name},
                        {"executor", check->executor},
                        {"steps", check->steps},
                        {"same_ids", check->same_ids},
                        {"error", Number(check->error)},
                        {"tolerance", check->tolerance},
                        {"pass", check->pass()}});
      if (!check->pass()) {
        problems->texts.push_back(fmt::format("{} in {} differs from the reference by {:.3g} (tolerance {:.0e})",
                                              model.name, Info(act).name, check->error, check->tolerance));
      }
    }
  }
  return models;
}

Json BenchOf(const ReportInputs& inputs, Device* device, Problems* problems) {
  if (inputs.limits != nullptr && inputs.limits->target.starts_with("emulator")) {
    return {{"skipped", "the emulator's times say nothing"}};
  }
  const Result<BuiltInTimes> times = TimeBuiltIn(device);
  if (!times.ok()) {
    problems->Add("bench", times.status());
    return {{"skipped", "it failed"}};
  }
  return {{"executor", times->executor},
          {"context", times->context},
          {"step_bytes", times->bytes},
          {"read_gbps", times->read_rate * 1e-9},
          {"prefill_ms", times->prefill_ms},
          {"decode_ms", times->decode_ms},
          {"decode_ms_quartiles", {times->decode_low, times->decode_high}},
          {"roofline_share", times->bytes / times->decode_ms * 1e3 / times->read_rate}};
}

// The kernels that the plan may choose among, measured against each other.
Json TuneOf(const ReportInputs& inputs, Device* device, Problems* problems) {
  Json cases = Json::array();
  if (device == nullptr) return cases;  // the CPU has one row for each op
  const Result<std::vector<BuiltInTune>> tuned = TuneBuiltIn(*device, inputs.only);
  if (!tuned.ok()) {
    problems->Add("tune", tuned.status());
    return cases;
  }
  for (const BuiltInTune& c : *tuned) {
    Json rows = Json::array();
    for (const TunedRow& row : c.rows) {
      rows.push_back({{"kernel", row.row->kernel}, {"us", row.microseconds}, {"error", Number(row.error)}});
      if (row.dropped.empty()) continue;
      rows.back()["dropped"] = row.dropped;
      problems->texts.push_back(fmt::format("tune {}: {}: {}", PlanCaseName(c.of), row.row->kernel, row.dropped));
    }
    cases.push_back({{"case", PlanCaseName(c.of)}, {"rows", rows}});
  }
  return cases;
}

}  // namespace

Status WriteReport(const ReportInputs& inputs, Device* device, NewFile& file) {
  Problems problems;
  for (const KernelResult& k : inputs.kernels) {
    if (k.pass) continue;
    problems.texts.push_back(fmt::format("kernel {} {} differs from the reference by {:.3g}", k.kernel, k.of, k.error));
  }
  if (!inputs.stopped.ok()) problems.Add("kernel table", inputs.stopped);
  Json report = {{"report", "unimax selftest"}, {"format", kFormat}, {"version", UM_VERSION}, {"date", Month()}};
  report["device"] = DeviceOf(inputs);
  report["kernels"] = KernelsOf(inputs);
  report["models"] = ModelsOf(device, &problems);
  report["tune"] = TuneOf(inputs, device, &problems);
  report["bench"] = BenchOf(inputs, device, &problems);
  std::vector<std::string>& errors = problems.texts;
  for (std::string& error : errors) error = WithoutPaths(error);
  report["errors"] = errors;
  report["pass"] = errors.empty();
  UM_RETURN_IF_ERROR(file.Write(report.dump(1, ' ', false, Json::error_handler_t::replace) + "\n"));
  if (errors.empty()) return Status();
  return Status(problems.kind,
                fmt::format("{} checks failed, the first: {}; {} tells all", errors.size(), errors[0], file.path()));
}

}  // namespace unimax
