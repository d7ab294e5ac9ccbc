// SPDX-License-Identifier: Apache-2.0
// Whether equal histories give equal bits: `eval --determinism`, rows D02 and D03 of the reliability table.
// The same prompts run through the engine loop alone, in batches of several sizes, in shuffled orders, with several
// numbers of threads, chunked, preempted and with a warm prefix cache; the logits of every output row are hashed and
// filed under a hash of all ids that led to it. Under --deterministic each history has one hash.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "exec/executor.h"

namespace unimax {

// What was seen: history -> logits.
class LogitsLedger {
 public:
  void Note(uint64_t history, uint64_t logits);
  int64_t histories() const { return static_cast<int64_t>(first_.size()); }
  int64_t rows() const { return rows_; }
  // Rows whose logits were not those that their history gave first.
  int64_t differing() const { return differing_; }

 private:
  std::unordered_map<uint64_t, uint64_t> first_;
  int64_t rows_ = 0, differing_ = 0;
};

// Passes everything on, and files the logits of each step. Histories are followed through the page table, so a page
// that holds something else than its sequence's past is a difference, too.
class LedgerExecutor : public Executor {
 public:
  LedgerExecutor(Executor& inner, const ExecutorOptions& limits, LogitsLedger& ledger);
  Status Run(const Step& step) override;
  Result<std::span<const int>> Ids() override { return inner_.Ids(); }
  Result<std::span<const int>> PreviousIds() override { return inner_.PreviousIds(); }
  bool runs_ahead() const override { return inner_.runs_ahead(); }
  Result<std::span<const float>> Logits(int row) override { return inner_.Logits(row); }
  Result<std::vector<float>> Read(int value) override { return inner_.Read(value); }
  MemoryUse memory() const override { return inner_.memory(); }
  std::string Describe() const override { return inner_.Describe(); }

 private:
  Executor& inner_;
  const ExecutorOptions limits_;
  LogitsLedger& ledger_;
  std::vector<int> chosen_;        // by the last step
  std::vector<uint64_t> history_;  // [pages, page_tokens]: of all ids up to that position
};

struct DeterminismOptions {
  int prompts = 200;
  int orders = 20;  // shuffles of the prompts for each batch and number of threads
  int new_tokens = 4;
  std::vector<int> batches = {1, 2, 3, 7, 16, 32};
  std::vector<int> chunks = {1, 7, 16, 64, 0};  // tokens of a step; 0: as many as the executor takes
  std::vector<int> threads = {1, 2, 3, 4};
  uint64_t seed = 1;
};

struct DeterminismReport {
  struct Part {
    int64_t runs = 0, rows = 0, differing = 0;  // rows of logits
  };
  Part batches;    // D02: mates, orders, threads
  Part histories;  // D03: chunks, cached prefixes, preemption
  int64_t histories_seen = 0, cached_tokens = 0;
  uint64_t preemptions = 0;
};

// `make` gives the executor for a number of threads, made for `limits`; it is asked again only for another number.
// Errors: of executors.
Result<DeterminismReport> CheckDeterminism(const Program& program, const ExecutorOptions& limits,
                                           const DeterminismOptions& options,
                                           const std::function<Result<std::unique_ptr<Executor>>(int threads)>& make,
                                           const std::function<void(int, int)>& progress);

}  // namespace unimax
