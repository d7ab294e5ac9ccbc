// SPDX-License-Identifier: Apache-2.0
// An executor runs a program: one forward pass over a step's tokens, against a paged KV cache that it owns.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "kernels/draw_args.h"
#include "program/program.h"

namespace unimax {

// One forward pass. Rows of one sequence stand together, in the order of their positions.
struct Step {
  std::span<const int> ids;             // [T] token ids in [0, vocab); -1 - k: what the step before chose at output k
  std::span<const int> positions;       // [T] position of each token in its sequence, from 0
  std::span<const int> sequences;       // [T] row of the page table
  std::span<const int> page_table;      // [sequences, max_pages]: page number of each run of page_tokens positions
  std::span<const int> outputs;         // [O] rows whose logits are wanted
  std::span<const int> rope_rows = {};  // [T] row of the rotary table, as RopeRow says; empty: the positions
  // Where the executor draws: [O] how each output's id is chosen, or empty: the largest logits; and what they point to.
  std::span<const DrawRow> draws = {};
  std::span<const DrawEntry> draw_entries = {};
};

// Hears how many bytes of the weights have come where they are used, of how many; all of them last.
using LoadingProgress = std::function<void(uint64_t done, uint64_t of)>;

struct ExecutorOptions {
  int max_tokens = 512;  // largest T of a step
  int max_outputs = 16;  // largest O
  int max_sequences = 16;
  int page_tokens = 32;          // positions a page
  int pages = 0;                 // pages of the pool
  int max_pages = 0;             // pages of the longest sequence (width of the page table)
  LoadingProgress loading = {};  // while the executor is made; null: nobody listens
};

// The row of the rotary table for `position` of a sequence that is planned to be `length` tokens long (prompt and most
// new tokens). Where a program has two sets of frequencies, the second lies behind the first, which has one row for
// each position of the longest sequence.
inline int RopeRow(const Program& program, const ExecutorOptions& options, int position, int length) {
  const bool second = program.long_rope_from > 0 && length > program.long_rope_from;
  return position + (second ? options.max_pages * options.page_tokens : 0);
}

// The id that an element of Step::ids means, given what the step before chose. Where that was not finite, any id does:
// what comes of such a row is thrown away.
inline int StepId(int id, std::span<const int> previous) {
  return id >= 0 ? id : std::max(previous[static_cast<size_t>(-1 - id)], 0);
}

struct MemoryUse {
  uint64_t weights = 0, kv = 0, workspace = 0;  // bytes
};

// A part of a step that was noted while it ran: times in us since the step began, over all blocks of a device.
struct StageTime {
  std::string name;             // "linear 12288x4096"
  double bytes = 0;             // of weights
  double begin = 0, ready = 0;  // means: ready when its input was there
  double end = 0, last = 0;     // mean, and the last block's
  double fed = 0;               // mean: all of its weights had been asked for
};

// Blocks of attention that took the unified softmax, and how many of them its guard made do their tokens again.
struct GuardCount {
  int64_t blocks = 0, redone = 0;
  double share() const { return blocks > 0 ? static_cast<double>(redone) / static_cast<double>(blocks) : 0; }
};

class Executor {
 public:
  virtual ~Executor() = default;
  // Runs the program's ops. Afterwards the values of the last step can be read until the next Run.
  virtual Status Run(const Step& step) = 0;
  // The sampled ids of the last step, one for each output row; -1 where a logit was not finite, or no id was left.
  virtual Result<std::span<const int>> Ids() = 0;
  // The same of the step before the last, which may still be running: waits for the former alone.
  virtual Result<std::span<const int>> PreviousIds() = 0;
  // Whether Run returns before the step has ended, so that the next one may be planned and launched meanwhile.
  virtual bool runs_ahead() const { return false; }
  // The most entries of a row of Step::draws; -1: the executor takes the largest logits alone, and ignores draws.
  virtual int draw_entries() const { return -1; }
  // Logits of output row `row`, [vocab], valid until the next call.
  virtual Result<std::span<const float>> Logits(int row) = 0;
  // Any value of the program as f32, [rows, cols], for `eval --check`. Only the output of the last op is sure to hold.
  virtual Result<std::vector<float>> Read(int value) = 0;
  virtual MemoryUse memory() const = 0;
  // A page of the cache as bytes, for those who keep it beyond the process: keys and values of all layers, in the
  // executor's own order. To read waits for all that was launched; to write comes before all that will be. 0: it has no
  // pages to give.
  virtual uint64_t page_bytes() const { return 0; }
  virtual Status ReadPage(int /*page*/, std::span<std::byte> /*to: [page_bytes]*/) { return Internal("no pages"); }
  virtual Status WritePage(int /*page*/, std::span<const std::byte> /*from*/) { return Internal("no pages"); }
  // One line that names all of the executor that decides those bytes, given weights, program and ids: the order and the
  // type of the elements, and who computes them how. Only between equal forms may pages pass.
  virtual std::string PageForm() const { return Describe(); }
  // The kernels of a step of `tokens` rows, of which the first `decodes` are each alone in their sequence, with at most
  // `context` cached tokens: a line each, for people. Empty where an executor has no such choice.
  virtual std::string PlanText(int /*tokens*/, int /*decodes*/, int /*context*/) const { return ""; }
  // The parts of the last step, where it was one launch and the executor was made to note them; else empty.
  virtual Result<std::vector<StageTime>> StageTimes() { return std::vector<StageTime>(); }
  // Since the executor was made; waits for the last step. Zeros where no row with the unified softmax ran.
  virtual Result<GuardCount> Guard() { return GuardCount{}; }
  // The largest score of each layer, row and head of the last step, [layers, tokens, heads], where the executor was
  // made to note them; else empty.
  virtual Result<std::vector<float>> LargestScores() { return std::vector<float>(); }
  // One line for people: the executor, the device, the precision ("team avx2 2 threads", "graph NVIDIA H200 bf16").
  virtual std::string Describe() const = 0;
};

}  // namespace unimax
