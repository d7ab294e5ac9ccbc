// SPDX-License-Identifier: Apache-2.0
// A scheduler with a planted bug (mutants.cmake): the simulation must find it and shrink the schedule.
#include <cstdio>
#include <cstdlib>

#include "sim/simulation.h"

int main(int count, char** arguments) {
  using namespace unimax::sim;
  constexpr uint64_t kSeeds = 10'000;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const Schedule schedule = MakeSchedule(seed);
    const std::string failure = Simulate(schedule).failure;
    if (failure.empty()) continue;
    const Schedule small = Shrink(schedule, [](const Schedule& less) { return !Simulate(less).failure.empty(); });
    const std::string again = Simulate(small).failure;
    // What is printed can be kept as a file and read back.
    const std::optional<Schedule> read = Parse(Print(small));
    const bool good = small.events.size() <= 8 && !again.empty() && read && Simulate(*read).failure == again;
    const std::string rule = again.substr(again.find(": ") + 2);
    std::printf("%s planted=%s seed=%llu events=%zu shrunk=%zu rule=\"%s\" %s\n", rule.substr(0, 3).c_str(),
                arguments[1], static_cast<unsigned long long>(seed), schedule.events.size(), small.events.size(),
                rule.c_str(), good ? "PASS" : "FAIL");
    if (!good || count > 2) std::printf("%s", Print(small).c_str());
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
  }
  std::printf("K03 planted=%s not found by %llu seeds FAIL\n", arguments[1], static_cast<unsigned long long>(kSeeds));
  return EXIT_FAILURE;
}
