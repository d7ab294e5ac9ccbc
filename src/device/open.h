// SPDX-License-Identifier: Apache-2.0
// Which device a process runs on: the value of --device, and opening it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "device/device.h"

namespace unimax {

struct DeviceChoice {
  enum Kind { kAuto, kCpu, kCuda, kHip, kEmulator };
  Kind kind = kAuto;
  int index = 0;   // kCuda, kHip: counts the driver's devices
  int lanes = 32;  // kEmulator: 32 or 64
};

// Reads "auto", "cpu", "cuda", "cuda:1", "hip", "hip:1", "emulator" or "emulator64". Errors: kUsage with these forms.
Result<DeviceChoice> ParseDevice(std::string_view text);

struct OpenedDevice {
  std::unique_ptr<Device> device;  // null: the CPU
  std::string why;                 // one line for the log: what was found, what was chosen and why
};

// kAuto takes an NVIDIA GPU, then an AMD GPU, then the CPU, and cannot fail. A device that was named must be usable:
// kNoDevice says why it is not.
Result<OpenedDevice> Open(const DeviceChoice& choice);

// How each kind is opened; Open uses the ones of this build.
struct DeviceOpeners {
  std::function<Result<std::unique_ptr<Device>>(int index)> cuda, hip;
  std::function<Result<std::unique_ptr<Device>>(int lanes)> emulator;
};
Result<OpenedDevice> OpenWith(const DeviceChoice& choice, const DeviceOpeners& openers);

}  // namespace unimax
