// SPDX-License-Identifier: Apache-2.0
#include "engine/determinism.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

#include "engine/engine_loop.h"
#include "engine/philox.h"

namespace unimax {
namespace {

constexpr uint64_t kStart = 0xcbf29ce484222325;

uint64_t Mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15;
  return hash ^ hash >> 29;
}

uint64_t HashOf(std::span<const float> logits) {
  uint64_t hash = kStart;
  for (const float x : logits) hash = Mix(hash, std::bit_cast<uint32_t>(x));
  return hash;
}

// Counts ends; an answer that fails is an error of the check.
class Counter : public EventSink {
 public:
  bool OnToken(const TokenEvent&) override { return false; }
  void OnEnd(const EndEvent& event) override {
    cached += event.cached_tokens;
    if (event.reason != EndReason::kLength) error = event.error.empty() ? "it did not end by length" : event.error;
  }
  int64_t cached = 0;
  std::string error;
};

// Prompts of several lengths; each shares a beginning with the one before it in two cases out of three.
std::vector<std::vector<int>> PromptsOf(const DeterminismOptions& o, int vocab, int longest) {
  std::vector<std::vector<int>> prompts;
  for (int i = 0; i < o.prompts; ++i) {
    const auto random = [&](int k) {
      return PhiloxUniform(o.seed, static_cast<uint64_t>(i) << 32 | static_cast<uint32_t>(k));
    };
    const int length = std::min(3 + static_cast<int>(random(0) * 90), longest);
    std::vector<int> prompt;
    for (int t = 0; t < length; ++t) {
      const bool share = i % 3 != 0 && t < std::ssize(prompts.back()) && t < 64;
      prompt.push_back(share ? prompts.back()[static_cast<size_t>(t)]
                             : std::min(static_cast<int>(random(t + 1) * vocab), vocab - 1));
    }
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

struct Runner {
  const Program& program;
  const ExecutorOptions& limits;
  const DeterminismOptions& options;
  const std::vector<std::vector<int>>& prompts;
  LogitsLedger& ledger;
  DeterminismReport& report;
  std::unique_ptr<PageHasher> hasher = MakeSha256Hasher();

  // All prompts once, in an order and at times that `seed` decides.
  Status Run(Executor& inner, const SchedulerOptions& scheduler, int new_tokens, uint64_t seed,
             DeterminismReport::Part* part) {
    LedgerExecutor executor(inner, limits, ledger);
    UM_ASSIGN_OR_RETURN(const std::unique_ptr<EngineLoop> loop,
                        EngineLoop::Make(executor, limits, scheduler, program, *hasher));
    const int64_t rows = ledger.rows(), differing = ledger.differing();
    std::vector<int> order(prompts.size());
    std::iota(order.begin(), order.end(), 0);
    for (size_t i = order.size(); seed > 0 && i > 1; --i) {
      std::swap(order[i - 1], order[static_cast<size_t>(PhiloxUniform(seed, i) * static_cast<double>(i))]);
    }
    Counter counter;
    size_t next = 0;
    for (Time now = 1; next < order.size() || !loop->idle(); ++now) {
      // One or two join in a step, so that batches hold rows of all phases.
      for (int joins = 1 + static_cast<int>(now % 2); joins > 0 && next < order.size() && !loop->full(); --joins) {
        Request request;
        request.id = next + 1;
        request.prompt = prompts[static_cast<size_t>(order[next++])];
        const int room = limits.max_pages * limits.page_tokens - static_cast<int>(request.prompt.size());
        request.max_new = std::min(new_tokens, room);
        request.sampling.temperature = 0;
        request.ignore_end = true;
        request.sink = &counter;
        UM_RETURN_IF_ERROR(loop->Submit(std::move(request), now).status());
      }
      UM_RETURN_IF_ERROR(loop->Step(now));
    }
    if (!counter.error.empty()) return Internal("a request failed: {}", counter.error);
    ++part->runs;
    part->rows += ledger.rows() - rows;
    part->differing += ledger.differing() - differing;
    report.cached_tokens += counter.cached;
    report.preemptions += loop->scheduler().counts().preemptions;
    return {};
  }
};

SchedulerOptions Of(const ExecutorOptions& limits, int running, int step_tokens, bool cache) {
  SchedulerOptions s = SchedulerOptionsFor(limits);
  s.max_running = std::min(running, s.max_running);
  s.max_step_tokens = step_tokens > 0 ? std::clamp(step_tokens, s.max_running, limits.max_tokens) : limits.max_tokens;
  s.max_step_prefill = s.max_step_tokens;
  s.prefix_cache = cache;
  return s;
}

}  // namespace

void LogitsLedger::Note(uint64_t history, uint64_t logits) {
  ++rows_;
  differing_ += first_.emplace(history, logits).first->second != logits;
}

LedgerExecutor::LedgerExecutor(Executor& inner, const ExecutorOptions& limits, LogitsLedger& ledger)
    : inner_(inner),
      limits_(limits),
      ledger_(ledger),
      history_(static_cast<size_t>(limits.pages) * static_cast<size_t>(limits.page_tokens)) {}

Status LedgerExecutor::Run(const Step& step) {
  UM_RETURN_IF_ERROR(inner_.Run(step));
  const auto slot = [&](size_t t, int position) -> uint64_t& {
    const int page =
        step.page_table[static_cast<size_t>(step.sequences[t] * limits_.max_pages + position / limits_.page_tokens)];
    return history_[static_cast<size_t>(page * limits_.page_tokens + position % limits_.page_tokens)];
  };
  for (size_t t = 0; t < step.ids.size(); ++t) {
    const int position = step.positions[t];
    const uint64_t before = position > 0 ? slot(t, position - 1) : kStart;
    // A sequence that is turned by the second set of frequencies has another history.
    const int set = step.rope_rows.empty() ? 0 : step.rope_rows[t] - position;
    slot(t, position) =
        Mix(Mix(before, static_cast<uint64_t>(StepId(step.ids[t], chosen_))), static_cast<uint64_t>(set));
  }
  for (size_t o = 0; o < step.outputs.size(); ++o) {
    const auto row = static_cast<size_t>(step.outputs[o]);
    UM_ASSIGN_OR_RETURN(const std::span<const float> logits, inner_.Logits(static_cast<int>(o)));
    ledger_.Note(slot(row, step.positions[row]), HashOf(logits));
  }
  chosen_.clear();
  if (step.outputs.empty()) return {};
  UM_ASSIGN_OR_RETURN(const std::span<const int> ids, inner_.Ids());
  chosen_.assign(ids.begin(), ids.end());
  return {};
}

Result<DeterminismReport> CheckDeterminism(const Program& program, const ExecutorOptions& limits,
                                           const DeterminismOptions& options,
                                           const std::function<Result<std::unique_ptr<Executor>>(int threads)>& make,
                                           const std::function<void(int, int)>& progress) {
  DeterminismReport report;
  LogitsLedger ledger;
  const int context = limits.max_pages * limits.page_tokens;
  const std::vector<std::vector<int>> prompts = PromptsOf(options, program.vocab, context - options.new_tokens);
  Runner runner{program, limits, options, prompts, ledger, report};
  const auto count = static_cast<int>(options.threads.size() * options.batches.size()) * options.orders +
                     static_cast<int>(options.chunks.size()) * 2 + 1;
  int done = 0;
  uint64_t seed = 0;
  std::unique_ptr<Executor> executor;
  const auto run = [&](const SchedulerOptions& scheduler, DeterminismReport::Part* part, int new_tokens) {
    const Status status = runner.Run(*executor, scheduler, new_tokens, seed++, part);
    if (progress) progress(++done, count);
    return status;
  };
  for (const int threads : options.threads) {
    executor.reset();  // two would need twice the memory
    UM_ASSIGN_OR_RETURN(executor, make(threads));
    for (const int batch : options.batches) {
      for (int order = 0; order < options.orders; ++order) {
        UM_RETURN_IF_ERROR(run(Of(limits, batch, 0, false), &report.batches, options.new_tokens));
      }
    }
  }
  for (const int chunk : options.chunks) {
    for (const bool cache : {false, true}) {
      UM_RETURN_IF_ERROR(
          run(Of(limits, chunk == 0 ? 8 : std::min(chunk, 8), chunk, cache), &report.histories, options.new_tokens));
    }
  }
  // Few pages for answers that grow over several: some are preempted.
  SchedulerOptions tight = Of(limits, 8, 0, true);
  tight.pages = std::min(limits.pages, 3 * limits.max_pages);
  UM_RETURN_IF_ERROR(run(tight, &report.histories, limits.page_tokens * 5 / 4));
  report.histories_seen = ledger.histories();
  return report;
}

}  // namespace unimax
