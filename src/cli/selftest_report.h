// SPDX-License-Identifier: Apache-2.0
// The file that `unimax selftest --report` writes for whoever sends it back: what ran on which device, how far from the
// reference, how fast. It says nothing about the person or the machine's name: no host, user, path or serial number.
#pragma once

#include <string>
#include <vector>

#include "base/new_file.h"
#include "base/status.h"
#include "device/device.h"

namespace unimax {

struct KernelResult {
  std::string kernel, of;  // the case: "m=1 n=64 k=64"
  double error = 0, norm = 0, tolerance = 0, microseconds = 0;
  bool pass = false;
};

struct ReportInputs {
  const Limits* limits = nullptr;  // null: the CPU
  std::string isa;                 // of the CPU
  std::string only;                // what the names of kernels contain
  std::vector<KernelResult> kernels;
  Status stopped;  // what ended the table early
};

// Checks the built-in models, tunes and times one (cli/built_in.h) on the device, null: the CPU; then writes all. What
// failed stands in the file's "errors". Errors, once the file is written: kInternal where results differ, kNoDevice
// where the device failed; kIo where it cannot be written.
Status WriteReport(const ReportInputs& inputs, Device* device, NewFile& file);

}  // namespace unimax
