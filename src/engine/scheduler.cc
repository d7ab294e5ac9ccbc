// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler.h"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

namespace unimax {
namespace {

// Positions that a sequence computes at most: its last id is never an input.
int LastPosition(int prompt, int max_new) { return prompt + max_new - 1; }

Status CheckOptions(const SchedulerOptions& o) {
  const std::pair<const char*, int> positive[] = {{"pages", o.pages},
                                                  {"page_tokens", o.page_tokens},
                                                  {"max_pages", o.max_pages},
                                                  {"max_running", o.max_running},
                                                  {"max_step_prefill", o.max_step_prefill}};
  for (const auto& [name, value] : positive) {
    if (value < 1) return UsageError("{} is {}, at least 1", name, value);
  }
  for (const auto& [name, value] : {std::pair("max_sequences", o.max_sequences),
                                    {"max_step_tokens", o.max_step_tokens},
                                    {"max_outputs", o.max_outputs}}) {
    if (value < o.max_running) return UsageError("{} is {}, less than max_running, {}", name, value, o.max_running);
  }
  if (o.max_preemptions < 0 || o.aging < 0) return UsageError("max_preemptions and aging are at least 0");
  return {};
}

}  // namespace

Result<std::unique_ptr<Scheduler>> Scheduler::Make(const SchedulerOptions& options, PageHasher& hasher) {
  UM_RETURN_IF_ERROR(CheckOptions(options));
  return std::make_unique<Scheduler>(options, hasher);
}

Scheduler::Scheduler(const SchedulerOptions& options, PageHasher& hasher)
    : options_(options),
      hasher_(hasher),
      pages_(options.pages, options.page_tokens),
      sequences_(static_cast<size_t>(options.max_sequences)),
      ended_(sequences_.size()),
      page_table_(static_cast<size_t>(options.max_running) * static_cast<size_t>(options.max_pages), -1) {
  free_slots_.reserve(sequences_.size());
  waiting_.reserve(sequences_.size());
  for (int slot = options.max_sequences - 1; slot >= 0; --slot) free_slots_.push_back(slot);
  const size_t rows = static_cast<size_t>(options.max_running);
  running_.reserve(rows);
  free_rows_.reserve(rows);
  for (int row = options.max_running - 1; row >= 0; --row) free_rows_.push_back(row);
  for (StepPlan& plan : plans_) {
    plan.sequences.reserve(rows);
    for (auto* rows_of_step : {&plan.ids, &plan.positions, &plan.rows}) {
      rows_of_step->reserve(static_cast<size_t>(options.max_step_tokens));
    }
    plan.outputs.reserve(static_cast<size_t>(options.max_outputs));
  }
}

// ---- sequences come and go ----

Status Scheduler::CheckSize(int64_t prompt, int64_t fresh, bool prompt_logits) const {
  if (prompt == 0) return UsageError("the prompt is empty: give at least one token");
  if (fresh < 1 && !(fresh == 0 && prompt_logits && prompt > 1)) {
    return UsageError("{} new tokens were asked for: ask for at least 1", fresh);
  }
  const int64_t pages = (prompt + fresh - 1 + options_.page_tokens - 1) / options_.page_tokens;
  const int most = std::min(options_.pages, options_.max_pages);
  if (pages > most) {
    return UsageError(
        "a prompt of {} tokens and {} new ones need {} pages of {} tokens, a sequence can have {}: shorten the prompt, "
        "ask for fewer new tokens or raise --context",
        prompt, fresh, pages, options_.page_tokens, most);
  }
  return {};
}

Result<Ticket> Scheduler::Submit(Submission submission, Time now) {
  const int64_t prompt = std::ssize(submission.prompt), fresh = submission.max_new;
  UM_RETURN_IF_ERROR(CheckSize(prompt, fresh, submission.prompt_logits));
  if (full()) return UsageError("all {} places for requests are taken: try again later", options_.max_sequences);

  const int slot = free_slots_.back();
  free_slots_.pop_back();
  Sequence& s = at(slot);
  const uint32_t serial = s.serial + 1;
  s = Sequence{};
  s.state = State::kWaiting;
  s.serial = serial;
  s.ids = std::move(submission.prompt);
  s.ids.reserve(static_cast<size_t>(prompt + fresh));
  s.of = std::move(submission);
  s.prompt = static_cast<int>(prompt);
  s.rank = now + s.of.priority * options_.aging;
  s.order = next_order_++;
  s.logits_from = s.of.prompt_logits ? 0 : s.prompt - 1;
  next_expiry_ = std::min({next_expiry_, s.of.start_by, s.of.finish_by});
  Enqueue(slot);
  return Ticket{slot, serial};
}

bool Scheduler::Before(int a, int b) const {
  return std::tie(at(a).rank, at(a).order) < std::tie(at(b).rank, at(b).order);
}

void Scheduler::Enqueue(int slot) {
  const auto later = [this](int a, int b) { return Before(b, a); };
  waiting_.insert(std::upper_bound(waiting_.begin(), waiting_.end(), slot, later), slot);
}

bool Scheduler::Cancel(Ticket ticket) {
  if (Find(ticket) == nullptr) return false;
  EndSequence(ticket.slot, EndReason::kCancelled);
  return true;
}

void Scheduler::Expire(Time now) {
  if (now < next_expiry_) return;
  next_expiry_ = kNever;
  for (int slot = 0; slot < options_.max_sequences; ++slot) {
    const Sequence& s = at(slot);
    if (s.state != State::kWaiting && s.state != State::kRunning) continue;
    const Time expiry = s.cached < 0 ? std::min(s.of.start_by, s.of.finish_by) : s.of.finish_by;
    if (expiry <= now) {
      EndSequence(slot, EndReason::kExpired);
    } else {
      next_expiry_ = std::min(next_expiry_, expiry);
    }
  }
}

void Scheduler::EndSequence(int slot, EndReason reason) {
  Sequence& s = at(slot);
  if (s.state == State::kRunning) {
    Unseat(slot);
  } else {
    waiting_.erase(std::ranges::find(waiting_, slot));
  }
  s.state = State::kEnded;
  s.reason = reason;
  ended_[(ended_first_ + ended_count_++) % ended_.size()] = slot;
}

bool Scheduler::TakeEnd(End* end) {
  if (ended_count_ == 0) return false;
  const int slot = ended_[ended_first_];
  ended_first_ = (ended_first_ + 1) % ended_.size();
  --ended_count_;
  Sequence& s = at(slot);
  *end = {{slot, s.serial}, s.of.tag, s.reason, std::move(s.ids), s.prompt, std::max(s.cached, 0), s.preemptions};
  s.state = State::kFree;
  free_slots_.push_back(slot);
  return true;
}

// Takes a sequence out of the running ones; its pages go back from the end, so that a prefix outlives its tail.
void Scheduler::Unseat(int slot) {
  Sequence& s = at(slot);
  for (int index = s.pages - 1; index >= 0; --index) pages_.Release(std::exchange(PageOf(s, index), -1));
  s.pages = 0;
  free_rows_.push_back(std::exchange(s.row, -1));
  running_.erase(std::ranges::find(running_, slot));
}

bool Scheduler::Lives(Ticket ticket) const {
  if (ticket.slot < 0 || ticket.slot >= options_.max_sequences) return false;
  const Sequence& s = at(ticket.slot);
  return s.serial == ticket.serial && (s.state == State::kWaiting || s.state == State::kRunning);
}

std::span<const int> Scheduler::History(Ticket ticket) const {
  return Lives(ticket) ? std::span<const int>(at(ticket.slot).ids) : std::span<const int>();
}

SchedulerCounts Scheduler::counts() const {
  SchedulerCounts counts = counts_;
  counts.waiting = static_cast<int>(waiting_.size());
  counts.running = static_cast<int>(running_.size());
  return counts;
}

// ---- planning ----

const StepPlan& Scheduler::Plan(Time now) {
  UM_CHECK(can_plan());
  Expire(now);
  plan_ = &plans_[1 - newest_];
  plan_->sequences.clear();
  for (auto* numbers : {&plan_->ids, &plan_->positions, &plan_->rows, &plan_->outputs}) numbers->clear();
  decodes_ = 0;
  preempted_ = false;
  PlanDecodes();
  PlanPrefills();
  Admit();
  if (!plan_->empty()) {
    plan_->number = counts_.steps++;
    newest_ = 1 - newest_;
    ++open_;
  }
  return *plan_;
}

// Tokens that the sequence could compute now: those whose ids are known, here or on the device.
int Scheduler::Ready(const Sequence& s) const {
  const int known = static_cast<int>(s.ids.size()) + (s.of.needs_host ? 0 : s.pending);
  return std::min(known, LastPosition(s.prompt, s.of.max_new)) - s.planned;
}

void Scheduler::PlanDecodes() {
  for (size_t i = 0; i < running_.size();) {
    const int slot = running_[i];
    const bool decodes = Ready(at(slot)) == 1;
    if (decodes && !Grow(slot)) continue;  // it gave up its own pages: running_[i] is another now
    if (decodes) AddToPlan(slot, 1);
    ++i;
  }
  decodes_ = static_cast<int>(plan_->sequences.size());
}

void Scheduler::PlanPrefills() {
  for (const int slot : running_) {
    const int ready = Ready(at(slot));
    if (ready > 1) AddToPlan(slot, std::min(ready, Room(at(slot))));
  }
}

void Scheduler::Admit() {
  // After a preemption nobody is let in: the pages just given up would be taken at once, again and again.
  while (!waiting_.empty() && !free_rows_.empty() && !preempted_) {
    const int slot = waiting_.back();
    // Preempted while its last id is on the way: with that id it comes back after the next Commit.
    if (at(slot).pending > 0 || Room(at(slot)) <= 0 || !Start(slot)) return;
    AddToPlan(slot, std::min(Ready(at(slot)), Room(at(slot))));
  }
}

// Rows that the plan still has for this sequence, by tokens and by outputs.
int Scheduler::Room(const Sequence& s) const {
  const int used = static_cast<int>(plan_->ids.size());
  const int budget = decodes_ > 0 ? std::min(options_.max_step_tokens, decodes_ + options_.max_step_prefill)
                                  : options_.max_step_tokens;
  const int outputs = options_.max_outputs - static_cast<int>(plan_->outputs.size());
  return std::min(budget - used, std::max(s.logits_from - s.planned, 0) + outputs);
}

// Seats a waiting sequence with the pages of its known ids, those that the prefix cache has included, if they fit.
bool Scheduler::Start(int slot) {
  Sequence& s = at(slot);
  // A head of the queue that did not fit is tried again when pages came back: hashing its prompt is not free.
  const Ticket ticket{slot, s.serial};
  if (ticket == blocked_ && !running_.empty() && Slack() <= blocked_slack_) return false;
  s.row = free_rows_.back();
  SharePrefix(s);
  const int last = LastPosition(s.prompt, s.of.max_new);
  const bool whole = s.preemptions >= options_.max_preemptions;
  const int need = PagesFor(whole ? last : std::min(static_cast<int>(s.ids.size()) + 1, last));
  // Slack leaves one page to grow for each that runs, or the newcomer would soon be preempted again.
  if (need - s.pages > Slack() && !running_.empty()) {
    while (s.pages > 0) pages_.Release(std::exchange(PageOf(s, --s.pages), -1));
    s.row = -1;
    blocked_ = ticket;
    blocked_slack_ = Slack();
    return false;
  }
  while (s.pages < need) PageOf(s, s.pages++) = pages_.Take();
  s.planned = s.computed = s.published * options_.page_tokens;
  counts_.hit_tokens += static_cast<uint64_t>(s.planned);
  if (s.cached < 0) s.cached = s.planned;
  s.state = State::kRunning;
  free_rows_.pop_back();
  waiting_.pop_back();
  const auto before = [this](int a, int b) { return Before(a, b); };
  running_.insert(std::upper_bound(running_.begin(), running_.end(), slot, before), slot);
  return true;
}

// Puts the cached pages of the longest known prefix into the row. The last known token is always computed again: its
// logits are wanted.
void Scheduler::SharePrefix(Sequence& s) {
  s.key = s.of.root;
  s.parent = s.of.scope;
  s.published = 0;
  if (s.logits_from < s.prompt - 1) return;
  for (int page; (page = ShareNext(s.ids, s.published, &s.key, &s.parent)) >= 0; ++s.published) {
    PageOf(s, s.pages++) = page;
  }
}

// One more holder of the cached page `index` of a sequence with these ids, and its key and serial in place of those of
// the page before it. -1: it is not cached.
int Scheduler::ShareNext(std::span<const int> ids, int index, PageKey* key, uint64_t* parent) {
  const size_t tokens = static_cast<size_t>(options_.page_tokens), from = static_cast<size_t>(index) * tokens;
  const bool before_the_last = from + tokens < ids.size();
  if (!options_.prefix_cache || !before_the_last) return -1;
  const std::span<const int> held = ids.subspan(from, tokens);
  const PageKey next = hasher_.Next(*key, held);
  const int page = pages_.Find({next, *parent, held});
  if (page < 0) return -1;
  pages_.Share(page);
  *key = next;
  *parent = pages_.serial(page);
  return page;
}

void Scheduler::AddToPlan(int slot, int count) {
  if (count <= 0) return;
  Sequence& s = at(slot);
  const int known = static_cast<int>(s.ids.size()), end = s.planned + count;
  PlannedSequence part;
  part.ticket = {slot, s.serial};
  part.tag = s.of.tag;
  part.first = s.planned;
  part.at = static_cast<int>(plan_->ids.size());
  part.count = count;
  part.output = static_cast<int>(plan_->outputs.size());
  part.outputs = std::max(0, end - std::max(s.planned, s.logits_from));
  part.samples = end == known + s.pending && end >= s.prompt;
  part.feed = part.first == known ? s.pending_output : -1;
  part.preemptions = s.preemptions;
  for (int position = s.planned; position < end; ++position) {
    plan_->ids.push_back(position < known ? s.ids[static_cast<size_t>(position)] : -1);
    plan_->positions.push_back(position);
    plan_->rows.push_back(s.row);
  }
  for (int row = part.at + count - part.outputs; row < part.at + count; ++row) plan_->outputs.push_back(row);
  if (part.samples) {
    ++s.pending;
    s.pending_output = static_cast<int>(plan_->outputs.size()) - 1;
  }
  s.planned = end;
  plan_->sequences.push_back(part);
}

// Makes sure that the next position has a page, at the cost of those that rank last. False when that is itself.
bool Scheduler::Grow(int slot) {
  Sequence& s = at(slot);
  while (s.pages < PagesFor(s.planned + 1)) {
    const int page = pages_.Take();
    if (page >= 0) {
      PageOf(s, s.pages++) = page;
      continue;
    }
    // Those that came back for the last time hold all they will ever need, so one that lacks a page can be preempted,
    // and the search ends at it or at one that ranks after it and is not in this plan yet.
    const auto preemptible = [this](int other) { return at(other).preemptions < options_.max_preemptions; };
    const auto victim = std::find_if(running_.rbegin(), running_.rend(), preemptible);
    UM_CHECK(victim != running_.rend());
    const int chosen = *victim;
    Preempt(chosen);
    if (chosen == slot) return false;
  }
  return true;
}

void Scheduler::Preempt(int slot) {
  Unseat(slot);
  Sequence& s = at(slot);
  s.state = State::kWaiting;
  s.planned = s.computed = s.published = 0;
  ++s.preemptions;
  Enqueue(slot);
  ++counts_.preemptions;
  preempted_ = true;
}

// ---- results ----

void Scheduler::Commit(std::span<const RowResult> results) {
  UM_CHECK(open_ > 0);
  const StepPlan& plan = oldest_plan();
  UM_CHECK(results.size() == plan.outputs.size());
  --open_;
  for (const PlannedSequence& part : plan.sequences) {
    CommitSequence(part, results.subspan(static_cast<size_t>(part.output), static_cast<size_t>(part.outputs)));
  }
}

void Scheduler::CommitSequence(const PlannedSequence& part, std::span<const RowResult> results) {
  const int slot = part.ticket.slot;
  Sequence* s = Find(part.ticket);
  if (s == nullptr) {  // it ended after this step was planned
    counts_.discarded += static_cast<uint64_t>(part.count);
    return;
  }
  for (const RowResult& result : results) {
    if (result.verdict == RowResult::kPoisoned) return EndSequence(slot, EndReason::kPoisoned);
  }
  const int end = part.first + part.count;
  if (part.preemptions == s->preemptions) {  // else its pages have gone to others
    s->computed = end;
    Publish(*s);
  }
  if (part.outputs > 0) s->logits_from = std::max(s->logits_from, end);
  if (!part.samples) {
    if (s->of.max_new == 0 && s->logits_from == s->prompt - 1) EndSequence(slot, EndReason::kLength);
    return;
  }
  --s->pending;
  s->ids.push_back(results.back().id);
  ++counts_.tokens;
  if (results.back().verdict == RowResult::kStop) return EndSequence(slot, EndReason::kStop);
  if (static_cast<int>(s->ids.size()) == s->prompt + s->of.max_new) EndSequence(slot, EndReason::kLength);
}

// Makes the pages that committed steps have filled findable: only what a step has returned from can serve others.
void Scheduler::Publish(Sequence& s) {
  if (!options_.prefix_cache) return;
  const size_t tokens = static_cast<size_t>(options_.page_tokens);
  while ((s.published + 1) * options_.page_tokens <= s.computed) {
    const std::span<const int> held =
        std::span<const int>(s.ids).subspan(static_cast<size_t>(s.published) * tokens, tokens);
    s.key = hasher_.Next(s.key, held);
    s.parent = pages_.Publish(PageOf(s, s.published++), {s.key, s.parent, held});
  }
}

std::vector<int> Scheduler::HoldPrefix(const PageKey& root, uint32_t scope, std::span<const int> ids) {
  std::vector<int> held;
  PageKey key = root;
  uint64_t parent = scope;
  for (int page; (page = ShareNext(ids, static_cast<int>(held.size()), &key, &parent)) >= 0;) held.push_back(page);
  return held;
}

void Scheduler::PublishPrefix(const PageKey& root, uint32_t scope, std::span<const int> ids,
                              std::span<const int> pages) {
  PageKey key = root;
  uint64_t parent = scope;
  const size_t tokens = static_cast<size_t>(options_.page_tokens);
  for (size_t i = 0; i < pages.size(); ++i) {
    const std::span<const int> held = ids.subspan(i * tokens, tokens);
    key = hasher_.Next(key, held);
    parent = pages_.serial(pages[i]) != 0 ? pages_.serial(pages[i]) : pages_.Publish(pages[i], {key, parent, held});
  }
}

// From the end, so that of a prefix the tail is evicted first.
void Scheduler::ReleasePages(std::span<const int> pages) {
  for (size_t i = pages.size(); i > 0; --i) pages_.Release(pages[i - 1]);
}

void Scheduler::Fail() {
  for (; open_ > 0; --open_) {
    for (const PlannedSequence& part : oldest_plan().sequences) {
      if (Find(part.ticket) != nullptr) EndSequence(part.ticket.slot, EndReason::kFailed);
    }
  }
}

}  // namespace unimax
