// SPDX-License-Identifier: Apache-2.0
#include "device/open.h"

#include <charconv>

#include "device/cuda.h"
#include "device/emulator.h"
#include "device/hip.h"

namespace unimax {
namespace {

struct Form {
  std::string_view name;
  DeviceChoice::Kind kind;
  int lanes;
  bool takes_index;
};
constexpr Form kForms[] = {
    {"auto", DeviceChoice::kAuto, 32, false},          {"cpu", DeviceChoice::kCpu, 32, false},
    {"cuda", DeviceChoice::kCuda, 32, true},           {"hip", DeviceChoice::kHip, 32, true},
    {"emulator", DeviceChoice::kEmulator, 32, false},  {"emulator32", DeviceChoice::kEmulator, 32, false},
    {"emulator64", DeviceChoice::kEmulator, 64, false}};
constexpr int kMaxIndex = 1023;  // far above any machine; keeps a typing error readable

// Chosen names the device as --device does.
OpenedDevice Use(std::unique_ptr<Device> device, std::string_view before, std::string_view chosen) {
  const Limits& limits = device->limits();
  std::string driver = limits.driver.empty() ? "" : fmt::format(", driver {}", limits.driver);
  std::string why = fmt::format("{}{} ({}{}): using {}", before, limits.name, limits.target, driver, chosen);
  return {std::move(device), std::move(why)};
}

}  // namespace

Result<DeviceChoice> ParseDevice(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  for (const Form& form : kForms) {
    if (form.name != name) continue;
    DeviceChoice choice{form.kind, 0, form.lanes};
    if (colon == std::string_view::npos) return choice;
    const std::string_view digits = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), choice.index);
    const bool whole = error == std::errc() && end == digits.data() + digits.size();
    if (form.takes_index && whole && choice.index >= 0 && choice.index <= kMaxIndex) return choice;
    break;
  }
  return UsageError("no device is called \"{}\"; use auto, cpu, cuda[:N], hip[:N], emulator or emulator64", text);
}

Result<OpenedDevice> OpenWith(const DeviceChoice& choice, const DeviceOpeners& openers) {
  switch (choice.kind) {
    case DeviceChoice::kCpu:
      return OpenedDevice{nullptr, "using the CPU, as asked"};
    case DeviceChoice::kCuda: {
      UM_ASSIGN_OR_RETURN(auto device, openers.cuda(choice.index));
      return Use(std::move(device), "", fmt::format("cuda:{}, as asked", choice.index));
    }
    case DeviceChoice::kHip: {
      UM_ASSIGN_OR_RETURN(auto device, openers.hip(choice.index));
      return Use(std::move(device), "", fmt::format("hip:{}, as asked", choice.index));
    }
    case DeviceChoice::kEmulator: {
      UM_ASSIGN_OR_RETURN(auto device, openers.emulator(choice.lanes));
      return Use(std::move(device), "", "the emulator, as asked");
    }
    case DeviceChoice::kAuto:
      break;
  }
  auto cuda = openers.cuda(0);
  if (cuda.ok()) return Use(std::move(cuda).value(), "found ", "cuda:0");
  auto hip = openers.hip(0);
  if (hip.ok()) return Use(std::move(hip).value(), fmt::format("{}; found ", cuda.status().text()), "hip:0");
  return OpenedDevice{nullptr, fmt::format("{}; {}: using the CPU", cuda.status().text(), hip.status().text())};
}

Result<OpenedDevice> Open(const DeviceChoice& choice) {
  const auto emulator = [](int lanes) {
    EmulatorOptions options;
    options.lanes = lanes;
    return OpenEmulator(options);
  };
  return OpenWith(choice, {OpenCuda, OpenHip, emulator});
}

}  // namespace unimax
