// SPDX-License-Identifier: Apache-2.0
// Runs a schedule against the real scheduler, with a model in place of a device, and judges every step.
//
// The model's "key and value" of a position is a hash of the ids up to it and of the scope, made from what the page
// table says lies at the position before; its next id is a function of that and of the sequence's seed. So a page that
// is shared wrongly, freed too early, filled twice or skipped changes ids, which the oracle (the same function over the
// ids alone, without pages) then misses.
#pragma once

#include <cstdint>
#include <string>

#include "sim/schedule.h"

namespace unimax::sim {

struct Outcome {
  std::string failure;  // empty: every rule was kept; else the rule and the numbers
  uint64_t steps = 0, tokens = 0, sequences = 0, refused = 0, preemptions = 0, hit_tokens = 0, discarded = 0;
  uint64_t cancelled = 0, expired = 0, poisoned = 0, failed = 0, stopped = 0, finished = 0;
  uint64_t evictions = 0, collisions = 0;
  int max_preemptions = 0;  // of one sequence
  int max_idle_steps = 0;   // in a row: nothing planned, nothing on its way, yet sequences that wait or run
  void Add(const Outcome& other);
};

Outcome Simulate(const Schedule& schedule);

// A fast stand-in for SHA-256, cut to `bits` so that keys collide.
class CutHasher : public PageHasher {
 public:
  explicit CutHasher(int bits) : mask_(bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1) {}

 private:
  PageKey Digest(std::span<const std::byte> head, std::span<const std::byte> tail) override;
  uint64_t mask_;
};

}  // namespace unimax::sim
