// SPDX-License-Identifier: Apache-2.0
#include "exec/step_check.h"

namespace unimax {

StepCheck::StepCheck(const Program& program, const ExecutorOptions& options)
    : options_(options), vocab_(program.vocab), second_rope_(program.long_rope_from > 0) {
  for (const Op& op : program.ops) {
    if (op.kind != OpKind::kAddPosition) continue;
    learned_positions_ = program.weights[static_cast<size_t>(op.weight)].rows - op.first;
  }
}

Status StepCheck::operator()(const Step& step, int before) const {
  const size_t tokens = step.ids.size(), outputs = step.outputs.size();
  if (tokens > static_cast<size_t>(options_.max_tokens) || outputs > static_cast<size_t>(options_.max_outputs)) {
    return Internal("a step of {} tokens and {} outputs is larger than its executor", tokens, outputs);
  }
  if (step.positions.size() != tokens || step.sequences.size() != tokens) {
    return Internal("a step has {} ids, {} positions and {} sequences", tokens, step.positions.size(),
                    step.sequences.size());
  }
  if (!step.rope_rows.empty() && step.rope_rows.size() != tokens) {
    return Internal("a step has {} ids and {} rows of the rotary table", tokens, step.rope_rows.size());
  }
  const uint64_t table = static_cast<uint64_t>(options_.max_sequences) * static_cast<uint64_t>(options_.max_pages);
  if (step.page_table.size() > table) {
    return Internal("a step's page table has {} places, its executor {}", step.page_table.size(), table);
  }
  const int sequences = options_.max_pages > 0 ? static_cast<int>(step.page_table.size()) / options_.max_pages : 0;
  for (size_t t = 0; t < tokens; ++t) {
    const int position = step.positions[t], sequence = step.sequences[t];
    if (step.ids[t] < -before || (vocab_ > 0 && step.ids[t] >= vocab_)) {
      return Internal("token {} of a step has id {}", t, step.ids[t]);
    }
    if (sequence < 0 || sequence >= sequences || position < 0 ||
        position / options_.page_tokens >= options_.max_pages) {
      return Internal("token {} of a step has sequence {}, position {}", t, sequence, position);
    }
    // A row may be of the second set: RopeRow.
    const int context = options_.max_pages * options_.page_tokens;
    const int row = step.rope_rows.empty() ? position : step.rope_rows[t];
    if (row != position && !(second_rope_ && row == position + context)) {
      return Internal("token {} of a step has position {}, rotary row {}", t, position, row);
    }
    if (learned_positions_ > 0 && position >= learned_positions_) {
      return Internal("token {} of a step has position {} of {}", t, position, learned_positions_);
    }
    // Rows of a sequence are in order, so the pages up to the last of them are all that is read.
    const bool last = t + 1 == tokens || step.sequences[t + 1] != sequence;
    for (int p = 0; last && p <= position / options_.page_tokens; ++p) {
      const int page = step.page_table[static_cast<size_t>(sequence) * static_cast<size_t>(options_.max_pages) +
                                       static_cast<size_t>(p)];
      if (page < 0 || page >= options_.pages) return Internal("sequence {} of a step has page {}", sequence, page);
    }
  }
  for (int row : step.outputs) {
    if (row < 0 || row >= static_cast<int>(tokens)) return Internal("a step wants the logits of row {}", row);
  }
  return {};
}

}  // namespace unimax
