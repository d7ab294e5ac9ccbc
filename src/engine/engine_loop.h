// SPDX-License-Identifier: Apache-2.0
// Many requests on one executor: plan a step, run it, choose the tokens, tell the sinks. One thread; a call of Step
// launches one step. Where the executor runs ahead of the host (a GPU), that is before the results of the one before it
// are read: the ids it starts from are still on the device. So a call then tells of the step before, and of a sequence
// that ended there a row is computed in vain. Sinks are called from within Step and Cancel, and must not call the
// loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/status.h"
#include "engine/device_draw.h"
#include "engine/page_key.h"
#include "engine/request.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "exec/executor.h"

namespace unimax {

// A scheduler that fills what the executor was made for.
SchedulerOptions SchedulerOptionsFor(const ExecutorOptions& limits);

class EngineLoop {
 public:
  // `executor`, the `program` it was made from and `hasher` outlive the loop. `options` may ask for less than the
  // executor has, never for more. Errors: kUsage where they do.
  static Result<std::unique_ptr<EngineLoop>> Make(Executor& executor, const ExecutorOptions& limits,
                                                  const SchedulerOptions& options, const Program& program,
                                                  PageHasher& hasher);

  EngineLoop(Executor& executor, const ExecutorOptions& limits, const SchedulerOptions& options, const Program& program,
             PageHasher& hasher);  // see Make

  // Whether a request can run at all. Any thread may ask. Errors: kUsage.
  Status Check(const Request& request) const;
  // Queues a request; its sink hears the rest. Errors: kUsage for what can never run; the sink then hears nothing.
  Result<Ticket> Submit(Request request, Time now);
  // The sink hears kCancelled before this returns. False: it has ended already.
  bool Cancel(Ticket ticket, Time now);
  bool Cancel(uint64_t request, Time now);  // by the request's id
  // Every request that lives ends as kFailed with this sentence, or as kCancelled where there is none.
  void EndAll(const std::string& error, Time now);
  // One step. Errors: of the executor; all requests that were in the step have then ended as kFailed.
  Status Step(Time now);
  // The prefix cache, for those who keep its pages beyond the process (prompt_cache.h). A prefix is what a request with
  // this prompt, `max_new`, root and scope would share. Between two calls of Step.
  struct Prefix {
    std::span<const int> prompt;
    int max_new = 1;
    PageKey root;
    uint32_t scope = 1;
  };
  // Hands the content of each cached page of the prefix, of so many, to `take`, in order. The number of pages. Errors:
  // of the executor and of `take`.
  using TakePage = std::function<Status(int index, int pages, std::span<const std::byte> content)>;
  Result<int> ReadPrefix(const Prefix& prefix, const TakePage& take);
  // Has `fill` give the content of the prefix's first `pages` pages, but for those that are cached, and makes them
  // findable: all, or none where it fails. The number of pages that were filled: none that the request would not share,
  // and fewer where no more are free. Errors: of the executor and of `fill`.
  using FillPage = std::function<Status(int index, std::span<std::byte> content)>;
  Result<int> WritePrefix(const Prefix& prefix, int pages, const FillPage& fill);
  // The rows of the rotary table by which a request's keys are turned begin here.
  int RopeOffset(int prompt, int max_new) const { return RopeRow(program_, limits_, 0, prompt + max_new); }
  bool idle() const { return scheduler_.idle(); }
  bool full() const { return scheduler_.full(); }
  // Stamps events when they happen; without a clock they have the time of their step.
  void set_clock(Time (*clock)()) { clock_ = clock; }
  const Scheduler& scheduler() const { return scheduler_; }

 private:
  // A request that lives, by its slot in the scheduler.
  struct Live {
    bool lives = false;
    bool failed = false;  // ended by EndAll for an error
    Ticket ticket;
    Request request;
    std::vector<SamplingStep> steps;
    bool on_device = false;  // the executor's own choice will do: the largest logit, or what `draw` says
    std::optional<DeviceDraw> draw;
    int told = 0;         // tokens that the sink has heard
    int rope_offset = 0;  // of its rows in the rotary table
    Time arrived = 0, started = 0, first_token = 0;
  };

  PageKey RootOf(const PageKey& root, int rope_offset);
  Status Advance(Time now);
  bool HostChooses(const StepPlan& plan);
  Status Launch(const StepPlan& plan, Time now);
  void AskForDraws(const StepPlan& plan);
  Status Collect(Time now, const Result<std::span<const int>>& chosen);
  Status ScorePrompt(const PlannedSequence& part, Live& live);
  Result<RowResult> Choose(const PlannedSequence& part, Live& live, int greedy_id, Time now);
  void TellEnds(Time now, const std::string& error);
  Time Stamp(Time now) const { return clock_ != nullptr ? clock_() : now; }
  Live& live(Ticket ticket) { return live_[static_cast<size_t>(ticket.slot)]; }

  Executor& executor_;
  const bool ahead_;  // launch a step before the one before it has come back
  const ExecutorOptions limits_;
  PageHasher& hasher_;
  const Program& program_;
  Scheduler scheduler_;
  Sampler sampler_;
  std::vector<Live> live_;
  std::vector<uint64_t> mask_;           // a bit for each id
  std::vector<int> ids_, rope_rows_;     // of the step that is launched
  std::vector<DrawRow> draws_;           // of its outputs; empty: none is drawn by the executor
  std::vector<DrawEntry> draw_entries_;  // what they point to
  std::vector<RowResult> results_;
  Time (*clock_)() = nullptr;
};

}  // namespace unimax
