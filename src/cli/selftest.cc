// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/command.h"
#include "device/open.h"
#include "kernels/check.h"

namespace unimax {
namespace {

struct SelftestOptions {
  std::string device = "auto", only;
  int repeats = 0;
  bool json = false, check_only_failures = false;
};

Status Selftest(const SelftestOptions& options) {
  UM_ASSIGN_OR_RETURN(const DeviceChoice choice, ParseDevice(options.device));
  UM_ASSIGN_OR_RETURN(const OpenedDevice opened, Open(choice));
  if (opened.device == nullptr) return NoDevice("the kernel table needs a GPU or the emulator: {}", opened.why);
  Device& device = *opened.device;
  int passed = 0, failed = 0;
  for (const Row& row : GpuRows()) {
    if (!options.only.empty() && std::string_view(row.kernel).find(options.only) == std::string_view::npos) continue;
    for (const Case& c : row.cases) {
      if (!RowTakes(row, c, device.limits())) continue;
      UM_ASSIGN_OR_RETURN(const CheckResult result, CheckRow(device, row, c, 11, options.repeats));
      const bool good = result.error <= row.tolerance && result.norm > 0;
      (good ? passed : failed) += 1;
      if (options.json) {
        PrintLine(fmt::format(
            "{{\"bench\": \"kernel\", \"kernel\": \"{}\", \"case\": \"{}\", \"error\": {:.3g}, \"norm\": {:.4g}, "
            "\"tolerance\": {:.3g}, \"us\": {:.2f}, \"pass\": {}}}",
            row.kernel, CaseName(row, c), result.error, result.norm, row.tolerance, result.microseconds, good));
      } else if (!good || !options.check_only_failures) {
        PrintLine(fmt::format("{:<4} {:<24} {:<44} error {:.2e} of norm {:.3g}, tolerance {:.0e}", good ? "ok" : "BAD",
                              row.kernel, CaseName(row, c), result.error, result.norm, row.tolerance));
      }
    }
  }
  if (passed + failed == 0) return UsageError("--only {}: no kernel has that in its name", options.only);
  if (!options.json)
    PrintLine(fmt::format("{} cases agree with the reference, {} do not; {}", passed, failed, device.limits().name));
  return failed == 0 ? Status()
                     : Internal("{} kernel cases differ from the reference on {}", failed, device.limits().name);
}

}  // namespace

std::unique_ptr<Command> AddSelftest(CLI::App& app) {
  auto command = std::make_unique<CommandOf<SelftestOptions>>(
      app.add_subcommand("selftest", "compare every GPU kernel with the reference on this device"), &Selftest);
  CLI::App* selftest = &command->app();
  SelftestOptions& options = command->options();
  selftest->footer(
      "Examples:\n  unimax selftest\n  unimax selftest --device cuda --time 20 --json\n"
      "  unimax selftest --device emulator64 --only linear\nExit status: 0 all agree, 70 some do not, 69 no device.");
  selftest->add_option("--device", options.device, "auto, cuda[:N], hip[:N], emulator or emulator64")
      ->capture_default_str();
  selftest->add_option("--only", options.only, "only kernels whose name contains this");
  selftest->add_option("--time", options.repeats, "timed launches of each case")->capture_default_str();
  selftest->add_flag("--failures", options.check_only_failures, "print only cases that differ");
  selftest->add_flag("--json", options.json, "one JSON line a case");
  return command;
}

}  // namespace unimax
