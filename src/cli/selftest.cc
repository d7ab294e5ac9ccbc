// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "cli/command.h"
#include "cli/selftest_report.h"
#include "device/open.h"
#include "kernels/chain.h"
#include "kernels/check.h"
#include "kernels/cpu/cpu_isa.h"
#include "kernels/table_cpu.h"

namespace unimax {
namespace {

constexpr int kReportRepeats = 10;  // launches of each case that a report times

struct SelftestOptions {
  std::string device = "auto", only, report;
  int repeats = 0;
  bool json = false, check_only_failures = false;
};

bool Wanted(const SelftestOptions& options, std::string_view kernel) {
  return options.only.empty() || kernel.find(options.only) != std::string_view::npos;
}

void Print(const SelftestOptions& options, const KernelResult& r) {
  if (options.json) {
    PrintLine(fmt::format(
        "{{\"bench\": \"kernel\", \"kernel\": \"{}\", \"case\": \"{}\", \"error\": {:.3g}, \"norm\": {:.4g}, "
        "\"tolerance\": {:.3g}, \"us\": {:.2f}, \"pass\": {}}}",
        r.kernel, r.of, r.error, r.norm, r.tolerance, r.microseconds, r.pass));
  } else if (!r.pass || !options.check_only_failures) {
    PrintLine(fmt::format("{:<4} {:<24} {:<44} error {:.2e} of norm {:.3g}, tolerance {:.0e}", r.pass ? "ok" : "BAD",
                          r.kernel, r.of, r.error, r.norm, r.tolerance));
  }
}

// Runs the table's rows and tells each result as it comes. Errors: of the device.
Status WalkGpuTable(const SelftestOptions& options, Device& device, std::vector<KernelResult>* results) {
  const bool timed = !options.report.empty() && !device.limits().target.starts_with("emulator");
  const int repeats = options.repeats == 0 && timed ? kReportRepeats : options.repeats;
  for (const Row& row : GpuRows()) {
    if (!Wanted(options, row.kernel)) continue;
    for (const Case& c : row.cases) {
      if (!RowTakes(row, c, device.limits())) continue;
      UM_ASSIGN_OR_RETURN(const CheckResult r, CheckRow(device, row, c, 11, repeats));
      results->push_back({row.kernel, CaseName(row, c), r.error, r.norm, row.tolerance, r.microseconds,
                          r.error <= row.tolerance && r.norm > 0});
      Print(options, results->back());
    }
  }
  return {};
}

// The same of launches that take several ops.
Status WalkChains(const SelftestOptions& options, Device& device, std::vector<KernelResult>* results) {
  for (const ChainCase& c : ChainCases()) {
    const char* kernel = ChainKernel(DType::kBF16, c.m, device.limits());
    if (kernel == nullptr || !Wanted(options, kernel) || !device.FindKernel(kernel).ok()) continue;
    UM_ASSIGN_OR_RETURN(const CheckResult r, CheckChain(device, c, 11, options.repeats));
    results->push_back({kernel, ChainCaseName(c), r.error, r.norm, kChainTolerance, r.microseconds,
                        r.error <= kChainTolerance && r.norm > 0});
    Print(options, results->back());
  }
  return {};
}

void WalkCpuTable(const SelftestOptions& options, std::vector<KernelResult>* results) {
  const CpuKernels& kernels = KernelsFor(BestIsa());
  for (const CpuRow& row : CpuRows()) {
    for (const CpuCase& c : row.cases) {
      const std::string name = CpuCaseName(row, c);  // "Linear i4_min m=2 n=60 k=576"
      if (!Wanted(options, name)) continue;
      const CpuCheck r = row.check(kernels, row, c, 11);
      const bool good = r.error <= row.tolerance && r.rough <= row.rough_tolerance && r.norm > 0;
      results->push_back({OpName(row.op), name, r.error, r.norm, row.tolerance, r.microseconds, good});
      Print(options, results->back());
    }
  }
}

Status Selftest(const SelftestOptions& options) {
  UM_ASSIGN_OR_RETURN(const DeviceChoice choice, ParseDevice(options.device));
  UM_ASSIGN_OR_RETURN(const OpenedDevice opened, Open(choice));
  NewFile file("report");  // before the work, which takes minutes
  if (!options.report.empty()) UM_RETURN_IF_ERROR(file.Create(options.report));
  Device* const device = opened.device.get();
  ReportInputs found;
  found.only = options.only;
  if (device == nullptr) {
    found.isa = IsaName(BestIsa());
    WalkCpuTable(options, &found.kernels);
  } else {
    found.limits = &device->limits();
    found.stopped = WalkGpuTable(options, *device, &found.kernels);
    if (found.stopped.ok()) found.stopped = WalkChains(options, *device, &found.kernels);
  }
  if (options.report.empty()) UM_RETURN_IF_ERROR(found.stopped);
  if (found.kernels.empty() && found.stopped.ok()) {
    return UsageError("--only {}: no kernel has that in its name", options.only);
  }
  const auto failed = std::ranges::count_if(found.kernels, [](const KernelResult& r) { return !r.pass; });
  const std::string name = device == nullptr ? fmt::format("the CPU ({})", found.isa) : device->limits().name;
  if (!options.json) {
    PrintLine(fmt::format("{} cases agree with the reference, {} do not; {}",
                          static_cast<ptrdiff_t>(found.kernels.size()) - failed, failed, name));
  }
  if (!options.report.empty()) {
    UM_RETURN_IF_ERROR(WriteReport(found, device, file));
    if (!options.json) PrintLine(fmt::format("{}: everything agrees; this is the file to send back", options.report));
    return {};
  }
  return failed == 0 ? Status() : Internal("{} kernel cases differ from the reference on {}", failed, name);
}

}  // namespace

std::unique_ptr<Command> AddSelftest(CLI::App& app) {
  auto command = std::make_unique<CommandOf<SelftestOptions>>(
      app.add_subcommand("selftest", "compare every kernel with the reference on this device"), &Selftest);
  CLI::App* selftest = &command->app();
  SelftestOptions& options = command->options();
  selftest->footer(
      "Examples:\n  unimax selftest\n  unimax selftest --device cuda --time 20 --json\n"
      "  unimax selftest --device emulator64 --only linear\n"
      "  unimax selftest --device hip --report selftest.json      a file to send back\n"
      "The report also checks, tunes and times models of made-up weights; it holds what is printed here about device, "
      "kernels\n"
      "and errors, and no name of a person, machine or folder.\n"
      "Exit status: 0 all agree, 70 some do not, 69 no device, 74 the report cannot be written.");
  selftest->add_option("--device", options.device, "auto, cpu, cuda[:N], hip[:N], emulator or emulator64")
      ->capture_default_str();
  selftest->add_option("--only", options.only, "only kernels whose name contains this");
  selftest->add_option("--report", options.report, "write one JSON file: kernels, models, times, errors");
  selftest->add_option("--time", options.repeats, "timed launches of each case")->capture_default_str();
  selftest->add_flag("--failures", options.check_only_failures, "print only cases that differ");
  selftest->add_flag("--json", options.json, "one JSON line a case");
  return command;
}

}  // namespace unimax
