// SPDX-License-Identifier: Apache-2.0
#include "sim/schedule.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <utility>

namespace unimax::sim {
namespace {

constexpr const char* kKinds[] = {"arrive", "cancel", "poison", "fail"};

// Every number of a schedule by name: printing and reading are loops over these lists.
std::vector<std::pair<const char*, int*>> Fields(Schedule& s) {
  SchedulerOptions& o = s.options;
  return {{"lag", &s.lag},
          {"hash_bits", &s.hash_bits},
          {"pages", &o.pages},
          {"page_tokens", &o.page_tokens},
          {"max_pages", &o.max_pages},
          {"max_running", &o.max_running},
          {"max_sequences", &o.max_sequences},
          {"max_step_tokens", &o.max_step_tokens},
          {"max_step_prefill", &o.max_step_prefill},
          {"max_outputs", &o.max_outputs},
          {"max_preemptions", &o.max_preemptions}};
}

std::vector<std::pair<const char*, int*>> Fields(Event& e) {
  return {{"step", &e.step},
          {"phase", &e.phase},
          {"id", &e.id},
          {"group", &e.group},
          {"shared", &e.shared},
          {"prompt", &e.prompt},
          {"fresh", &e.fresh},
          {"priority", &e.priority},
          {"start_ms", &e.start_ms},
          {"finish_ms", &e.finish_ms},
          {"stop_after", &e.stop_after},
          {"scope", &e.scope},
          {"needs_host", &e.needs_host},
          {"prompt_logits", &e.prompt_logits}};
}

SchedulerOptions MakeOptions(Random& random) {
  SchedulerOptions o;
  const int page_tokens[] = {1, 2, 4, 4, 8, 32};
  o.page_tokens = page_tokens[random.Upto(5)];
  o.pages = random.OneIn(3) ? random.Between(2, 12) : random.Between(16, 64);
  o.max_pages = random.OneIn(4) ? std::max(1, o.pages / 2) : o.pages;
  o.max_running = random.Between(1, 12);
  o.max_sequences = o.max_running + random.Between(0, 24);
  o.max_step_tokens = o.max_running + random.Between(0, 64);
  o.max_step_prefill = random.Between(1, 48);
  o.max_outputs = o.max_running + random.Between(0, 8);
  o.max_preemptions = random.Upto(3);
  o.aging = 20'000;
  o.prefix_cache = !random.OneIn(5);
  return o;
}

Event MakeArrival(Random& random, const SchedulerOptions& o, int id) {
  // Mostly a part of the pool, now and then all of it or one token more than a sequence can have.
  const int most = std::min(o.pages, o.max_pages) * o.page_tokens;
  const int total = random.OneIn(12) ? most + random.Upto(2) : random.Between(2, std::max(2, std::min(most, 64)));
  Event e;
  e.id = id;
  e.prompt = random.Between(1, std::max(1, total - 1));
  e.fresh = std::max(1, total + 1 - e.prompt);
  e.group = random.Upto(2);
  e.shared = random.OneIn(3) ? 0 : random.Upto(e.prompt);
  e.scope = random.OneIn(6) ? 2 : 1;
  e.priority = random.OneIn(3) ? random.Between(-2, 2) : 0;
  if (random.OneIn(10)) e.start_ms = random.Upto(60);
  if (random.OneIn(10)) e.finish_ms = random.Upto(120);
  if (random.OneIn(3)) e.stop_after = random.Between(1, e.fresh);
  e.needs_host = random.OneIn(5);
  e.prompt_logits = random.OneIn(8);
  if (e.prompt_logits != 0 && e.prompt > 1 && random.OneIn(3)) e.fresh = 0;
  return e;
}

}  // namespace

Schedule MakeSchedule(uint64_t seed) {
  Random random(Mix(seed));
  Schedule s;
  s.seed = seed;
  s.lag = random.OneIn(3) ? 0 : 1;
  s.hash_bits = random.OneIn(4) ? 8 : 64;
  s.options = MakeOptions(random);
  const int arrivals = random.Between(1, 24), span = random.Upto(80);
  for (int id = 0; id < arrivals; ++id) {
    Event e = MakeArrival(random, s.options, id);
    e.step = random.Upto(span);
    s.events.push_back(e);
    const Event::Kind kind = random.OneIn(4) ? Event::kCancel : random.OneIn(12) ? Event::kPoison : Event::kArrive;
    if (kind == Event::kArrive) continue;
    Event end;
    end.kind = kind;
    end.id = id;
    end.step = e.step + random.Upto(30);
    end.phase = random.Upto(2);
    s.events.push_back(end);
  }
  if (random.OneIn(6)) {
    Event fail;
    fail.kind = Event::kFail;
    fail.step = random.Upto(span);
    s.events.push_back(fail);
  }
  std::ranges::stable_sort(s.events, {}, &Event::step);
  return s;
}

Schedule MakeLoad(uint64_t seed, int arrivals) {
  Random random(Mix(seed ^ 0x10AD));
  Schedule s;
  s.seed = seed;
  SchedulerOptions& o = s.options;
  constexpr int kRunning = 16, kMeanTokens = 48 + 36;
  o.page_tokens = 8;
  o.pages = o.max_pages = kRunning * kMeanTokens * 4 / 5 / o.page_tokens;
  o.max_running = kRunning;
  o.max_sequences = arrivals;
  o.max_step_tokens = 64;
  o.max_step_prefill = 48;
  o.max_outputs = 64;
  o.aging = 20'000;
  for (int id = 0; id < arrivals; ++id) {
    Event e;
    e.id = id;
    e.step = id;
    e.prompt = random.Between(16, 80);
    e.fresh = random.Between(8, 64);
    e.group = random.Upto(3);
    e.shared = random.Upto(e.prompt);
    e.priority = random.Between(-1, 1);
    s.events.push_back(e);
    if (!random.OneIn(6)) continue;
    Event cancel;
    cancel.kind = Event::kCancel;
    cancel.id = id;
    cancel.step = e.step + random.Upto(150);
    cancel.phase = random.Upto(2);
    s.events.push_back(cancel);
  }
  std::ranges::stable_sort(s.events, {}, &Event::step);
  return s;
}

std::string Print(const Schedule& schedule) {
  Schedule s = schedule;
  std::string text = fmt::format("setup seed={} cache={}", s.seed, int{s.options.prefix_cache});
  for (const auto& [name, value] : Fields(s)) text += fmt::format(" {}={}", name, *value);
  for (Event& e : s.events) {
    text += fmt::format("\n{}", kKinds[e.kind]);
    Event plain;
    const auto defaults = Fields(plain);
    size_t i = 0;
    for (const auto& [name, value] : Fields(e)) {
      if (*value != *defaults[i++].second) text += fmt::format(" {}={}", name, *value);
    }
  }
  return text + "\n";
}

std::optional<Schedule> Parse(const std::string& text) {
  Schedule s;
  s.options.aging = 20'000;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string kind, word;
    words >> kind;
    if (kind.empty() || kind[0] == '#') continue;
    std::map<std::string, int64_t> numbers;
    while (words >> word) {
      const size_t equals = word.find('=');
      if (equals == std::string::npos) return std::nullopt;
      numbers[word.substr(0, equals)] = std::stoll(word.substr(equals + 1));
    }
    Event e;
    const auto fields = kind == "setup" ? Fields(s) : Fields(e);
    for (const auto& [name, value] : fields) {
      if (numbers.contains(name)) *value = static_cast<int>(numbers[name]);
    }
    if (kind == "setup") {
      s.seed = static_cast<uint64_t>(numbers["seed"]);
      s.options.prefix_cache = numbers["cache"] != 0;
      continue;
    }
    const auto found = std::ranges::find(kKinds, kind);
    if (found == std::end(kKinds)) return std::nullopt;
    e.kind = static_cast<Event::Kind>(found - std::begin(kKinds));
    s.events.push_back(e);
  }
  return s;
}

Schedule Shrink(Schedule schedule, const std::function<bool(const Schedule&)>& fails) {
  for (size_t chunk = std::max<size_t>(1, schedule.events.size() / 2); chunk > 0;) {
    bool smaller = false;
    for (size_t from = 0; from < schedule.events.size();) {
      Schedule less = schedule;
      const auto begin = less.events.begin() + static_cast<ptrdiff_t>(from);
      less.events.erase(begin, begin + static_cast<ptrdiff_t>(std::min(chunk, less.events.size() - from)));
      if (fails(less)) {
        schedule = std::move(less);
        smaller = true;
      } else {
        from += chunk;
      }
    }
    if (!smaller || chunk > schedule.events.size()) chunk /= 2;
  }
  return schedule;
}

}  // namespace unimax::sim
