// SPDX-License-Identifier: Apache-2.0
#include "base/team.h"

#include <gtest/gtest.h>

#include <chrono>
#include <vector>

namespace unimax {
namespace {

TEST(Team, EveryThreadRunsOnceAndSeesTheOthersAfterABarrier) {
  for (int threads : {1, 2, 3, 5}) {
    Team team(threads);
    std::vector<int> marks(static_cast<size_t>(threads));
    int wrong = 0;
    for (int round = 0; round < 200; ++round) {
      team.Run([&](int thread, int n) {
        for (int phase = 0; phase < 5; ++phase) {
          marks[static_cast<size_t>(thread)] = round * 5 + phase;
          team.Barrier();
          int seen = 0;
          for (int other = 0; other < n; ++other) seen += marks[static_cast<size_t>(other)] == round * 5 + phase;
          if (thread == 0 && seen != n) ++wrong;
          team.Barrier();
        }
      });
    }
    EXPECT_EQ(wrong, 0) << threads;
  }
}

TEST(Team, SleepersWake) {
  Team team(3);
  int sum = 0;
  for (int round = 0; round < 10; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // longer than the spin
    int parts[3] = {};
    team.Run([&](int thread, int) {
      if (thread == 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      team.Barrier();
      parts[thread] = 1;
    });
    sum += parts[0] + parts[1] + parts[2];
  }
  EXPECT_EQ(sum, 30);
}

TEST(Team, DefaultIsAtLeastOne) { EXPECT_GE(Team::DefaultThreads(), 1); }

}  // namespace
}  // namespace unimax
