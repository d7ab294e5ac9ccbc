// SPDX-License-Identifier: Apache-2.0
#include "sim/simulation.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <utility>

namespace unimax::sim {
namespace {

constexpr int kVocabulary = 50;

// What the host and the oracle know about one sequence.
struct Client {
  Event of;
  Ticket ticket;
  size_t order = 0;  // of arrival
  Time rank = 0, start_by = kNever, finish_by = kNever;
  std::vector<uint64_t> content;  // [prompt + fresh] the right "key and value" of each position
  std::vector<int> ids;           // [prompt + fresh] the right ids
  int given = 0;                  // new ids that results have brought
  int next = 0;                   // the position that its next rows must begin with
  int preemptions = 0;
  int logits = 0;                                    // prompt rows whose logits came
  bool started = false, ran = false, ended = false;  // ran: had a row of the page table after the plan before
  bool cancelled = false, poison = false, poisoned = false, failed = false;
};

uint64_t Content(uint64_t before, int id, int position) {
  return Mix(before ^ Mix(static_cast<uint64_t>(id) << 32 | static_cast<uint64_t>(position)));
}
// The draw: a pure function of what the model says, the sequence's seed and the position.
int NextId(uint64_t content, int seed) {
  return static_cast<int>(Mix(content + Mix(static_cast<uint64_t>(seed))) % kVocabulary);
}

// An open plan, as the device has it.
struct Flight {
  struct Write {
    size_t tag, slot;  // who wrote which position of the memory
  };
  std::vector<int> sampled;  // one for each output
  std::vector<Write> writes;
};

class Simulation {
 public:
  explicit Simulation(const Schedule& schedule)
      : schedule_(schedule), options_(schedule.options), hasher_(schedule.hash_bits), scheduler_(options_, hasher_) {
    memory_.resize(static_cast<size_t>(options_.pages) * static_cast<size_t>(options_.page_tokens));
    references_.resize(static_cast<size_t>(options_.pages));
    for (uint32_t scope : {1, 2}) {
      PrefixScope parts;
      parts.name_space = std::to_string(scope);
      roots_[scope] = hasher_.Root(parts);
    }
  }

  Outcome Run();

 private:
  // Remembers the first rule that was broken.
  template <class... A>
  bool Rule(bool kept, fmt::format_string<A...> words, A&&... numbers) {
    if (!kept && out_.failure.empty()) {
      out_.failure = fmt::format("step {}: {}", step_, fmt::format(words, std::forward<A>(numbers)...));
    }
    return kept;
  }
  void Apply(int phase);
  void Arrive(const Event& e);
  void Step();
  void Launch(const StepPlan& plan);
  void CheckPart(const StepPlan& plan, const PlannedSequence& part, Client& client);
  void Compute(const StepPlan& plan, const PlannedSequence& part, Client& client, Flight& flight);
  void Spoil(const Flight& flight, int64_t tag);
  void CommitOldest();
  void Collect();
  void CheckPages();
  void CheckOrder();
  void CheckCache();
  uint64_t& Slot(int row, int position);
  int PageOf(int row, int position) const;
  bool NothingLeft() const {
    return next_event_ == schedule_.events.size() && scheduler_.idle() && !scheduler_.open_plans();
  }

  const Schedule& schedule_;
  const SchedulerOptions& options_;
  CutHasher hasher_;
  Scheduler scheduler_;
  Outcome out_;
  std::vector<Client> clients_;  // by tag
  std::map<int, size_t> by_id_;  // of events -> tag
  std::map<uint32_t, PageKey> roots_;
  std::vector<uint64_t> memory_;  // [pages, page_tokens]
  std::vector<int> references_;
  std::vector<int> previous_;      // ids that the newest step sampled
  std::vector<Flight> in_flight_;  // open plans, oldest first
  std::vector<RowResult> results_;
  std::vector<size_t> seated_;  // tags: those that this plan gave a row of the page table
  size_t next_event_ = 0;
  int step_ = 0, idle_steps_ = 0;
  int fails_ = 0;  // wanted
  Time now_ = 0;
};

Outcome Simulation::Run() {
  // Every step computes at least one row, and a row is computed again only after a preemption.
  int64_t limit = 200;
  for (const Event& e : schedule_.events) {
    limit = std::max<int64_t>(limit, e.step + 200);
  }
  for (const Event& e : schedule_.events) limit += int64_t{e.prompt + e.fresh + 2} * (options_.max_preemptions + 2);
  while (!NothingLeft() && out_.failure.empty()) {
    Step();
    ++step_;
    Rule(step_ < limit, "K02 no end after {} steps", limit);
  }
  Collect();
  CheckCache();
  const PageCounts pages = scheduler_.pages().counts();
  Rule(pages.held == 0, "K03 {} pages are held when idle", pages.held);
  for (const Client& client : clients_) Rule(client.ended, "H01 sequence {} never ended", client.of.id);
  const SchedulerCounts counts = scheduler_.counts();
  out_.steps = counts.steps;
  out_.tokens = counts.tokens;
  out_.preemptions = counts.preemptions;
  out_.discarded = counts.discarded;
  out_.hit_tokens = counts.hit_tokens;
  out_.evictions = scheduler_.pages().evictions();
  out_.collisions = scheduler_.pages().collisions();
  return out_;
}

void Simulation::Step() {
  Apply(0);
  const StepPlan& plan = scheduler_.Plan(now_);
  Launch(plan);
  if (!out_.failure.empty()) return;
  CheckOrder();
  Collect();
  CheckPages();
  const bool stalled = plan.empty() && scheduler_.open_plans() == 0 && !scheduler_.idle();
  idle_steps_ = stalled ? idle_steps_ + 1 : 0;
  out_.max_idle_steps = std::max(out_.max_idle_steps, idle_steps_);
  Rule(idle_steps_ <= 2, "K02 sequences wait, nothing is planned and nothing is on its way");
  Apply(1);
  const bool behind = scheduler_.open_plans() > schedule_.lag || (plan.empty() && scheduler_.open_plans() > 0);
  now_ += 500 + 20 * static_cast<Time>(plan.ids.size());
  if (behind && fails_ > 0) {
    --fails_;
    for (const PlannedSequence& part : scheduler_.oldest_plan().sequences) clients_[part.tag].failed = true;
    if (scheduler_.open_plans() == 2) {
      for (const PlannedSequence& part : plan.sequences) clients_[part.tag].failed = true;
    }
    scheduler_.Fail();
    Rule(scheduler_.open_plans() == 0, "I01 a plan stays open after the device failed");
    for (const Flight& flight : in_flight_) Spoil(flight, -1);
    in_flight_.clear();
  } else if (behind) {
    CommitOldest();
  }
  Apply(2);
  Collect();
  CheckPages();
}

void Simulation::Apply(int phase) {
  // Events of this step, those of other phases included: each is looked at three times and applied once.
  for (size_t i = next_event_; i < schedule_.events.size() && schedule_.events[i].step <= step_; ++i) {
    const Event& e = schedule_.events[i];
    if (e.phase != phase) continue;
    if (e.kind == Event::kArrive) Arrive(e);
    if (e.kind == Event::kFail) ++fails_;
    if (e.kind != Event::kCancel && e.kind != Event::kPoison) continue;
    const auto found = by_id_.find(e.id);
    if (found == by_id_.end()) continue;
    Client& client = clients_[found->second];
    if (e.kind == Event::kPoison) {
      client.poison = true;
      continue;
    }
    const bool lived = scheduler_.Lives(client.ticket);
    const bool did = scheduler_.Cancel(client.ticket);
    Rule(did == lived && !(client.ended && lived), "I01 cancel of {} says {}", e.id, did);
    client.cancelled |= did;
  }
  if (phase != 2) return;
  while (next_event_ < schedule_.events.size() && schedule_.events[next_event_].step <= step_) ++next_event_;
}

void Simulation::Arrive(const Event& e) {
  Client client;
  client.of = e;
  Submission s;
  s.tag = clients_.size();
  s.max_new = e.fresh;
  s.priority = e.priority;
  s.needs_host = e.needs_host != 0;
  s.prompt_logits = e.prompt_logits != 0;
  s.scope = static_cast<uint32_t>(e.scope);
  s.root = roots_[s.scope];
  if (e.start_ms >= 0) s.start_by = client.start_by = now_ + e.start_ms * 1000;
  if (e.finish_ms >= 0) s.finish_by = client.finish_by = now_ + e.finish_ms * 1000;
  client.rank = now_ + e.priority * options_.aging;
  uint64_t content = Mix(s.scope);
  for (int p = 0; p < e.prompt + e.fresh; ++p) {
    const int word = p < e.shared ? e.group : 1000 + e.id;
    const int id = p < e.prompt ? static_cast<int>(Mix(static_cast<uint64_t>(word * 4096 + p)) % kVocabulary)
                                : NextId(content, e.id);
    content = Content(content, id, p);
    client.ids.push_back(id);
    client.content.push_back(content);
  }
  s.prompt.assign(client.ids.begin(), client.ids.begin() + e.prompt);
  const int need = (e.prompt + e.fresh - 1 + options_.page_tokens - 1) / options_.page_tokens;
  const bool fits = need <= std::min(options_.pages, options_.max_pages);
  const bool full = scheduler_.full();
  Result<Ticket> ticket = scheduler_.Submit(std::move(s), now_);
  Rule(ticket.ok() == (fits && !full), "H02 sequence {} of {} pages: fits {}, full {}, but admitted {}", e.id, need,
       fits, full, ticket.ok());
  if (!ticket.ok()) {
    ++out_.refused;
    return;
  }
  ++out_.sequences;
  client.ticket = *ticket;
  client.order = clients_.size();
  by_id_[e.id] = clients_.size();
  clients_.push_back(std::move(client));
}

int Simulation::PageOf(int row, int position) const {
  return scheduler_.page_table()[static_cast<size_t>(row * options_.max_pages + position / options_.page_tokens)];
}

uint64_t& Simulation::Slot(int row, int position) {
  return memory_[static_cast<size_t>(PageOf(row, position) * options_.page_tokens + position % options_.page_tokens)];
}

// ---- a step ----

void Simulation::Launch(const StepPlan& plan) {
  if (plan.empty()) return;
  int prefill = 0, decodes = 0;
  Flight flight;
  flight.sampled.assign(plan.outputs.size(), -1);
  int at = 0, output = 0;
  for (const PlannedSequence& part : plan.sequences) {
    Client& client = clients_[part.tag];
    if (!Rule(part.at == at && part.output == output && part.count > 0, "K02 parts do not follow each other")) return;
    at += part.count;
    output += part.outputs;
    CheckPart(plan, part, client);
    if (!out_.failure.empty()) return;
    const bool starts = !client.ran;
    const bool last = part.samples || (client.of.fresh == 0 && client.next == client.of.prompt - 1);
    (part.count == 1 && last && !starts ? decodes : prefill) += part.count;
    Compute(plan, part, client, flight);
    if (!out_.failure.empty()) return;
  }
  const int tokens = static_cast<int>(plan.ids.size());
  Rule(at == tokens && output == static_cast<int>(plan.outputs.size()), "K02 {} rows, {} planned", tokens, at);
  Rule(tokens <= options_.max_step_tokens, "H04 {} tokens in a step of {}", tokens, options_.max_step_tokens);
  Rule(output <= options_.max_outputs, "H04 {} outputs in a step of {}", output, options_.max_outputs);
  Rule(decodes == 0 || prefill <= options_.max_step_prefill, "H04 {} prompt tokens beside {} decodes", prefill,
       decodes);
  previous_ = flight.sampled;
  in_flight_.push_back(std::move(flight));
}

void Simulation::CheckPart(const StepPlan& plan, const PlannedSequence& part, Client& client) {
  const int id = client.of.id;
  Rule(!client.ended && !client.cancelled && client.ticket == part.ticket, "I01 sequence {} runs after its end", id);
  Rule(now_ < client.finish_by, "H01 sequence {} runs after its deadline", id);
  Rule(client.started || now_ < client.start_by, "H01 sequence {} starts after its deadline", id);
  if (part.preemptions != client.preemptions || !client.started) {
    // A start: what lies in its pages below `first` came from the prefix cache.
    Rule(part.preemptions >= client.preemptions, "K08 preemptions of {} went back", id);
    client.preemptions = part.preemptions;
    Rule(part.first % options_.page_tokens == 0, "K05 a start of {} in mid-page, at {}", id, part.first);
    Rule(part.first == 0 || options_.prefix_cache, "K05 a hit of {} with the cache off", id);
    Rule(part.first < client.of.prompt + client.given, "K05 the last token of {} is not computed", id);
    const int row = plan.rows[static_cast<size_t>(part.at)];
    for (int p = 0; p < part.first; ++p) {
      Rule(Slot(row, p) == client.content[static_cast<size_t>(p)], "K01 wrong prefix for {} at {}", id, p);
    }
    client.started = true;
  } else {
    Rule(part.first == client.next, "K02 sequence {} goes on at {}, not {}", id, part.first, client.next);
  }
  client.next = part.first + part.count;
  Rule(client.preemptions <= options_.max_preemptions, "K08 {} was preempted {} times", id, client.preemptions);
  Rule(part.feed < 0 || client.of.needs_host == 0, "K02 sequence {} needs the host, but ran ahead", id);
  Rule(client.next < client.of.prompt + std::max(client.of.fresh, 1), "K02 sequence {} computes its last id", id);
}

// Reads and writes the pages as attention would, by the page table of this moment.
void Simulation::Compute(const StepPlan& plan, const PlannedSequence& part, Client& client, Flight& flight) {
  const int id = client.of.id;
  uint64_t content = 0;
  for (int i = 0; i < part.count; ++i) {
    const size_t at = static_cast<size_t>(part.at + i);
    const int p = plan.positions[at], row = plan.rows[at];
    const bool fed = i == 0 && part.feed >= 0;
    const size_t from = static_cast<size_t>(std::max(part.feed, 0));
    if (!Rule(!fed || from < previous_.size(), "K02 sequence {} is fed from output {}", id, part.feed)) return;
    const int token = fed ? previous_[from] : plan.ids[at];
    if (!Rule(p == part.first + i, "K02 sequence {}: position {} in place of {}", id, p, part.first + i)) return;
    if (!Rule(token == client.ids[static_cast<size_t>(p)], "K01 sequence {} reads id {} at {}", id, token, p)) return;
    const int page = PageOf(row, p);
    if (!Rule(page >= 0 && page < options_.pages, "K03 sequence {}: no page at {}", id, p)) return;
    const bool own = scheduler_.pages().references(page) == 1 && scheduler_.pages().serial(page) == 0;
    Rule(own, "K03 sequence {} writes into a page that others see, at {}", id, p);
    if (i == 0 && p > 0) {
      const int looked = static_cast<int>(Mix(static_cast<uint64_t>(step_ + id)) % static_cast<uint64_t>(p));
      Rule(Slot(row, looked) == client.content[static_cast<size_t>(looked)], "K01 {} lost position {}", id, looked);
    }
    const uint64_t before = p == 0 ? Mix(static_cast<uint64_t>(client.of.scope)) : Slot(row, p - 1);
    content = Content(before, token, p);
    Slot(row, p) = content;
    flight.writes.push_back({part.tag, static_cast<size_t>(&Slot(row, p) - memory_.data())});
    Rule(content == client.content[static_cast<size_t>(p)], "K01 sequence {} computes from foreign pages at {}", id, p);
  }
  for (int o = 0; o < part.outputs; ++o) {
    const int row = plan.outputs[static_cast<size_t>(part.output + o)];
    Rule(row == part.at + part.count - part.outputs + o, "K02 sequence {}: output row {}", id, row);
  }
  if (part.samples) flight.sampled[static_cast<size_t>(part.output + part.outputs - 1)] = NextId(content, id);
}

void Simulation::CommitOldest() {
  const StepPlan& plan = scheduler_.oldest_plan();
  const std::vector<int>& sampled = in_flight_.front().sampled;
  results_.assign(sampled.size(), {});
  for (const PlannedSequence& part : plan.sequences) {
    Client& client = clients_[part.tag];
    if (!scheduler_.Lives(part.ticket) || part.outputs == 0) continue;
    RowResult& last = results_[static_cast<size_t>(part.output + part.outputs - 1)];
    if (client.poison) {
      last.verdict = RowResult::kPoisoned;
      client.poisoned = true;
      if (!scheduler_.Waits(part.ticket)) Spoil(in_flight_.front(), static_cast<int64_t>(part.tag));
      continue;
    }
    if (client.of.prompt_logits != 0) client.logits += part.outputs - int{part.samples};
    if (!part.samples) continue;
    last.id = sampled[static_cast<size_t>(part.output + part.outputs - 1)];
    ++client.given;
    if (client.given == client.of.stop_after) last.verdict = RowResult::kStop;
  }
  scheduler_.Commit(results_);
  in_flight_.erase(in_flight_.begin());
}

// What a failed step, or a poisoned sequence in it (`tag`; -1: all), has written is not what it should be.
void Simulation::Spoil(const Flight& flight, int64_t tag) {
  for (const Flight::Write& write : flight.writes) {
    if (tag < 0 || write.tag == static_cast<size_t>(tag)) memory_[write.slot] = 0;
  }
}

// ---- judging ----

void Simulation::Collect() {
  End end;
  while (scheduler_.TakeEnd(&end)) {
    Client& client = clients_[end.tag];
    const int id = client.of.id, given = static_cast<int>(end.ids.size()) - client.of.prompt;
    Rule(!client.ended && end.ticket == client.ticket, "H01 sequence {} ended twice", id);
    client.ended = true;
    Rule(given == client.given, "H01 sequence {} got {} ids, {} were sampled", id, given, client.given);
    Rule(given <= client.of.fresh && std::equal(end.ids.begin(), end.ids.end(), client.ids.begin()),
         "K05 the ids of {} differ from those it gets alone", id);
    out_.max_preemptions = std::max(out_.max_preemptions, end.preemptions);
    const bool stopped = given == client.of.stop_after;
    bool right = false;
    switch (end.reason) {
      case EndReason::kStop:
        right = stopped;
        ++out_.stopped;
        break;
      case EndReason::kLength:
        right = given == client.of.fresh && !stopped;
        ++out_.finished;
        break;
      case EndReason::kCancelled:
        right = client.cancelled;
        ++out_.cancelled;
        break;
      case EndReason::kExpired:
        right = now_ >= std::min(client.start_by, client.finish_by);
        ++out_.expired;
        break;
      case EndReason::kPoisoned:
        right = client.poisoned;
        ++out_.poisoned;
        break;
      case EndReason::kFailed:
        right = client.failed;
        ++out_.failed;
        break;
    }
    Rule(right, "H01 sequence {} ended for the wrong reason, {}", id, static_cast<int>(end.reason));
    const int prompt_rows = client.of.prompt - 1;
    const bool all = end.reason == EndReason::kStop || end.reason == EndReason::kLength;
    Rule(client.of.prompt_logits == 0 || !all || client.logits == prompt_rows,
         "D09 {} of {} prompt rows of {} gave logits", client.logits, prompt_rows, id);
  }
}

void Simulation::CheckPages() {
  const KvPages& pages = scheduler_.pages();
  const PageCounts counts = pages.counts();
  Rule(counts.free + counts.held + counts.idle == options_.pages, "K03 {} + {} + {} pages of {}", counts.free,
       counts.held, counts.idle, options_.pages);
  Rule(pages.Consistent(), "K03 the page lists contradict each other");
  std::ranges::fill(references_, 0);
  for (const int page : scheduler_.page_table()) {
    if (page >= 0) ++references_[static_cast<size_t>(page)];
  }
  for (int page = 0; page < options_.pages; ++page) {
    const int seen = references_[static_cast<size_t>(page)];
    if (!Rule(seen == pages.references(page), "K03 page {}: {} references, {} entries", page, pages.references(page),
              seen)) {
      return;
    }
  }
}

// Who starts goes before all that still wait; who is preempted goes after all that still run and could have been.
void Simulation::CheckOrder() {
  const auto rank = [this](const Client& client) { return std::pair(client.rank, client.order); };
  seated_.clear();
  for (const Client& client : clients_) {
    const bool runs = !client.ended && scheduler_.Lives(client.ticket) && !scheduler_.Waits(client.ticket);
    if (runs && !client.ran) seated_.push_back(client.order);
  }
  for (Client& client : clients_) {
    if (client.ended || !scheduler_.Lives(client.ticket)) continue;
    Rule(now_ < client.finish_by && (client.started || now_ < client.start_by), "H01 sequence {} outlives its deadline",
         client.of.id);
    const bool runs = !scheduler_.Waits(client.ticket);
    const bool lost = client.ran && !runs;
    client.ran = runs;
    if (runs) continue;
    for (const size_t seated : seated_) {
      Rule(rank(clients_[seated]) < rank(client), "K08 sequence {} started before {}", clients_[seated].of.id,
           client.of.id);
    }
    if (!lost) continue;
    for (const Client& other : clients_) {
      const bool spared = !other.ended && scheduler_.Lives(other.ticket) && !scheduler_.Waits(other.ticket) &&
                          other.preemptions < options_.max_preemptions && rank(client) < rank(other);
      Rule(!spared, "K08 sequence {} was preempted, {} was spared", client.of.id, other.of.id);
    }
  }
}

// Whatever can still be found for a prefix must hold that prefix.
void Simulation::CheckCache() {
  if (!out_.failure.empty()) return;
  KvPages& pages = const_cast<KvPages&>(scheduler_.pages());
  for (const Client& client : clients_) {
    PageKey key = roots_[static_cast<uint32_t>(client.of.scope)];
    uint64_t parent = static_cast<uint64_t>(client.of.scope);
    const size_t tokens = static_cast<size_t>(options_.page_tokens);
    for (size_t from = 0; from + tokens <= client.ids.size(); from += tokens) {
      const std::span<const int> ids = std::span(client.ids).subspan(from, tokens);
      key = hasher_.Next(key, ids);
      const int page = pages.Find({key, parent, ids});
      if (page < 0) break;
      parent = pages.serial(page);
      const bool same = std::equal(client.content.begin() + static_cast<ptrdiff_t>(from),
                                   client.content.begin() + static_cast<ptrdiff_t>(from + tokens),
                                   memory_.begin() + page * options_.page_tokens);
      if (!Rule(same, "K04 a cached page of {} holds something else at {}", client.of.id, from)) return;
    }
  }
}

}  // namespace

void Outcome::Add(const Outcome& other) {
  for (auto field :
       {&Outcome::steps, &Outcome::tokens, &Outcome::sequences, &Outcome::refused, &Outcome::preemptions,
        &Outcome::hit_tokens, &Outcome::discarded, &Outcome::cancelled, &Outcome::expired, &Outcome::poisoned,
        &Outcome::failed, &Outcome::stopped, &Outcome::finished, &Outcome::evictions, &Outcome::collisions}) {
    this->*field += other.*field;
  }
  max_preemptions = std::max(max_preemptions, other.max_preemptions);
  max_idle_steps = std::max(max_idle_steps, other.max_idle_steps);
  if (failure.empty()) failure = other.failure;
}

Outcome Simulate(const Schedule& schedule) { return Simulation(schedule).Run(); }

PageKey CutHasher::Digest(std::span<const std::byte> head, std::span<const std::byte> tail) {
  uint64_t word = 0, hash = head.size();
  int filled = 0;
  for (const std::span<const std::byte> part : {head, tail}) {
    for (const std::byte byte : part) {
      word = word << 8 | static_cast<uint64_t>(byte);
      if (++filled % 8 == 0) hash = Mix(hash ^ std::exchange(word, 0));
    }
  }
  hash = Mix(hash ^ word) & mask_;
  PageKey key;
  std::memcpy(key.bytes.data(), &hash, sizeof hash);
  return key;
}

}  // namespace unimax::sim
