// SPDX-License-Identifier: Apache-2.0
// The load of `bench --requests`: when requests come, how many are under way, what is counted.
#include "engine/load.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "sim/sim_executor.h"

namespace unimax {
namespace {

constexpr int kVocab = 512;

struct Bench {
  Bench() : program(sim::SimProgram(kVocab)) {
    limits.page_tokens = 16;
    limits.max_pages = 8;
    limits.pages = 128;
    limits.max_sequences = limits.max_outputs = 16;
    limits.max_tokens = 64;
    executor = std::make_unique<sim::SimExecutor>(limits, kVocab);
    executor->script.cost = std::chrono::microseconds(50);
  }
  LoadResult Run(const LoadOptions& load) {
    EngineOptions options;
    options.scheduler = SchedulerOptionsFor(limits);
    const auto engine = Engine::Start(*executor, limits, program, options);
    EXPECT_TRUE(engine.ok()) << engine.status().text();
    const auto result = RunLoad(**engine, kVocab, load, nullptr);
    EXPECT_TRUE(result.ok()) << result.status().text();
    return result.value();
  }
  ExecutorOptions limits;
  Program program;
  std::unique_ptr<sim::SimExecutor> executor;
};

LoadOptions Load() {
  LoadOptions load;
  load.requests = 40;
  load.prompt_tokens = 40;
  load.new_tokens = 10;
  return load;
}

// A Poisson process: gaps are exponential (Kolmogorov and Smirnov's distance, at one in a thousand) and independent.
TEST(Load, RequestsArriveByAPoissonProcess) {
  constexpr int kGaps = 20'000;
  LoadOptions load;
  load.rate = 50;
  load.seed = 3;
  std::vector<double> gaps;
  for (int i = 1; i <= kGaps; ++i) gaps.push_back(ArrivalGap(load, i));
  double together = 0;
  for (int i = 1; i < kGaps; ++i) {
    together += (gaps[static_cast<size_t>(i)] * 50 - 1) * (gaps[static_cast<size_t>(i) - 1] * 50 - 1) / kGaps;
  }
  EXPECT_NEAR(together, 0, 4 / std::sqrt(kGaps));
  std::ranges::sort(gaps);
  double distance = 0;
  for (int i = 0; i < kGaps; ++i) {
    const double share = 1 - std::exp(-50 * gaps[static_cast<size_t>(i)]);
    distance = std::max({distance, std::fabs(share - i / double{kGaps}), std::fabs(share - (i + 1) / double{kGaps})});
  }
  EXPECT_LT(distance, 1.95 / std::sqrt(kGaps));
}

TEST(Load, NobodyComesBeforeTheirTime) {
  LoadOptions load = Load();
  load.rate = 400;
  load.new_tokens = 1;
  double last = 0;
  for (int i = 1; i < load.requests; ++i) last += ArrivalGap(load, i);
  const LoadResult result = Bench().Run(load);
  EXPECT_EQ(result.completed, 40);
  EXPECT_GE(result.seconds, last);
}

TEST(Load, AClosedLoopKeepsItsBound) {
  for (const int bound : {1, 3, 12}) {
    LoadOptions load = Load();
    load.concurrency = bound;
    const LoadResult result = Bench().Run(load);
    EXPECT_EQ(result.max_concurrent, bound);
    EXPECT_EQ(result.completed, 40);
    EXPECT_EQ(result.input_tokens, 40 * 40);
    EXPECT_EQ(result.output_tokens, 40 * 10);
    EXPECT_EQ(result.cached_tokens, 0);
  }
}

TEST(Load, SharedPrefixesAreFoundInTheCache) {
  LoadOptions load = Load();
  load.shared_prefix = 39;  // two pages of 16 and a part of one
  load.concurrency = 1;
  EXPECT_EQ(Bench().Run(load).cached_tokens, 39 * 32);
  load.shared_prefix = 15;
  EXPECT_EQ(Bench().Run(load).cached_tokens, 0);
}

TEST(Load, LengthsVaryAsAskedAndTheSeedDecides) {
  LoadOptions load = Load();
  load.spread = 0.5;
  const LoadResult one = Bench().Run(load);
  EXPECT_NE(one.input_tokens, 40 * 40);
  EXPECT_NEAR(static_cast<double>(one.input_tokens), 40 * 40, 40 * 40 * 0.15);
  load.concurrency = 2;  // whatever the load
  EXPECT_EQ(Bench().Run(load).ids_hash, one.ids_hash);
  load.seed = 1;
  EXPECT_NE(Bench().Run(load).ids_hash, one.ids_hash);
}

TEST(Load, FailuresAreCountedAndNotTimed) {
  Bench bench;
  bench.executor->script.poison_run = 3;
  bench.executor->script.poison_row = 0;
  const LoadResult result = bench.Run(Load());
  EXPECT_EQ(result.failed, 1);
  EXPECT_EQ(result.completed, 39);
  EXPECT_NE(result.error.find("not finite"), std::string::npos) << result.error;
}

TEST(Load, SummariesAreNumpys) {
  const Summary s = Summarise({4, 1, 3, 2, 10});
  EXPECT_DOUBLE_EQ(s.mean, 4);
  EXPECT_DOUBLE_EQ(s.median, 3);
  EXPECT_DOUBLE_EQ(s.std, std::sqrt(10.0));
  EXPECT_DOUBLE_EQ(s.p90, 7.6);
  EXPECT_DOUBLE_EQ(s.p99, 9.76);
  EXPECT_DOUBLE_EQ(Summarise({7}).p99, 7);
  EXPECT_DOUBLE_EQ(Summarise({}).mean, 0);
}

}  // namespace
}  // namespace unimax
