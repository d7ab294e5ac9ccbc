// SPDX-License-Identifier: Apache-2.0
// A schedule: what happens to a scheduler, and when. Made from a seed, printed as text, read back, shrunk.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/scheduler.h"

namespace unimax::sim {

// SplitMix64 (Steele et al. 2014): one word of state, good enough to choose schedules and to mix contents.
inline uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() { return Mix(state_++ * 0x9E3779B97F4A7C15 + 1); }
  int Upto(int most) { return static_cast<int>(Next() % (static_cast<uint64_t>(most) + 1)); }  // 0..most
  int Between(int least, int most) { return least + Upto(most - least); }
  bool OneIn(int n) { return Upto(n - 1) == 0; }

 private:
  uint64_t state_;
};

// One line of a schedule. `id` names a sequence; the other numbers are of arrivals only.
struct Event {
  enum Kind { kArrive, kCancel, kPoison, kFail };
  Kind kind = kArrive;
  int step = 0;   // before which Plan
  int phase = 0;  // of a cancel: 0 before Plan, 1 between Plan and Commit, 2 after Commit
  int id = 0;
  int group = 0;   // sequences of a group begin with the same ids
  int shared = 0;  // that many
  int prompt = 1, fresh = 1;
  int priority = 0;
  int start_ms = -1, finish_ms = -1;  // deadlines after the arrival; -1: none
  int stop_after = -1;                // the host says stop after that many new ids; -1: never
  int scope = 1;
  int needs_host = 0, prompt_logits = 0;
};

struct Schedule {
  uint64_t seed = 0;  // where it came from
  int lag = 1;        // plans that the host may leave open when it makes one
  int hash_bits = 64;
  SchedulerOptions options;
  std::vector<Event> events;  // by step
};

Schedule MakeSchedule(uint64_t seed);
// Steady traffic: `arrivals` sequences of few groups, in a pool of four fifths of what those that run together need.
Schedule MakeLoad(uint64_t seed, int arrivals);
std::string Print(const Schedule& schedule);
std::optional<Schedule> Parse(const std::string& text);

// The schedule with as many events taken out as `fails` allows: halves first, then quarters, down to single events.
Schedule Shrink(Schedule schedule, const std::function<bool(const Schedule&)>& fails);

}  // namespace unimax::sim
