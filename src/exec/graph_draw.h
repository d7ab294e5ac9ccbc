// SPDX-License-Identifier: Apache-2.0
// Draws the tokens of a step on the device (kernels/gpu/draw.h), behind the step that has left the largest ones: a part
// of the graph executor.
#pragma once

#include <memory>
#include <span>

#include "device/device.h"
#include "exec/executor.h"
#include "kernels/plan.h"

namespace unimax {

class DrawStage {
 public:
  // Null where the plan leaves draws to the host, or the device has no kernel for the vocabulary. Errors: of the
  // device.
  static Result<std::unique_ptr<DrawStage>> Make(Device& device, const ExecutorOptions& options, int vocab,
                                                 std::span<const ForcedRow> forced);
  // What Make takes of the device's memory.
  static uint64_t Bytes(const ExecutorOptions& options);

  DrawStage(Device& device, const Row& row, int vocab, int rows)  // see Make
      : device_(device), row_(row), vocab_(vocab), rows_(rows) {}

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
  const Row& row_;
  int vocab_, rows_;
  Buffer draws_, entries_, previous_;
};

}  // namespace unimax
