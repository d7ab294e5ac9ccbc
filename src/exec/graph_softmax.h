// SPDX-License-Identifier: Apache-2.0
// What the graph executor keeps for rows with the unified softmax (kernels/gpu/softmax.h): the bases of the exponent,
// how often its guard spoke, and, to find bases, the largest scores of a step.
#pragma once

#include <vector>

#include "device/device.h"
#include "exec/executor.h"
#include "exec/graph.h"
#include "kernels/args.h"
#include "kernels/table.h"
#include "program/program.h"

namespace unimax {

class GraphSoftmax {
 public:
  // Takes its memory here. Errors: of the device; kUsage for bases of another number than layers times KV heads, and
  // for noted scores in another type than bf16.
  static Result<GraphSoftmax> Make(Device& device, const Program& program, const ExecutorOptions& options,
                                   const GraphOptions& graph);

  // What a layer's attention is given: by its arguments, whatever its row.
  void AddTo(AttentionArgs* args, int layer) const;
  // The launch that notes the largest scores of an attention op, whose arguments speak of all rows of a step.
  Result<Launch> NoteScores(const AttentionArgs& args, int layer) const;
  bool notes_scores() const { return scores_.bytes() > 0; }

  // Blocks of a launch whose guard may speak: 0 for other rows than the unified ones.
  static int64_t GuardedBlocks(const Row& row, const Launch& launch);
  void Ran(int64_t guarded_blocks) { blocks_ += guarded_blocks; }
  Result<GuardCount> Count() const;  // since Make
  // Of the last step, [layers, tokens, heads]; empty where none are noted.
  Result<std::vector<float>> Scores(int tokens) const;

 private:
  Device* device_ = nullptr;
  int layers_ = 0, heads_ = 0, kv_heads_ = 0, max_tokens_ = 0;
  Buffer phi_;     // f32 [layers, KV heads], or nothing: 0 for all
  Buffer redone_;  // one int
  Buffer scores_;  // f32 [layers, max_tokens, heads], or nothing
  int64_t blocks_ = 0;
};

}  // namespace unimax
