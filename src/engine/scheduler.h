// SPDX-License-Identifier: Apache-2.0
// Which sequence computes which tokens in which step, and in which pages. Pure integers: no thread, no clock (times are
// arguments), no device; so all of it is tested by simulation (scheduler_sim_test.cc). Plan and Commit allocate
// nothing.
//
// The step loop of the host, which may run one step ahead of the device:
//
//     const StepPlan& plan = scheduler.Plan(now);    // step n+1, before the results of step n arrived
//     ... launch it ...
//     scheduler.Commit(results of step n);           // ids that were sampled; frees, publishes, ends
//     while (scheduler.TakeEnd(&end)) ...
//
// A step mixes decodes (one token of each sequence that has its prompt behind it) with chunks of prompts that fill the
// rest of the step's token budget. When pages run out, the sequence of the lowest rank gives all of its pages back and
// is computed again later; its published pages often still lie in the prefix cache.
//
// Rank = arrival + priority * aging, smaller first. It never changes, so a queue sorted by it needs no re-sorting, and
// nobody starves: only those that arrive within (difference of priorities) * aging after a sequence can overtake it.
//
// Sources: iteration-level batching: Orca (OSDI 2022). Pages and preemption by recompute: arXiv 2309.06180. Chunked
// prefill that shares steps with decodes under a token budget: Sarathi-Serve (arXiv 2403.02310).
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "engine/kv_pages.h"
#include "engine/page_key.h"

namespace unimax {

using Time = int64_t;  // microseconds since an arbitrary moment
constexpr Time kNever = std::numeric_limits<Time>::max();

struct SchedulerOptions {
  int pages = 0;               // of the pool
  int page_tokens = 32;        // positions a page
  int max_pages = 0;           // pages of the longest sequence: the width of the page table
  int max_running = 64;        // sequences in steps at the same time: rows of the page table
  int max_sequences = 256;     // running, waiting, or ended and not yet taken
  int max_step_tokens = 512;   // tokens of a step; at least max_running
  int max_step_prefill = 256;  // prompt tokens of a step that also decodes: bounds the gap between streamed tokens
  int max_outputs = 64;        // rows of a step whose logits are wanted; at least max_running
  Time aging = 10'000'000;     // what one step of priority is worth in waiting time
  int max_preemptions = 3;     // after these a sequence comes back with all pages it can ever need
  bool prefix_cache = true;
};

struct Submission {
  std::vector<int> prompt;     // at least one id
  int max_new = 1;             // tokens to sample at most; 0 only with prompt_logits
  int priority = 0;            // smaller goes first
  Time start_by = kNever;      // ends as kExpired when its first step is not planned by then
  Time finish_by = kNever;     // ends as kExpired
  bool needs_host = false;     // lag 0: a mask or a stop string must be looked at before the next token is planned
  bool prompt_logits = false;  // every prompt row is an output; does not read the prefix cache
  PageKey root;                // PageHasher::Root of the scope
  uint32_t scope = 1;          // number of the same scope, unique in this process
  uint64_t tag = 0;            // the caller's own
};

// Names a sequence as long as it lives; later uses of the slot have other serials.
struct Ticket {
  int slot = -1;
  uint32_t serial = 0;
  bool operator==(const Ticket&) const = default;
};

// One sequence's part of a step. Its rows are [at, at + count) of the plan's arrays.
struct PlannedSequence {
  Ticket ticket;
  uint64_t tag = 0;
  int first = 0;  // position of its first row
  int at = 0, count = 0;
  int output = 0;        // its rows of the plan's outputs: [output, output + outputs)
  int outputs = 0;       // the last `outputs` rows of the sequence
  bool samples = false;  // the last output gives the sequence's next id
  int feed = -1;         // the first row's id is still on the device: that output of the step before; -1: ids has it
  int preemptions = 0;   // before this step: results of a sequence that lost its pages since are not published
};

// Arrays are valid until the second Plan after this one; the page table until the next Plan.
struct StepPlan {
  uint64_t number = 0;
  std::vector<PlannedSequence> sequences;
  std::vector<int> ids;        // [T] -1 where `feed` says so
  std::vector<int> positions;  // [T]
  std::vector<int> rows;       // [T] row of the page table
  std::vector<int> outputs;    // [O] rows of the step, ascending
  bool empty() const { return sequences.empty(); }
};

// What a step gave for an output row.
struct RowResult {
  enum Verdict { kGoOn, kStop, kPoisoned };  // kStop: an end token or stop string; kPoisoned: a logit was not finite
  int id = 0;                                // ignored where the row does not sample
  Verdict verdict = kGoOn;
};

enum class EndReason { kStop, kLength, kCancelled, kExpired, kPoisoned, kFailed };

struct End {
  Ticket ticket;
  uint64_t tag = 0;
  EndReason reason = EndReason::kStop;
  std::vector<int> ids;  // prompt and answer
  int prompt = 0;        // ids of the prompt
  int cached = 0;        // prompt tokens that the prefix cache gave at the first start
  int preemptions = 0;
};

struct SchedulerCounts {
  int waiting = 0, running = 0;
  uint64_t steps = 0, tokens = 0, preemptions = 0, discarded = 0;  // discarded: rows whose sequence had ended
  uint64_t hit_tokens = 0;
};

class Scheduler {
 public:
  // Errors: kUsage where the options contradict each other. `hasher` must live as long as the scheduler.
  static Result<std::unique_ptr<Scheduler>> Make(const SchedulerOptions& options, PageHasher& hasher);
  Scheduler(const SchedulerOptions& options, PageHasher& hasher);  // options without contradictions: see Make

  // kUsage, with the sizes, for a sequence that could never run. Any thread may ask.
  Status CheckSize(int64_t prompt, int64_t max_new, bool prompt_logits) const;
  // Queues a sequence. Allocates. Errors: of CheckSize.
  // full(): no slot is free; the caller answers "overloaded" before it calls.
  Result<Ticket> Submit(Submission submission, Time now);
  bool full() const { return free_slots_.empty(); }

  // Ends a sequence in any state: no later plan holds it. False when it has ended already.
  bool Cancel(Ticket ticket);

  // The next step. At most two plans may be open (planned, not committed); a plan that is empty is not open. Nothing to
  // do, or nothing before the next Commit: empty.
  const StepPlan& Plan(Time now);
  bool can_plan() const { return open_ < 2; }
  int open_plans() const { return open_; }
  const StepPlan& oldest_plan() const { return plans_[open_ == 1 ? newest_ : 1 - newest_]; }  // with one open

  // The results of the oldest open plan, one for each output.
  void Commit(std::span<const RowResult> results);
  // The device failed: every sequence with a row in an open plan ends as kFailed, and all plans are closed.
  void Fail();

  // Takes one end, in the order in which they came; its slot becomes free. False when there is none.
  bool TakeEnd(End* end);

  // ---- the prefix cache, for those who keep pages beyond the process; between a Commit and the next Plan ----
  // The cached pages of the longest prefix that a sequence with these ids would share, in their order. Whoever gets
  // them holds them until ReleasePages.
  std::vector<int> HoldPrefix(const PageKey& root, uint32_t scope, std::span<const int> ids);
  // A page that nobody else has, held; -1: all are held.
  int TakePage() { return pages_.Take(); }
  // Held pages [pages], now filled with the first ids, become findable; those of them that are known already stay as
  // they are.
  void PublishPrefix(const PageKey& root, uint32_t scope, std::span<const int> ids, std::span<const int> pages);
  void ReleasePages(std::span<const int> pages);

  bool Lives(Ticket ticket) const;  // waits or runs
  bool Waits(Ticket ticket) const { return Lives(ticket) && at(ticket.slot).state == State::kWaiting; }
  bool idle() const { return running_.empty() && waiting_.empty(); }
  std::span<const int> page_table() const { return page_table_; }           // [max_running, max_pages], -1: no page
  std::span<const int> History(Ticket ticket) const;                        // ids so far; empty after the end
  int PromptTokens(Ticket ticket) const { return at(ticket.slot).prompt; }  // of a sequence that lives
  const KvPages& pages() const { return pages_; }
  const SchedulerOptions& options() const { return options_; }
  SchedulerCounts counts() const;

 private:
  enum class State { kFree, kWaiting, kRunning, kEnded };
  struct Sequence {
    State state = State::kFree;
    uint32_t serial = 0;
    Submission of;         // its prompt has moved to ids
    std::vector<int> ids;  // known: prompt and answer
    int prompt = 0;
    Time rank = 0;
    uint64_t order = 0;       // of submission: breaks ties of rank
    int row = -1;             // of the page table
    int pages = 0;            // in its row
    int planned = 0;          // positions whose keys and values planned steps compute; the next to plan
    int computed = 0;         // positions that committed steps have computed
    int pending = 0;          // ids that open plans sample; when a plan is made at most 1
    int pending_output = -1;  // where the newest open plan puts that id
    int logits_from = 0;      // the first row whose logits were not yet given
    int published = 0;        // pages of its row known to the prefix cache
    PageKey key;              // of the last published page
    uint64_t parent = 0;      // serial of its content
    int cached = -1;          // prefix tokens at the first start; -1: never started
    int preemptions = 0;
    EndReason reason = EndReason::kStop;
  };

  Sequence& at(int slot) { return sequences_[static_cast<size_t>(slot)]; }
  const Sequence& at(int slot) const { return sequences_[static_cast<size_t>(slot)]; }
  Sequence* Find(Ticket ticket) { return Lives(ticket) ? &at(ticket.slot) : nullptr; }
  int& PageOf(const Sequence& s, int index) {
    return page_table_[static_cast<size_t>(s.row) * static_cast<size_t>(options_.max_pages) +
                       static_cast<size_t>(index)];
  }
  int PagesFor(int positions) const { return (positions + options_.page_tokens - 1) / options_.page_tokens; }
  bool Before(int a, int b) const;  // by rank
  int Slack() const { return pages_.available() - static_cast<int>(running_.size()); }
  int Ready(const Sequence& s) const;

  void Enqueue(int slot);
  void Expire(Time now);
  void PlanDecodes();
  void PlanPrefills();
  void Admit();
  bool Start(int slot);
  void SharePrefix(Sequence& s);
  int ShareNext(std::span<const int> ids, int index, PageKey* key, uint64_t* parent);
  void AddToPlan(int slot, int count);
  int Room(const Sequence& s) const;
  bool Grow(int slot);
  void Preempt(int slot);
  void Publish(Sequence& s);
  void CommitSequence(const PlannedSequence& part, std::span<const RowResult> results);
  void Unseat(int slot);
  void EndSequence(int slot, EndReason reason);

  const SchedulerOptions options_;
  PageHasher& hasher_;
  KvPages pages_;
  std::vector<Sequence> sequences_;
  std::vector<int> free_slots_;
  std::vector<int> free_rows_;
  std::vector<int> waiting_;  // by rank, the first to run last
  std::vector<int> running_;  // by rank, the first to run first
  std::vector<int> ended_;    // a ring of slots
  size_t ended_first_ = 0, ended_count_ = 0;
  std::vector<int> page_table_;
  std::array<StepPlan, 2> plans_;  // by turns
  int open_ = 0;                   // plans not yet committed
  size_t newest_ = 0;              // index of the newest plan that was not empty
  StepPlan* plan_ = nullptr;       // being made
  int decodes_ = 0;                // sequences of it that decode
  bool preempted_ = false;         // something was, in this Plan
  Time next_expiry_ = kNever;      // nothing expires before
  Ticket blocked_;                 // the head of the queue when it last did not fit
  int blocked_slack_ = 0;          // and Slack() then
  uint64_t next_order_ = 0;
  SchedulerCounts counts_;
};

}  // namespace unimax
