// SPDX-License-Identifier: Apache-2.0
// The engine and its loop over a simulated device: many threads, faults at every call, poisoned rows, silence, long
// load. Prints rows of the reliability table.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <thread>

#include "base/clock.h"
#include "engine/engine.h"
#include "sim/sim_executor.h"

namespace unimax {
namespace {

using sim::SimExecutor;

constexpr int kVocab = 512;
constexpr bool kSanitized = UM_SANITIZERS[0] != 0;  // then times mean nothing, and fewer faults do

ExecutorOptions Limits(int sequences, int context, int pages = 0) {
  ExecutorOptions o;
  o.page_tokens = 16;
  o.max_pages = (context + 15) / 16;
  o.pages = pages > 0 ? pages : sequences * o.max_pages;
  o.max_sequences = o.max_outputs = sequences;
  o.max_tokens = std::max(64, sequences);
  return o;
}

// Hears one request, on the engine's thread.
class Listener : public EventSink {
 public:
  bool OnToken(const TokenEvent& event) override {
    if (ends > 0) ++after_end;
    ids.push_back(event.id);
    last_token = event.at;
    return std::ssize(ids) == stop_after;
  }
  void OnEnd(const EndEvent& event) override {
    end = event;
    if (on_end) on_end();
    ++ends;  // last: the test's thread waits for it
  }
  std::vector<int> ids;
  Time last_token = 0;
  int after_end = 0, stop_after = -1;
  std::atomic<int> ends{0};
  EndEvent end;
  std::function<void()> on_end;
};

std::vector<int> PromptOf(int request, int length) {
  std::vector<int> prompt;
  for (int i = 0; i < length; ++i) prompt.push_back((i < 32 ? 3 + i * 7 : 5 + i * 11 + request * 13) % kVocab);
  return prompt;
}

// What the simulated model answers, without engine, pages or steps.
std::vector<int> Expected(std::vector<int> ids, int max_new) {
  const size_t prompt = ids.size();
  for (int i = 0; i < max_new; ++i) ids.push_back(SimExecutor::NextOf(ids, kVocab));
  return {ids.begin() + static_cast<ptrdiff_t>(prompt), ids.end()};
}

Request RequestOf(int request, int length, int max_new, EventSink& sink, bool draws = false) {
  Request r;
  r.id = static_cast<uint64_t>(request) + 1;
  r.prompt = PromptOf(request, length);
  r.max_new = max_new;
  r.sampling.temperature = draws ? 0.05 : 0;  // the best logit stands out so far that a draw takes it
  r.sampling.raw_logprobs = draws;
  r.ignore_end = true;
  r.sink = &sink;
  return r;
}

struct Bench {
  explicit Bench(const ExecutorOptions& l, bool start = true, bool ahead = false)
      : limits(l), program(sim::SimProgram(kVocab)) {
    executor = std::make_unique<SimExecutor>(limits, kVocab);
    executor->script.runs_ahead = ahead;
    if (start) Start();
  }
  void Start() {
    EngineOptions options;
    options.scheduler = SchedulerOptionsFor(limits);
    auto made = Engine::Start(*executor, limits, program, options);
    EXPECT_TRUE(made.ok()) << made.status().text();
    engine = std::move(made).value();
  }
  ExecutorOptions limits;
  Program program;
  std::unique_ptr<SimExecutor> executor;
  std::unique_ptr<Engine> engine;
};

// Whether the executor runs ahead of the host.
class EngineThread : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(, EngineThread, testing::Bool());

TEST_P(EngineThread, AnswersManyThreads) {
  constexpr int kThreads = 4, kEach = 100;
  Bench bench(Limits(16, 128, 60), true, GetParam());  // too few pages for all, so that some are preempted
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0}, busy{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::deque<Listener> listeners;
      std::vector<std::vector<int>> wanted;
      for (int i = 0; i < kEach;) {
        const int length = 20 + (t * 31 + i * 7) % 50, fresh = 1 + (t + i * 5) % 40;
        Listener& listener = listeners.emplace_back();
        const auto id = bench.engine->Submit(RequestOf(t * kEach + i, length, fresh, listener));
        if (!id.ok()) {  // all places are taken
          listeners.pop_back();
          ++busy;
          std::this_thread::yield();
          continue;
        }
        wanted.push_back(Expected(PromptOf(t * kEach + i, length), fresh));
        if (i % 5 == 0) bench.engine->Cancel(*id);
        ++i;
      }
      while (!std::ranges::all_of(listeners, [](const Listener& l) { return l.ends > 0; })) std::this_thread::yield();
      for (int i = 0; i < kEach; ++i) {
        const Listener& l = listeners[static_cast<size_t>(i)];
        const std::vector<int>& all = wanted[static_cast<size_t>(i)];
        const bool cancelled = l.end.reason == EndReason::kCancelled;
        const bool right = cancelled ? l.ids.size() < all.size() && std::equal(l.ids.begin(), l.ids.end(), all.begin())
                                     : l.end.reason == EndReason::kLength && l.ids == all;
        wrong += !right || l.ends != 1 || l.after_end != 0 || (cancelled && i % 5 != 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  bench.engine->Drain();
  EXPECT_EQ(bench.engine->state().pages.held, 0);
  EXPECT_EQ(bench.engine->state().counts.running, 0);
  Listener late;
  EXPECT_EQ(bench.engine->Submit(RequestOf(0, 10, 2, late)).status().kind(), ErrorKind::kIo);
  EXPECT_EQ(late.ends, 0);
}

TEST_P(EngineThread, StoppingTellsEveryRequestOnce) {
  for (int round = 0; round < 20; ++round) {
    std::vector<Listener> listeners(40);
    Bench bench(Limits(4, 128), true, GetParam());
    for (int i = 0; i < 40; ++i) {
      ASSERT_TRUE(bench.engine->Submit(RequestOf(i, 20, 100, listeners[static_cast<size_t>(i)])).ok());
    }
    std::this_thread::sleep_for(std::chrono::microseconds(round * 50));
    bench.engine->Stop();
    for (const Listener& l : listeners) {
      ASSERT_EQ(l.ends, 1);
      ASSERT_TRUE(l.end.reason == EndReason::kCancelled || l.end.reason == EndReason::kLength);
    }
  }
}

TEST_P(EngineThread, ASinkMaySubmit) {
  Bench bench(Limits(2, 64), true, GetParam());
  std::vector<Listener> chain(50);
  for (int i = 0; i + 1 < 50; ++i) {
    chain[static_cast<size_t>(i)].on_end = [&, i] {
      EXPECT_TRUE(bench.engine->Submit(RequestOf(i + 1, 10, 3, chain[static_cast<size_t>(i) + 1])).ok());
    };
  }
  ASSERT_TRUE(bench.engine->Submit(RequestOf(0, 10, 3, chain[0])).ok());
  while (chain[49].ends == 0) std::this_thread::yield();
  EXPECT_EQ(chain[49].ids, Expected(PromptOf(49, 10), 3));
}

// Pages go from one engine to another while both answer others, and both may stop at any time.
TEST_P(EngineThread, PagesMoveWhileOthersAreAnswered) {
  using Page = std::vector<std::byte>;
  Bench from(Limits(8, 128, 40), true, GetParam()), to(Limits(8, 128, 40), true, GetParam());
  std::atomic<bool> over{false};
  std::deque<Listener> listeners;
  std::thread others([&] {
    for (int i = 1000; !over && i < 3000; ++i) {
      for (const Bench* bench : {&from, &to}) {
        Listener& listener = listeners.emplace_back();
        if (!bench->engine->Submit(RequestOf(i, 20 + i % 60, 1 + i % 20, listener)).ok()) listeners.pop_back();
      }
      std::this_thread::yield();
    }
  });
  size_t moved = 0;
  for (int i = 0; i < 40; ++i) {
    const std::vector<int> prompt = PromptOf(i, 100);
    std::vector<Page> pages;
    Listener first, second;
    while (!from.engine->Submit(RequestOf(i, 100, 2, first)).ok()) std::this_thread::yield();
    while (first.ends == 0) std::this_thread::yield();
    const auto read = from.engine->ReadPrefix(prompt, 2, [&](int, int, std::span<const std::byte> content) {
      pages.emplace_back(content.begin(), content.end());
      return Status();
    });
    ASSERT_EQ(read.value(), std::ssize(pages));
    const auto fill = [&](int index, std::span<std::byte> content) {
      std::ranges::copy(pages[static_cast<size_t>(index)], content.begin());
      return Status();
    };
    ASSERT_TRUE(to.engine->WritePrefix(prompt, 2, static_cast<int>(pages.size()), fill).ok());
    while (!to.engine->Submit(RequestOf(i, 100, 2, second)).ok()) std::this_thread::yield();
    while (second.ends == 0) std::this_thread::yield();
    ASSERT_EQ(second.ids, Expected(prompt, 2));
    moved += pages.size() * static_cast<size_t>(second.end.cached_tokens > 32);  // more than all prompts share
  }
  EXPECT_GT(moved, 40u);
  std::thread asking([&] {
    const auto nothing = [](int, int, std::span<const std::byte>) { return Status(); };
    while (to.engine->ReadPrefix(PromptOf(0, 100), 2, nothing).ok()) std::this_thread::yield();
  });
  over = true;
  others.join();
  to.engine->Stop();
  asking.join();
  from.engine->Drain();
  EXPECT_EQ(from.engine->state().pages.held, 0);
}

TEST_P(EngineThread, NameSpacesDoNotSharePages) {
  Bench bench(Limits(2, 128), true, GetParam());
  const auto cached = [&](const std::string& name_space) {
    Listener listener;
    Request request = RequestOf(1, 100, 2, listener);
    request.name_space = name_space;
    EXPECT_TRUE(bench.engine->Submit(std::move(request)).ok());
    while (listener.ends == 0) std::this_thread::yield();
    return listener.end.cached_tokens;
  };
  EXPECT_EQ(cached("a"), 0);
  EXPECT_EQ(cached("a"), 96);
  EXPECT_EQ(cached("b"), 0);
  EXPECT_EQ(cached(""), 0);
  EXPECT_EQ(cached("b"), 96);
}

TEST_P(EngineThread, RefusesWhereItIsSubmitted) {
  Bench bench(Limits(2, 64), true, GetParam());
  Listener listener;
  EXPECT_EQ(bench.engine->Submit(RequestOf(0, 60, 10, listener)).status().kind(), ErrorKind::kUsage);
  Request bad = RequestOf(0, 6, 1, listener);
  bad.sampling.top_p = 2;
  EXPECT_EQ(bench.engine->Submit(std::move(bad)).status().kind(), ErrorKind::kUsage);
  EXPECT_EQ(listener.ends, 0);
}

// Five requests of which three take logits to the host; the n-th call of the device fails, for every n.
class Faults : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(, Faults, testing::Bool());

TEST_P(Faults, E01AtAnyCallEndsAllAtOnce) {
  const bool ahead = GetParam();
  constexpr int kRequests = 5;
  const int kNew = ahead ? 1010 : 420;  // where the host chooses nothing, a step is two calls
  int points = 0, bad_tokens = 0, hangs = 0, accepted_after = 0;
  double slowest_ms = 0;
  std::vector<std::vector<int>> wanted;
  for (int i = 0; i < kRequests; ++i) wanted.push_back(Expected(PromptOf(i, 40 + i), kNew));
  for (int call = 0;; call += kSanitized ? 10 : 1) {
    Bench bench(Limits(kRequests, 1072), false, ahead);
    bench.executor->script.fail_call = call;
    bench.Start();
    std::vector<Listener> listeners(kRequests);
    for (int i = 0; i < kRequests; ++i) {
      // The device may already be lost: then the refusal must say so.
      const auto id =
          bench.engine->Submit(RequestOf(i, 40 + i, kNew, listeners[static_cast<size_t>(i)], i % 2 == 0 && !ahead));
      if (id.ok()) continue;
      EXPECT_EQ(id.status().kind(), ErrorKind::kNoDevice);
      ++listeners[static_cast<size_t>(i)].ends;
    }
    const Time start = NowMicroseconds();
    const auto all_ended = [&] { return std::ranges::all_of(listeners, [](const Listener& l) { return l.ends > 0; }); };
    while (!all_ended() && NowMicroseconds() - start < 20'000'000) std::this_thread::yield();
    hangs += !all_ended();
    const int64_t fault = bench.executor->fault_at;
    if (fault == 0) break;  // it got to its end without that many calls
    ++points;
    while (bench.engine->state().failure.ok()) std::this_thread::yield();
    slowest_ms = std::max(slowest_ms, static_cast<double>(NowMicroseconds() - fault) * 1e-3);
    for (int i = 0; i < kRequests; ++i) {
      const Listener& l = listeners[static_cast<size_t>(i)];
      bad_tokens += l.last_token > fault || l.after_end > 0 || l.ends != 1;
      bad_tokens += l.ids.size() > wanted[static_cast<size_t>(i)].size() ||
                    !std::equal(l.ids.begin(), l.ids.end(), wanted[static_cast<size_t>(i)].begin());
    }
    Listener late;
    accepted_after += bench.engine->Submit(RequestOf(0, 10, 1, late)).ok();
  }
  const bool pass =
      hangs == 0 && bad_tokens == 0 && points >= (kSanitized ? 200 : 2000) && slowest_ms <= 2000 && accepted_after == 0;
  std::printf("E01 hangs=%d bad_tokens=%d points=%d stops_within_ms=%.1f ahead=%d accepted_after=%d %s\n", hangs,
              bad_tokens, points, slowest_ms, ahead, accepted_after, pass ? "PASS" : "FAIL");
  EXPECT_TRUE(pass);
}

// A step loop of its own, so that steps can be counted.
struct Loop {
  explicit Loop(SimExecutor& executor, const ExecutorOptions& limits) : program(sim::SimProgram(kVocab)) {
    auto made = EngineLoop::Make(executor, limits, SchedulerOptionsFor(limits), program, *hasher);
    EXPECT_TRUE(made.ok()) << made.status().text();
    loop = std::move(made).value();
  }
  Program program;
  std::unique_ptr<PageHasher> hasher = MakeSha256Hasher();
  std::unique_ptr<EngineLoop> loop;
};

// Every row of every step of 8 requests that run side by side, half of them drawn from logits on the host.
TEST_P(Faults, D01APoisonedRowEndsOneRequestAlone) {
  constexpr int kRows = 8, kSteps = 16;
  const ExecutorOptions limits = Limits(kRows, 64);
  int from_nan = 0, neighbour_diffs = 0, counted = 0;
  for (int step = 0; step < kSteps; ++step) {
    for (int row = 0; row < kRows; ++row) {
      SimExecutor executor(limits, kVocab);
      executor.script.runs_ahead = GetParam();
      executor.script.poison_run = step;
      executor.script.poison_row = row;
      Loop loop(executor, limits);
      std::vector<Listener> listeners(kRows);
      for (int i = 0; i < kRows; ++i) {
        ASSERT_TRUE(
            loop.loop
                ->Submit(RequestOf(i, 8, kSteps, listeners[static_cast<size_t>(i)], i % 2 == 0 && !GetParam()), i + 1)
                .ok());
      }
      for (Time now = 100; !loop.loop->idle(); ++now) ASSERT_TRUE(loop.loop->Step(now).ok());
      for (int i = 0; i < kRows; ++i) {
        const Listener& l = listeners[static_cast<size_t>(i)];
        const std::vector<int> wanted = Expected(PromptOf(i, 8), kSteps);
        if (l.end.reason == EndReason::kPoisoned) {
          ++counted;
          from_nan +=
              i != row || l.end.error.empty() || l.ids != std::vector<int>(wanted.begin(), wanted.begin() + step);
        } else {
          neighbour_diffs += l.ids != wanted;
        }
      }
    }
  }
  const bool pass = from_nan == 0 && neighbour_diffs == 0 && counted == kRows * kSteps;
  std::printf("D01 sampled_from_nan=%d neighbour_diffs=%d counted=%d ahead=%d %s\n", from_nan, neighbour_diffs, counted,
              GetParam(), pass ? "PASS" : "FAIL");
  EXPECT_TRUE(pass);
}

// The host's part of a decode step of 64 sequences: everything but the device. Medians, for the machine may be busy.
TEST(EngineLoop, RunsAheadOnlyWhereTheHostHasNothingToDo) {
  const ExecutorOptions limits = Limits(4, 128);
  for (const bool draws : {false, true}) {
    SimExecutor executor(limits, kVocab);
    executor.script.runs_ahead = true;
    Loop loop(executor, limits);
    std::vector<Listener> listeners(3);
    for (int i = 0; i < 3; ++i) {
      Request r = RequestOf(i, 10, 20 + i, listeners[static_cast<size_t>(i)], draws && i == 1);
      r.sink_stops = i == 2;
      listeners[2].stop_after = 7;
      ASSERT_TRUE(loop.loop->Submit(std::move(r), i + 1).ok());
    }
    int ahead = 0, steps = 0;
    for (Time now = 100; !loop.loop->idle(); ++now, ++steps) {
      ASSERT_TRUE(loop.loop->Step(now).ok());
      ahead += loop.loop->scheduler().open_plans();
    }
    EXPECT_EQ(listeners[0].ids, Expected(PromptOf(0, 10), 20));
    EXPECT_EQ(listeners[1].ids, Expected(PromptOf(1, 10), 21));
    EXPECT_EQ(listeners[2].ids, Expected(PromptOf(2, 10), 7));
    EXPECT_GT(ahead, 15);
    EXPECT_GT(steps, 20);
  }
}

TEST(Speed, TheHostsPartOfAStep) {
  if (kSanitized) GTEST_SKIP() << "under sanitizers times mean nothing";
  const ExecutorOptions limits = Limits(64, 1024);
  SimExecutor executor(limits, kVocab);
  Loop loop(executor, limits);
  std::vector<Listener> listeners(64);
  for (int i = 0; i < 64; ++i) {
    listeners[static_cast<size_t>(i)].ids.reserve(1024);
    ASSERT_TRUE(loop.loop->Submit(RequestOf(i, 33, 900, listeners[static_cast<size_t>(i)]), i + 1).ok());
  }
  Time now = 100;
  while (std::ranges::any_of(listeners, [](const Listener& l) { return l.ids.empty(); })) {
    ASSERT_TRUE(loop.loop->Step(++now).ok());
  }
  std::vector<double> whole, device;
  Step step;
  for (int i = 0; i < 500; ++i) {
    const double start = NowMilliseconds();
    ASSERT_TRUE(loop.loop->Step(++now).ok());
    whole.push_back((NowMilliseconds() - start) * 1e3);
  }
  // What the simulated device costs by itself, on a step of the same size.
  std::vector<int> ids(64, 5), positions(64, 40), rows(64), outputs(64), pages(64 * 64, 0);
  for (int i = 0; i < 64; ++i) rows[static_cast<size_t>(i)] = outputs[static_cast<size_t>(i)] = i;
  for (int i = 0; i < 500; ++i) {
    const double start = NowMilliseconds();
    ASSERT_TRUE(executor.Run({ids, positions, rows, pages, outputs}).ok());
    device.push_back((NowMilliseconds() - start) * 1e3);
  }
  std::ranges::sort(whole);
  std::ranges::sort(device);
  const double median = whole[250] - device[250];
  std::printf("host_step sequences=64 median_us=%.1f p90_us=%.1f asked_us=20\n", median, whole[450] - device[450]);
  EXPECT_LT(median, 100);  // loose: a shared machine
}

// A pool that is always full: requests come as fast as places get free, some are cancelled.
TEST_P(Faults, K09AFullPoolLosesNothing) {
  constexpr int kAlive = 24;
  const ExecutorOptions limits = Limits(16, 256, 64);
  SimExecutor executor(limits, kVocab);
  executor.script.runs_ahead = GetParam();
  Loop loop(executor, limits);
  std::map<int, std::unique_ptr<Listener>> alive;
  int next = 0, lost = 0, done = 0, cancelled = 0, leaked = 0;
  double used = 0;
  uint64_t steps = 0;
  std::map<int, std::pair<int, int>> asked;
  for (Time now = 1; steps < 60'000; ++now) {
    while (static_cast<int>(alive.size()) < kAlive) {
      const int length = 20 + next * 37 % 120, fresh = 1 + next * 53 % 100;
      asked[next] = {length, fresh};
      alive[next] = std::make_unique<Listener>();
      ASSERT_TRUE(loop.loop->Submit(RequestOf(next, length, fresh, *alive[next]), now).ok());
      ++next;
    }
    ASSERT_TRUE(loop.loop->Step(now).ok());
    if (now % 97 == 0) cancelled += loop.loop->Cancel(static_cast<uint64_t>(alive.begin()->first) + 1, now);
    ++steps;
    const PageCounts pages = loop.loop->scheduler().pages().counts();
    used += static_cast<double>(pages.held + pages.idle) / limits.pages;
    for (auto it = alive.begin(); it != alive.end();) {
      const Listener& l = *it->second;
      if (l.ends == 0) {
        ++it;
        continue;
      }
      const auto [length, fresh] = asked[it->first];
      const bool was_cancelled = l.end.reason == EndReason::kCancelled;
      lost += !was_cancelled && l.ids != Expected(PromptOf(it->first, length), fresh);
      ++done;
      it = alive.erase(it);
    }
  }
  loop.loop->EndAll("", 1'000'000);
  leaked = loop.loop->scheduler().pages().counts().held;
  const double use = used / static_cast<double>(steps);
  const bool pass = lost == 0 && leaked == 0 && use >= 0.99 && done > 1000;
  std::printf(
      "K09 ahead=%d lost=%d leaked_blocks=%d pool_use=%.4f requests=%d cancelled=%d preemptions=%llu steps=%llu %s\n",
      GetParam(), lost, leaked, use, done, cancelled,
      static_cast<unsigned long long>(loop.loop->scheduler().counts().preemptions),
      static_cast<unsigned long long>(steps), pass ? "PASS" : "FAIL");
  EXPECT_TRUE(pass);
}

}  // namespace
}  // namespace unimax
