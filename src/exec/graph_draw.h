// SPDX-License-Identifier: Apache-2.0
// Draws the tokens of a step on the device (kernels/gpu/draw.h), behind the step that has left the largest ones: a part
// of the graph executor.
#pragma once

#include <memory>

#include "device/device.h"
#include "exec/executor.h"

namespace unimax {

class DrawStage {
 public:
  // Null where the device has no kernel for the vocabulary. Errors: of the device.
  static Result<std::unique_ptr<DrawStage>> Make(Device& device, const ExecutorOptions& options, int vocab);
  // What Make takes of the device's memory.
  static uint64_t Bytes(const ExecutorOptions& options);

  DrawStage(Device& device, int vocab, int rows) : device_(device), vocab_(vocab), rows_(rows) {}  // see Make

  // Of a row of Step::draws.
  int most_entries() const;
  // kInternal where a draw names what does not exist; the step before chose `before` ids.
  Status Check(const Step& step, int before) const;
  // Keeps what the step before chose, `count` ids, before the step writes over it.
  Status Keep(const int* chosen, size_t count);
  // Changes `ids`, one for each output, to what the step's draws say.
  Status Run(const Step& step, float* logits, int* ids);

 private:
  Status Allocate();

  Device& device_;
  int vocab_, rows_;
  Buffer draws_, entries_, previous_;
};

}  // namespace unimax
