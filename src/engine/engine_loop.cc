// SPDX-License-Identifier: Apache-2.0
#include "engine/engine_loop.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace unimax {
namespace {

// Whether the host need not see the logits, only the id.
bool WantsTheIdAlone(const Request& request) {
  const SamplingParams& p = request.sampling;
  return request.mask == nullptr && !p.raw_logprobs && !p.processed_logprobs;
}

// Whether the largest raw logit is the choice.
bool TakesTheLargest(const SamplingParams& p, std::span<const SamplingStep> steps) {
  const bool plain = std::ranges::all_of(steps, [](const SamplingStep& s) { return s.kind == SamplingStep::kMask; });
  return p.temperature <= 0 && plain;
}

}  // namespace

SchedulerOptions SchedulerOptionsFor(const ExecutorOptions& limits) {
  SchedulerOptions o;
  o.pages = limits.pages;
  o.page_tokens = limits.page_tokens;
  o.max_pages = limits.max_pages;
  o.max_running = std::min({limits.max_sequences, limits.max_outputs, limits.max_tokens});
  o.max_sequences = std::max(o.max_sequences, o.max_running);
  o.max_step_tokens = limits.max_tokens;
  // Half of a step: on an H200 (2,048 tokens a step) that is as fast as all of it, and the gap half as long.
  o.max_step_prefill = std::max(limits.max_tokens / 2, 1);
  o.max_outputs = limits.max_outputs;
  return o;
}

Result<std::unique_ptr<EngineLoop>> EngineLoop::Make(Executor& executor, const ExecutorOptions& limits,
                                                     const SchedulerOptions& options, const Program& program,
                                                     PageHasher& hasher) {
  UM_RETURN_IF_ERROR(Scheduler::Make(options, hasher).status());
  const struct {
    const char* what;
    int wanted, given;
  } needs[] = {{"pages", options.pages, limits.pages},
               {"pages a sequence", options.max_pages, limits.max_pages},
               {"sequences at once", options.max_running, limits.max_sequences},
               {"tokens a step", options.max_step_tokens, limits.max_tokens},
               {"outputs a step", options.max_outputs, limits.max_outputs}};
  for (const auto& need : needs) {
    if (need.wanted > need.given) {
      return UsageError("the scheduler would use {} {}, the executor has {}", need.wanted, need.what, need.given);
    }
  }
  if (options.page_tokens != limits.page_tokens || options.max_pages != limits.max_pages) {
    return UsageError("the scheduler's pages of {} tokens, {} a sequence, are not the executor's of {}, {} a sequence",
                      options.page_tokens, options.max_pages, limits.page_tokens, limits.max_pages);
  }
  return std::make_unique<EngineLoop>(executor, limits, options, program, hasher);
}

EngineLoop::EngineLoop(Executor& executor, const ExecutorOptions& limits, const SchedulerOptions& options,
                       const Program& program, PageHasher& hasher)
    : executor_(executor),
      ahead_(executor.runs_ahead()),
      limits_(limits),
      hasher_(hasher),
      program_(program),
      scheduler_(options, hasher),
      sampler_(program.vocab),
      live_(static_cast<size_t>(options.max_sequences)),
      mask_((static_cast<size_t>(program.vocab) + 63) / 64) {
  ids_.reserve(static_cast<size_t>(options.max_step_tokens));
  rope_rows_.reserve(ids_.capacity());
  results_.reserve(static_cast<size_t>(options.max_outputs));
  if (executor.draw_entries() < 0) return;
  draws_.reserve(results_.capacity());
  draw_entries_.reserve(results_.capacity() * static_cast<size_t>(executor.draw_entries() + 1));
}

Status EngineLoop::Check(const Request& request) const {
  UM_RETURN_IF_ERROR(CheckSampling(request.sampling, sampler_.vocabulary()));
  for (const int id : request.prompt) {
    if (id >= 0 && id < sampler_.vocabulary()) continue;
    return UsageError("the prompt holds id {}, the vocabulary has {}", id, sampler_.vocabulary());
  }
  return scheduler_.CheckSize(std::ssize(request.prompt), request.max_new, request.prompt_logprobs);
}

Result<Ticket> EngineLoop::Submit(Request request, Time now) {
  UM_RETURN_IF_ERROR(Check(request));
  Submission s;
  s.prompt = std::move(request.prompt);
  s.max_new = request.max_new;
  s.priority = request.priority;
  s.start_by = request.start_by;
  s.finish_by = request.finish_by;
  s.needs_host = request.sink_stops || request.mask != nullptr;
  s.prompt_logits = request.prompt_logprobs;
  const int rope_offset = RopeOffset(static_cast<int>(s.prompt.size()), request.max_new);
  s.root = RootOf(request.root, rope_offset);
  s.scope = request.scope;
  UM_ASSIGN_OR_RETURN(const Ticket ticket, scheduler_.Submit(std::move(s), now));
  Live& made = live(ticket);
  made = Live{};
  made.lives = true;
  made.ticket = ticket;
  made.steps = StepsOf(request.sampling);
  if (WantsTheIdAlone(request)) {
    made.on_device = TakesTheLargest(request.sampling, made.steps);
    if (!made.on_device) {
      made.draw = DeviceDraw::Make(request.sampling, made.steps, scheduler_.History(ticket), request.max_new,
                                   executor_.draw_entries());
      made.on_device = made.draw.has_value();
    }
  }
  made.request = std::move(request);
  made.rope_offset = rope_offset;
  made.arrived = now;
  return ticket;
}

// Keys turned by the second set of frequencies are other keys: their pages must never be taken for the first set's.
PageKey EngineLoop::RootOf(const PageKey& root, int rope_offset) {
  const int second_set[] = {rope_offset};
  return rope_offset > 0 ? hasher_.Next(root, second_set) : root;
}

Result<int> EngineLoop::ReadPrefix(const Prefix& prefix, const TakePage& take) {
  const int prompt = static_cast<int>(prefix.prompt.size());
  const PageKey root = RootOf(prefix.root, RopeOffset(prompt, prefix.max_new));
  const std::vector<int> held = scheduler_.HoldPrefix(root, prefix.scope, prefix.prompt);
  std::vector<std::byte> content(executor_.page_bytes());
  Status status;
  const int pages = static_cast<int>(held.size());
  for (int i = 0; status.ok() && i < pages; ++i) {
    status = executor_.ReadPage(held[static_cast<size_t>(i)], content);
    if (status.ok()) status = take(i, pages, content);
  }
  scheduler_.ReleasePages(held);
  if (!status.ok()) return status;
  return pages;
}

Result<int> EngineLoop::WritePrefix(const Prefix& prefix, int pages, const FillPage& fill) {
  const int prompt = static_cast<int>(prefix.prompt.size());
  const PageKey root = RootOf(prefix.root, RopeOffset(prompt, prefix.max_new));
  if (!scheduler_.options().prefix_cache) return 0;
  pages = std::min(pages, (prompt - 1) / limits_.page_tokens);  // of the last token the logits are wanted
  std::vector<int> held = scheduler_.HoldPrefix(root, prefix.scope, prefix.prompt);
  const int known = static_cast<int>(held.size());
  std::vector<std::byte> content(executor_.page_bytes());
  Status status;
  for (int i = known; status.ok() && i < pages; ++i) {
    const int page = scheduler_.TakePage();
    if (page < 0) break;
    held.push_back(page);
    status = fill(i, content);
    if (status.ok()) status = executor_.WritePage(page, content);
  }
  if (status.ok()) scheduler_.PublishPrefix(root, prefix.scope, prefix.prompt, held);
  scheduler_.ReleasePages(held);
  if (!status.ok()) return status;
  return static_cast<int>(held.size()) - known;
}

bool EngineLoop::Cancel(Ticket ticket, Time now) {
  const bool lived = scheduler_.Cancel(ticket);
  TellEnds(now, "");
  return lived;
}

bool EngineLoop::Cancel(uint64_t request, Time now) {
  for (const Live& of : live_) {
    if (of.lives && of.request.id == request) return Cancel(of.ticket, now);
  }
  return false;
}

void EngineLoop::EndAll(const std::string& error, Time now) {
  for (Live& of : live_) {
    of.failed = of.lives && !error.empty();
    if (of.lives) scheduler_.Cancel(of.ticket);
  }
  TellEnds(now, error);
}

Status EngineLoop::Step(Time now) {
  const Status status = Advance(now);
  if (!status.ok()) scheduler_.Fail();
  TellEnds(now, std::string(status.text()));
  return status;
}

// Where the executor runs ahead, a step is launched before the results of the one before it are read; its ids are then
// still on the device. Only where the host must look at logits, which the next step would overwrite, it waits.
Status EngineLoop::Advance(Time now) {
  if (scheduler_.open_plans() == 1 && HostChooses(scheduler_.oldest_plan())) {
    UM_RETURN_IF_ERROR(Collect(now, executor_.Ids()));
  }
  const StepPlan& plan = scheduler_.Plan(now);
  if (!plan.empty()) UM_RETURN_IF_ERROR(Launch(plan, now));
  if (scheduler_.open_plans() == 2) return Collect(now, executor_.PreviousIds());
  const bool wait = !ahead_ || plan.empty();
  return wait && scheduler_.open_plans() == 1 ? Collect(now, executor_.Ids()) : Status();
}

bool EngineLoop::HostChooses(const StepPlan& plan) {
  return std::ranges::any_of(plan.sequences, [&](const PlannedSequence& part) {
    if (part.outputs == 0 || !scheduler_.Lives(part.ticket)) return false;
    const Live& of = live(part.ticket);
    return of.request.prompt_logprobs || (part.samples && !of.on_device);
  });
}

Status EngineLoop::Launch(const StepPlan& plan, Time now) {
  ids_.assign(plan.ids.begin(), plan.ids.end());
  rope_rows_.assign(plan.positions.begin(), plan.positions.end());
  for (const PlannedSequence& part : plan.sequences) {
    Live& of = live(part.ticket);
    if (of.started == 0) of.started = now;
    if (part.feed >= 0) ids_[static_cast<size_t>(part.at)] = -1 - part.feed;
    for (int i = part.at; i < part.at + part.count; ++i) rope_rows_[static_cast<size_t>(i)] += of.rope_offset;
  }
  AskForDraws(plan);
  return executor_.Run(
      {ids_, plan.positions, plan.rows, scheduler_.page_table(), plan.outputs, rope_rows_, draws_, draw_entries_});
}

void EngineLoop::AskForDraws(const StepPlan& plan) {
  draws_.clear();
  draw_entries_.clear();
  for (const PlannedSequence& part : plan.sequences) {
    const Live& of = live(part.ticket);
    if (!part.samples || !of.draw) continue;
    if (draws_.empty()) draws_.resize(plan.outputs.size());  // the others keep the largest
    const size_t output = static_cast<size_t>(part.output + part.outputs - 1);
    draws_[output] = of.draw->Row(part.first + part.count, part.feed, &draw_entries_);
  }
}

// Takes the results of the oldest open step; `chosen` are the ids of its outputs, -1 where a logit was not finite.
Status EngineLoop::Collect(Time now, const Result<std::span<const int>>& chosen) {
  const StepPlan& plan = scheduler_.oldest_plan();
  // A step without outputs has nothing to wait for; a fault in it shows in a later one.
  if (!plan.outputs.empty()) UM_RETURN_IF_ERROR(chosen.status());
  now = Stamp(now);
  results_.assign(plan.outputs.size(), {});
  for (const PlannedSequence& part : plan.sequences) {
    if (part.outputs == 0 || !scheduler_.Lives(part.ticket)) continue;  // it may have ended after it was planned
    Live& of = live(part.ticket);
    const size_t first = static_cast<size_t>(part.output), last = first + static_cast<size_t>(part.outputs) - 1;
    const bool poisoned =
        std::ranges::any_of(chosen.value().subspan(first, last - first + 1), [](int id) { return id < 0; });
    if (poisoned) {
      results_[last].verdict = RowResult::kPoisoned;
      continue;
    }
    if (of.request.prompt_logprobs) UM_RETURN_IF_ERROR(ScorePrompt(part, of));
    if (!part.samples) continue;
    UM_ASSIGN_OR_RETURN(results_[last], Choose(part, of, chosen.value()[last], now));
  }
  scheduler_.Commit(results_);
  return {};
}

// Rows of prompt positions give the log-probabilities of the prompt tokens after them.
Status EngineLoop::ScorePrompt(const PlannedSequence& part, Live& of) {
  const std::span<const int> history = scheduler_.History(part.ticket);
  const int prompt = scheduler_.PromptTokens(part.ticket);
  for (int i = 0; i < part.outputs; ++i) {
    const int next = part.first + part.count - part.outputs + i + 1;
    if (next >= prompt) break;
    UM_ASSIGN_OR_RETURN(const std::span<const float> logits, executor_.Logits(part.output + i));
    const Sampled scored = sampler_.Score(logits, history[static_cast<size_t>(next)], of.request.sampling);
    of.request.sink->OnPromptToken({of.request.id, next, scored.id, scored.raw_logprob, scored.rank, scored.top});
  }
  return {};
}

Result<RowResult> EngineLoop::Choose(const PlannedSequence& part, Live& of, int greedy_id, Time now) {
  Request& request = of.request;
  const std::span<const int> history = scheduler_.History(part.ticket);
  const int prompt = scheduler_.PromptTokens(part.ticket);
  Sampled sampled;
  sampled.id = greedy_id;
  if (!of.on_device) {
    UM_ASSIGN_OR_RETURN(const std::span<const float> logits, executor_.Logits(part.output + part.outputs - 1));
    if (request.mask != nullptr) request.mask->Fill(mask_);
    const std::span<const uint64_t> mask = request.mask != nullptr ? mask_ : std::span<const uint64_t>();
    sampled = sampler_.Choose({logits, request.sampling, of.steps, history, prompt, mask});
  }
  // A row with nothing left to choose ends like a poisoned one: no token is drawn from it.
  if (sampled.outcome != Sampled::kToken) return RowResult{0, RowResult::kPoisoned};
  if (request.mask != nullptr) request.mask->Accept(sampled.id);
  if (of.draw) of.draw->Append(sampled.id);
  if (of.first_token == 0) of.first_token = now;
  TokenEvent event;
  event.request = request.id;
  event.index = of.told++;
  event.id = sampled.id;
  event.ends = !request.ignore_end && std::ranges::count(request.sampling.end_ids, sampled.id) > 0;
  event.raw_logprob = sampled.raw_logprob;
  event.processed_logprob = sampled.processed_logprob;
  event.rank = sampled.rank;
  event.top = sampled.top;
  event.at = now;
  const bool stops = request.sink->OnToken(event) && request.sink_stops;
  return RowResult{sampled.id, event.ends || stops ? RowResult::kStop : RowResult::kGoOn};
}

void EngineLoop::TellEnds(Time now, const std::string& error) {
  now = Stamp(now);
  for (End end; scheduler_.TakeEnd(&end);) {
    Live& of = live(end.ticket);
    EndEvent event;
    event.request = of.request.id;
    event.reason = of.failed ? EndReason::kFailed : end.reason;
    if (event.reason == EndReason::kFailed) event.error = error;
    if (end.reason == EndReason::kPoisoned)
      event.error = "the model gave a logit that is not finite, or no id was allowed";
    event.prompt_tokens = end.prompt;
    event.cached_tokens = end.cached;
    event.new_tokens = of.told;
    event.arrived = of.arrived;
    event.started = of.started;
    event.first_token = of.first_token;
    event.ended = now;
    EventSink* sink = of.request.sink;
    of = Live{};
    sink->OnEnd(event);
  }
}

}  // namespace unimax
