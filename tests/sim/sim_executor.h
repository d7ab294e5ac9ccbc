// SPDX-License-Identifier: Apache-2.0
// An executor in place of a device, for tests of what lies above it: its "model" is a hash, its faults are scripted.
// The cache holds for each position a hash of all ids up to it, read through the page table, so an answer tells whether
// every page that a sequence saw was its own. Checks what a device would not survive: ids, pages and rows in range.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "exec/executor.h"

namespace unimax::sim {

struct SimScript {
  int fail_call = -1;   // the n-th call of Run, Ids or Logits fails, from 0, and all after it
  int poison_run = -1;  // in the n-th Run ...
  int poison_row = -1;  // ... this output row's logits are NaN
  int hang_run = -1;    // the n-th Run does not return before Release
  bool runs_ahead = false;
  std::chrono::microseconds cost{0};  // of a Run: slept
};

class SimExecutor : public Executor {
 public:
  SimExecutor(const ExecutorOptions& options, int vocab);

  Status Run(const Step& step) override;
  Result<std::span<const int>> Ids() override;
  Result<std::span<const int>> PreviousIds() override;
  bool runs_ahead() const override { return script.runs_ahead; }
  Result<std::span<const float>> Logits(int row) override;
  Result<std::vector<float>> Read(int) override { return std::vector<float>(); }
  MemoryUse memory() const override { return {0, pool_.size() * sizeof(uint64_t), logits_.size() * sizeof(float)}; }
  std::string Describe() const override { return "sim"; }
  uint64_t page_bytes() const override { return static_cast<uint64_t>(options_.page_tokens) * sizeof(uint64_t); }
  Status ReadPage(int page, std::span<std::byte> to) override;
  Status WritePage(int page, std::span<const std::byte> from) override;

  void Release();  // lets a Run that hangs go on

  // What the model says after these ids: its greedy choice and its logits.
  static int NextOf(std::span<const int> ids, int vocab);

  SimScript script;  // set before the first call
  std::atomic<int> runs{0}, calls{0};
  std::atomic<int64_t> fault_at{0};  // NowMicroseconds of the scripted fault; 0: it has not come

 private:
  Status Call();
  const ExecutorOptions options_;
  std::vector<uint64_t> pool_;     // [pages, page_tokens]
  std::vector<uint64_t> outputs_;  // of the last step: the hash at each output row
  std::vector<int> ids_, previous_ids_;
  std::vector<float> logits_;
  std::mutex mutex_;
  std::condition_variable released_;
  bool go_on_ = false;
  int poisoned_ = -1;
};

// A program that says no more than what an EngineLoop asks: the vocabulary.
Program SimProgram(int vocab);

}  // namespace unimax::sim
