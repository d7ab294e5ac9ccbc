// SPDX-License-Identifier: Apache-2.0
// Models that need no file, for `unimax selftest`: small shapes of three families whose weights are a hash of their
// names and places, so that every machine has the same ones. Compared with the reference, and one larger for times.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/layout.h"
#include "base/status.h"
#include "device/device.h"
#include "kernels/tune.h"

namespace unimax {

struct BuiltIn {
  const char* name;
  const char* config;  // config.json
};
std::span<const BuiltIn> BuiltInModels();

struct BuiltInCheck {
  std::string executor;  // as Executor::Describe says it
  int steps = 0, same_ids = 0;
  double error = 0;      // the largest ||logits - reference|| / ||reference|| of a step
  double tolerance = 0;  // 1e-4 in f32, 5e-2 in 16 bits: of rounding, over two layers
  bool pass() const { return error <= tolerance; }
};
// A prompt and decode steps over the reference's ids, in `act` on the device, in f32 on the CPU (`device` null).
// Errors: of the device.
Result<BuiltInCheck> CheckBuiltIn(const BuiltIn& model, Device* device, DType act);

struct BuiltInTimes {
  std::string executor;
  int context = 0;
  double bytes = 0;       // that a decode step must read
  double read_rate = 0;   // bytes a second, of a plain pass over memory in the same process
  double prefill_ms = 0;  // of `context` tokens: median of three
  double decode_ms = 0, decode_low = 0, decode_high = 0;  // one token: median and quartiles
};
// A Llama of random weights, bf16 on a device, larger than its caches.
Result<BuiltInTimes> TimeBuiltIn(Device* device);

struct BuiltInTune {
  Case of;
  std::vector<TunedRow> rows;  // in the order of the table
};
// The rows that the plan may choose among for that Llama, measured as `unimax tune` does, for decode steps of 1, 8 and
// 32 rows and a prompt's chunk; of them the cases with a kernel whose name contains `only`. Errors: of the device.
Result<std::vector<BuiltInTune>> TuneBuiltIn(Device& device, std::string_view only);

}  // namespace unimax
