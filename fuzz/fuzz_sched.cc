// SPDX-License-Identifier: Apache-2.0
// Rows K01-K08: any bytes as a schedule. The first 12 are the scheduler's options, then 8 an event; the simulation
// (tests/sim) judges every step.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>

#include "sim/simulation.h"

namespace unimax::sim {
namespace {

Schedule ScheduleOf(const uint8_t* data, size_t size) {
  Schedule s;
  SchedulerOptions& o = s.options;
  size_t next = 0;
  const auto upto = [&](int most) { return next < size ? data[next++] % (most + 1) : 0; };
  s.lag = upto(1);
  s.hash_bits = upto(1) != 0 ? 8 : 64;
  o.prefix_cache = upto(3) != 0;
  o.page_tokens = 1 << upto(4);
  o.pages = 1 + upto(63);
  o.max_pages = std::max(1, o.pages - upto(o.pages));
  o.max_running = 1 + upto(11);
  o.max_sequences = o.max_running + upto(20);
  o.max_step_tokens = o.max_running + upto(63);
  o.max_step_prefill = 1 + upto(31);
  o.max_outputs = o.max_running + upto(7);
  o.max_preemptions = upto(3);
  o.aging = 20'000;
  int id = 0, step = 0;
  while (next + 8 <= size && s.events.size() < 64) {
    Event e;
    const int kind = upto(15);
    e.kind = kind < 10 ? Event::kArrive : kind < 13 ? Event::kCancel : kind < 15 ? Event::kPoison : Event::kFail;
    e.step = step += upto(7);
    e.prompt = 1 + upto(127);
    e.fresh = 1 + upto(63);
    e.shared = upto(e.prompt);
    e.stop_after = upto(31) - 1;
    const int flags = upto(255);
    e.needs_host = flags & 1;
    e.prompt_logits = flags >> 1 & 1;
    e.group = flags >> 2 & 1;
    e.scope = 1 + (flags >> 3 & 1);
    e.priority = (flags >> 4 & 3) - 1;
    e.phase = flags % 3;
    const int deadline = upto(255);
    if (deadline < 32) e.start_ms = deadline;
    if (deadline > 223) e.finish_ms = deadline - 200;
    if (e.kind == Event::kArrive) {
      e.phase = 0;
      e.id = id++;
    } else {
      e.id = id > 0 ? id - 1 - deadline % id : 0;
    }
    s.events.push_back(e);
  }
  return s;
}

}  // namespace
}  // namespace unimax::sim

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const unimax::sim::Schedule schedule = unimax::sim::ScheduleOf(data, size);
  const std::string failure = unimax::sim::Simulate(schedule).failure;
  if (!failure.empty()) std::fprintf(stderr, "%s\n%s", failure.c_str(), unimax::sim::Print(schedule).c_str());
  UM_CHECK(failure.empty());
  return 0;
}
