// SPDX-License-Identifier: Apache-2.0
// Decode steps in one launch (kernels/gpu/stream.h), over the weights, the cache and the step inputs of the graph
// executor, which runs all other steps.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "device/device.h"
#include "exec/executor.h"
#include "exec/norm_folds.h"
#include "exec/stream_plan.h"

namespace unimax {

// What it shares with the executor that owns it; all of it outlives the stream step.
struct StreamShared {
  Device& device;
  const ExecutorOptions& options;
  std::function<const std::byte*(int weight)> weight;
  std::function<const std::byte*(int rope)> cos_sin;
  NormFolds& folds;
  std::byte* k_cache;  // of layer 0, 16-bit elements
  std::byte* v_cache;
  uint64_t layer_bytes;  // from layer to layer
  float* logits;         // [rows, vocab]
  int* chosen;           // [max_outputs] ids of a step; the next one may take them from here, as ids of -1 - k
  int* fault;            // [StreamStep::kFaultWords]: see FaultIn
  bool note_times;       // see Times
};

struct StreamInputs {
  std::span<const int> ids, positions, sequences, rope_rows;  // of each row of the step
  const int* page_table;                                      // on the device
};

// What tells programs apart whose steps take different times: a hash of their ops and shapes.
std::string ProgramKey(const Program& program);

class StreamStep {
 public:
  // `program` is fused as the graph executor fuses it, for bf16. Errors: kUsage where the program or the device is not
  // one for this kernel, with the reason; else those of the device.
  static Result<std::unique_ptr<StreamStep>> Make(const Program& program, const StreamShared& shared);

  explicit StreamStep(const StreamShared& shared) : shared_(shared) {}  // see Make

  int max_rows() const { return max_rows_; }
  // Up to so many rows a step takes less time than op by op, where nothing was measured (docs/performance.md).
  static constexpr int kPaysUpTo = 4;
  uint64_t workspace_bytes() const;
  // Launches a step of 1 .. max_rows() rows, each the newest token of its own sequence. kUsage where the device cannot
  // run all blocks at the same time (any more).
  Status Run(const StreamInputs& inputs);
  // The stages of the last step, once; empty where nothing was noted.
  Result<std::vector<StageTime>> Times();
  // kNoDevice where, by a copy of StreamShared::fault, a block has waited in vain.
  static constexpr int kFaultWords = 4;
  Status FaultIn(const int* fault) const;

 private:
  Status Allocate(const Program& program);
  Status Upload(const Program& program);
  const float* Vector(int weight) const {  // null for -1
    return weight < 0 ? nullptr : reinterpret_cast<const float*>(shared_.weight(weight));
  }
  Status ResetEpochs();

  StreamShared shared_;
  StreamPlan plan_;
  Kernel kernel_;
  int max_rows_ = 1, group_ = 1;  // group_: most query heads of a KV head that the kernel takes
  std::vector<Buffer> words_;
  Buffer stages_, claims_, best_, marks_;
  StreamArgs args_{};
};

}  // namespace unimax
