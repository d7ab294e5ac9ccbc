// SPDX-License-Identifier: Apache-2.0
// The scheduler under seeded schedules (tests/sim). A schedule that breaks a rule is shrunk and printed; put the text
// into tests/data/schedules, and it stays a test.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "base/clock.h"
#include "sim/simulation.h"

namespace unimax {
namespace {

using sim::Outcome;
using sim::Schedule;

unsigned long long Big(uint64_t n) { return n; }

// "step 12: K03 two words" -> "K03"
std::string RuleOf(const std::string& failure) { return failure.substr(failure.find(": ") + 2, 3); }

void Explain(const Schedule& schedule) {
  const auto fails = [](const Schedule& less) { return !sim::Simulate(less).failure.empty(); };
  const Schedule small = sim::Shrink(schedule, fails);
  ADD_FAILURE() << sim::Simulate(schedule).failure << "\nshrunk to: " << sim::Simulate(small).failure << "\n"
                << sim::Print(small);
}

// Simulates; counts broken rules by their name, and explains the first.
class Judge {
 public:
  void Run(const Schedule& schedule) {
    const Outcome outcome = sim::Simulate(schedule);
    all_.Add(outcome);
    if (outcome.failure.empty()) return;
    if (broken_.empty()) Explain(schedule);
    ++broken_[RuleOf(outcome.failure)];
  }
  int broken(const std::string& rule) const { return broken_.contains(rule) ? broken_.at(rule) : 0; }
  const Outcome& all() const { return all_; }
  const char* Verdict(const std::string& rule, bool enough) const {
    EXPECT_TRUE(enough) << rule << ": too little happened to prove anything";
    return broken(rule) == 0 && enough ? "PASS" : "FAIL";
  }

 private:
  Outcome all_;
  std::map<std::string, int> broken_;
};

TEST(SchedulerSimulation, TenThousandSchedulesKeepEveryRule) {
  constexpr int kSeeds = 10'000;
  Judge judge;
  const double start = NowMilliseconds();
  for (uint64_t seed = 0; seed < kSeeds; ++seed) judge.Run(sim::MakeSchedule(seed));
  const double seconds = (NowMilliseconds() - start) / 1000;
  const Outcome& all = judge.all();
  std::printf("simulated seeds=%d steps=%llu steps_per_s=%.0f sequences=%llu refused=%llu stopped=%llu length=%llu\n",
              kSeeds, Big(all.steps), static_cast<double>(all.steps) / seconds, Big(all.sequences), Big(all.refused),
              Big(all.stopped), Big(all.finished));
  std::printf("K02 stalls=%d max_idle_steps=%d seeds=%d %s\n", judge.broken("K02"), all.max_idle_steps, kSeeds,
              judge.Verdict("K02", all.preemptions > 1000));
  std::printf("K03 violations=%d steps=%llu checks=%llu %s\n", judge.broken("K03"), Big(all.steps), Big(2 * all.steps),
              judge.Verdict("K03", all.steps > 500'000));
  std::printf("K08 inversions=%d max_preempt=%d preemptions=%llu %s\n", judge.broken("K08"), all.max_preemptions,
              Big(all.preemptions), judge.Verdict("K08", all.max_preemptions == 3));
  std::printf("I01 neighbour_diffs=%d cancels=%llu discarded_rows=%llu seeds=%d %s\n",
              judge.broken("I01") + judge.broken("K01"), Big(all.cancelled), Big(all.discarded), kSeeds,
              judge.Verdict("I01", all.cancelled > 10'000));
  std::printf("schedules cancelled=%llu failed=%llu poisoned=%llu evictions=%llu collisions=%llu hit_tokens=%llu\n",
              Big(all.cancelled), Big(all.failed), Big(all.poisoned), Big(all.evictions), Big(all.collisions),
              Big(all.hit_tokens));
  std::printf("H01 unterminated_or_double=%d ends=%llu expired=%llu %s\n", judge.broken("H01"), Big(all.sequences),
              Big(all.expired), judge.Verdict("H01", all.expired > 1000));
  std::printf("H02 wrong_refusals=%d refused=%llu %s\n", judge.broken("H02"), Big(all.refused),
              judge.Verdict("H02", all.refused > 1000));
}

// A prefill in chunks is stopped at each of its steps in each way; then another asks for the same prompt.
TEST(SchedulerSimulation, WhatWasStoppedIsNotInTheCache) {
  Judge judge;
  int runs = 0;
  for (const auto kind : {sim::Event::kCancel, sim::Event::kPoison, sim::Event::kFail}) {
    for (int at = 0; at < 3 * 12; ++at) {
      Schedule schedule;
      SchedulerOptions& o = schedule.options;
      o.pages = o.max_pages = 32;
      o.page_tokens = 4;
      o.max_running = 2;
      o.max_sequences = o.max_outputs = 4;
      o.max_step_tokens = 7;
      schedule.lag = at % 2;
      sim::Event prompt, stop, again;
      prompt.group = prompt.id = 0;
      prompt.prompt = prompt.shared = 70;
      prompt.fresh = 4;
      stop.kind = kind;
      stop.step = at / 3;
      stop.phase = kind == sim::Event::kFail ? 0 : at % 3;
      again = prompt;
      again.id = 1;
      again.step = stop.step + 4;
      schedule.events = {prompt, stop, again};
      judge.Run(schedule);
      ++runs;
    }
  }
  const Outcome& all = judge.all();
  const bool enough = all.cancelled > 20 && all.poisoned > 10 && all.failed > 20 && all.hit_tokens > 1000;
  std::printf("K04 poisoned_hits=%d runs=%d cancelled=%llu poisoned=%llu failed=%llu hit_tokens=%llu %s\n",
              judge.broken("K04") + judge.broken("K01"), runs, Big(all.cancelled), Big(all.poisoned), Big(all.failed),
              Big(all.hit_tokens), judge.Verdict("K04", enough && judge.broken("K01") == 0));
}

TEST(SchedulerSimulation, TextsUnderLoadEqualThoseAlone) {
  constexpr int kRounds = 28, kPrompts = 200;
  Judge judge;
  for (uint64_t round = 0; round < kRounds; ++round) judge.Run(sim::MakeLoad(round, kPrompts));
  const Outcome& all = judge.all();
  std::printf("K01 foreign_ids=%d prompts=%d rounds=%d cancelled=%llu preemptions=%llu %s\n", judge.broken("K01"),
              kPrompts, kRounds, Big(all.cancelled), Big(all.preemptions),
              judge.Verdict("K01", all.cancelled > 300 && all.preemptions > 40));
}

// With the cache and without it each text is the one that the oracle gives; the pool is turned over many times.
TEST(SchedulerSimulation, HitEqualsMiss) {
  Judge judge;
  uint64_t hits = 0, churn = ~uint64_t{0};
  for (uint64_t seed = 0; seed < 4; ++seed) {
    for (const bool cache : {true, false}) {
      Schedule schedule = sim::MakeLoad(seed, 600);
      schedule.options.prefix_cache = cache;
      const uint64_t before = judge.all().evictions, hits_before = judge.all().hit_tokens;
      judge.Run(schedule);
      if (!cache) {
        EXPECT_EQ(judge.all().hit_tokens, hits_before);
        continue;
      }
      hits = judge.all().hit_tokens;
      churn = std::min(churn, (judge.all().evictions - before) / static_cast<uint64_t>(schedule.options.pages));
    }
  }
  std::printf("K05 diffs=%d hit_tokens=%llu churn=%llux_pool %s\n", judge.broken("K05"), Big(hits), Big(churn),
              judge.Verdict("K05", churn >= 20 && hits > 1000));
}

TEST(SchedulerSimulation, KeptSchedulesStayGood) {
  int read = 0;
  for (const auto& entry : std::filesystem::directory_iterator(UM_SOURCE_DIR "/tests/data/schedules")) {
    if (entry.path().extension() != ".txt") continue;
    std::ifstream file(entry.path());
    std::stringstream text;
    text << file.rdbuf();
    const std::optional<Schedule> schedule = sim::Parse(text.str());
    ASSERT_TRUE(schedule.has_value()) << entry.path();
    EXPECT_EQ(sim::Simulate(*schedule).failure, "") << entry.path();
    ++read;
  }
  EXPECT_GT(read, 0);
}

TEST(Schedule, IsReadBackAsPrinted) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const std::string text = sim::Print(sim::MakeSchedule(seed));
    const std::optional<Schedule> read = sim::Parse(text);
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(sim::Print(*read), text);
  }
  EXPECT_FALSE(sim::Parse("setup pages"));
  EXPECT_FALSE(sim::Parse("vanish id=1"));
}

TEST(Schedule, ShrinksToTheEventsThatMatter) {
  const Schedule schedule = sim::MakeLoad(1, 100);
  const auto fails = [](const Schedule& s) {
    int found = 0;
    for (const sim::Event& e : s.events) found += e.kind == sim::Event::kArrive && (e.id == 17 || e.id == 80);
    return found == 2;
  };
  EXPECT_EQ(sim::Shrink(schedule, fails).events.size(), 2u);
}

}  // namespace
}  // namespace unimax
