// SPDX-License-Identifier: Apache-2.0
// Tokens drawn on a device: the same as the host's sampler draws from the same logits (row D08 on a device), alone and
// in an engine that mixes them with others.
#include "engine/device_draw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <functional>
#include <random>

#include "base/log.h"
#include "device/emulator.h"
#include "engine/answer.h"
#include "engine/engine.h"
#include "engine/sampler.h"
#include "exec/graph.h"
#include "exec/graph_draw.h"
#include "exec/team.h"
#include "models/checkpoint_source.h"
#include "models/config.h"
#include "models/registry.h"

namespace unimax {
namespace {

// A stage of draws on a device, with room for logits and ids.
struct Drawer {
  Drawer(Device& of, int vocabulary, int most_rows) : device(of), vocab(vocabulary) {
    ExecutorOptions options;
    options.max_outputs = most_rows;
    stage = std::move(DrawStage::Make(device, options, vocab, {})).value();
    EXPECT_NE(stage, nullptr);
    const auto most = static_cast<size_t>(most_rows);
    logits = std::move(device.Allocate(most * static_cast<size_t>(vocab) * 4, "logits")).value();
    ids = std::move(device.Allocate(most * 4, "ids")).value();
  }
  // A request's row over a history of which the last id is pending where `ahead`: then it is what the step before
  // chose.
  void Add(const SamplingParams& params, std::span<const int> history, size_t prompt, bool ahead) {
    const auto steps = StepsOf(params);
    const size_t known = history.size() - (ahead ? 1 : 0);
    auto draw = DeviceDraw::Make(params, steps, history.first(prompt), 100, stage->most_entries());
    ASSERT_TRUE(draw.has_value());
    for (const int id : history.subspan(prompt, known - prompt)) draw->Append(id);
    previous.push_back(ahead ? history.back() : -1);
    rows.push_back(draw->Row(static_cast<int>(history.size()), ahead ? static_cast<int>(rows.size()) : -1, &entries));
  }
  std::vector<int> Run(std::span<const float> all) {
    std::vector<int> outputs(rows.size(), 0), got(rows.size(), 0);
    EXPECT_TRUE(device.Upload(logits.data(), all.data(), all.size_bytes()).ok());
    EXPECT_TRUE(device.Upload(ids.data(), previous.data(), previous.size() * 4).ok());
    EXPECT_TRUE(stage->Keep(reinterpret_cast<int*>(ids.data()), previous.size()).ok());
    EXPECT_TRUE(device.Upload(ids.data(), got.data(), got.size() * 4).ok());
    const Step step{{}, {}, {}, {}, outputs, {}, rows, entries};
    const Status checked = stage->Check(step, static_cast<int>(previous.size()));
    EXPECT_TRUE(checked.ok()) << checked.text();
    const Status ran = stage->Run(step, reinterpret_cast<float*>(logits.data()), reinterpret_cast<int*>(ids.data()));
    EXPECT_TRUE(ran.ok()) << ran.text();
    EXPECT_TRUE(device.Download(got.data(), ids.data(), got.size() * 4).ok());
    rows.clear();
    entries.clear();
    previous.clear();
    return got;
  }
  Device& device;
  int vocab;
  std::unique_ptr<DrawStage> stage;
  Buffer logits, ids;
  std::vector<DrawRow> rows;
  std::vector<DrawEntry> entries;
  std::vector<int> previous;
};

std::unique_ptr<Device> Emulator(int lanes) {
  return std::move(OpenEmulator({.lanes = lanes, .seed = 5, .check_races = false})).value();
}

// Any mixture of what a device knows.
SamplingParams AnyParams(std::mt19937_64& random, int vocab) {
  std::uniform_real_distribution<double> unit(0, 1);
  const auto maybe = [&](double share) { return unit(random) < share; };
  SamplingParams p;
  p.order = static_cast<SamplingParams::Order>(random() % 3);
  p.seed = random();
  p.choice = static_cast<uint32_t>(random() % 3);
  p.temperature = maybe(0.1) ? 0 : maybe(0.3) ? 1 : 0.2 + 2 * unit(random);
  if (maybe(0.4)) p.top_k = 1 + static_cast<int>(random() % static_cast<uint64_t>(vocab + 10));
  if (maybe(0.5)) p.top_p = maybe(0.2) ? 1e-3 : 0.3 + 0.7 * unit(random);
  if (maybe(0.3)) p.min_p = maybe(0.1) ? 1 : 0.2 * unit(random);
  if (maybe(0.3)) p.repetition_penalty = 0.7 + unit(random);
  if (maybe(0.3)) p.frequency_penalty = unit(random) - 0.5;
  if (maybe(0.3)) p.presence_penalty = unit(random) - 0.5;
  if (vocab >= 10 && maybe(0.3)) {
    for (int i = 0; i < 9; ++i) p.bias.emplace_back((vocab / 10) * i, 4 * unit(random) - 2);
  }
  if (maybe(0.3)) {
    p.end_ids = {1, vocab - 1};
    p.min_new = static_cast<int>(random() % 8);
  }
  return p;
}

// Logits of one kind: a bell, steep, many equal ones, or all equal.
void FillLogits(int kind, std::mt19937_64& random, std::span<float> logits) {
  std::normal_distribution<float> normal(0, kind == 1 ? 30.0f : 3.0f);
  for (float& x : logits) {
    x = normal(random);
    if (kind == 2) x = std::round(x);
    if (kind == 3) x = -2.5f;
  }
}

TEST(DeviceDraw, EqualsTheHostsSampler) {
  std::mt19937_64 random(11);
  int draws = 0, differ = 0;
  for (const int lanes : {32, 64}) {
    const auto device = Emulator(lanes);
    for (const int vocab : {3, 64, 1000, 5003, 40000}) {
      constexpr int kRows = 8;
      Drawer drawer(*device, vocab, kRows);
      Sampler sampler(vocab);
      for (int round = 0; round < (vocab > 10000 ? 4 : 24); ++round) {
        std::vector<float> logits(static_cast<size_t>(vocab) * kRows);
        std::vector<int> wanted;
        for (size_t r = 0; r < kRows; ++r) {
          const std::span<float> row =
              std::span(logits).subspan(r * static_cast<size_t>(vocab), static_cast<size_t>(vocab));
          FillLogits(static_cast<int>(random() % 5), random, row);
          const SamplingParams params = AnyParams(random, vocab);
          const size_t prompt = 1 + random() % 30, fresh = 1 + random() % 12;
          std::vector<int> history;
          for (size_t i = 0; i < prompt + fresh; ++i) {
            history.push_back(static_cast<int>(random() % static_cast<uint64_t>(std::min(vocab, 40))));
          }
          drawer.Add(params, history, prompt, random() % 2 == 0);
          const Sampled sampled = sampler.Choose({row, params, StepsOf(params), history, static_cast<int>(prompt), {}});
          wanted.push_back(sampled.outcome == Sampled::kToken ? sampled.id : -1);
        }
        const std::vector<int> got = drawer.Run(logits);
        for (size_t r = 0; r < kRows; ++r) differ += got[r] != wanted[r];
        draws += kRows;
      }
    }
  }
  std::printf("device_draws=%d differ=%d\n", draws, differ);
  EXPECT_EQ(differ, 0);
  EXPECT_GE(draws, 1500);
}

// Chi-square of counts against probabilities, cells expected below 5 put together, in units of its deviation.
double Excess(const std::vector<int>& counts, const std::vector<double>& probability, int draws) {
  double statistic = 0, rest = 0, rest_mean = 0;
  int cells = -1;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double mean = probability[i] * draws;
    if (probability[i] == 0 && counts[i] > 0) return INFINITY;
    if (mean < 5) {
      rest += counts[i];
      rest_mean += mean;
      continue;
    }
    statistic += (counts[i] - mean) * (counts[i] - mean) / mean;
    ++cells;
  }
  if (rest_mean >= 5) {
    statistic += (rest - rest_mean) * (rest - rest_mean) / rest_mean;
    ++cells;
  }
  return cells < 1 ? 0 : (statistic - cells) / std::sqrt(2.0 * cells);
}

TEST(DeviceDraw, DrawsTheStatedDistribution) {
  constexpr int kVocab = 64, kRows = 64, kRounds = 16, kDraws = kRows * kRounds;
  const auto device = Emulator(32);
  Drawer drawer(*device, kVocab, kRows);
  std::mt19937_64 random(64);
  int rejects = 0, settings = 0;
  std::vector<std::function<void(SamplingParams&)>> set;
  for (const double t : {0.3, 0.8, 1.0, 1.7}) set.push_back([t](SamplingParams& p) { p.temperature = t; });
  for (const int k : {1, 3, 17, 60}) set.push_back([k](SamplingParams& p) { p.top_k = k; });
  for (const double t : {0.1, 0.5, 0.9, 0.99}) set.push_back([t](SamplingParams& p) { p.top_p = t; });
  for (const double t : {0.02, 0.1, 0.5}) set.push_back([t](SamplingParams& p) { p.min_p = t; });
  for (const double t : {0.5, 1.5}) set.push_back([t](SamplingParams& p) { p.bias = {{9, t}, {63, -t}}; });
  for (const auto& apply : set) {
    std::vector<float> one(kVocab), all;
    FillLogits(0, random, one);
    for (int r = 0; r < kRows; ++r) all.insert(all.end(), one.begin(), one.end());
    SamplingParams p;
    apply(p);
    p.seed = random();
    // What the definitions say; cuts by sorting.
    std::vector<double> x(one.begin(), one.end()), q(kVocab);
    for (const auto& [id, more] : p.bias) x[static_cast<size_t>(id)] += more;
    for (size_t i = 0; i < kVocab; ++i) q[i] = std::exp(x[i] / p.temperature);
    std::vector<size_t> order(kVocab);
    for (size_t i = 0; i < kVocab; ++i) order[i] = i;
    std::ranges::sort(order, [&](size_t a, size_t b) { return q[a] > q[b]; });
    double sum = 0, above = 0;
    for (const double v : q) sum += v;
    for (size_t rank = 0; rank < kVocab; ++rank) {
      const double mass = q[order[rank]], best = q[order[0]];
      const bool out =
          (p.top_k > 0 && rank >= static_cast<size_t>(p.top_k)) || above >= p.top_p * sum || mass < p.min_p * best;
      above += mass;
      if (out) q[order[rank]] = 0;
    }
    sum = 0;
    for (const double v : q) sum += v;
    for (double& v : q) v /= sum;
    std::vector<int> counts(kVocab), history;
    for (int round = 0; round < kRounds; ++round) {
      for (int r = 0; r < kRows; ++r) {
        history.push_back(7);
        drawer.Add(p, history, 1, false);
      }
      for (const int id : drawer.Run(all)) ++counts[static_cast<size_t>(id)];
    }
    rejects += Excess(counts, q, kDraws) > 4;
    ++settings;
  }
  // Ties: the lowest id of equal logits, greedy and by a top-p that keeps one.
  int tie_errors = 0;
  for (int low = 0; low < kVocab; low += 7) {
    std::vector<float> logits(2 * kVocab, 1.5f);
    for (int i = 0; i < low; ++i) logits[static_cast<size_t>(i)] = logits[static_cast<size_t>(kVocab + i)] = 0.5f;
    SamplingParams greedy, narrow;
    greedy.temperature = 0;
    greedy.presence_penalty = 0.1;  // else no row is needed
    narrow.top_p = 1e-6;
    const std::vector<int> history = {0};
    drawer.Add(greedy, history, 1, false);
    drawer.Add(narrow, history, 1, false);
    for (const int id : drawer.Run(logits)) tie_errors += id != low;
  }
  const bool good = rejects == 0 && tie_errors == 0;
  std::printf("D08 device=emulator rejects=%d of %d tie_errors=%d draws=%d %s\n", rejects, settings, tie_errors, kDraws,
              good ? "PASS" : "FAIL");
  EXPECT_TRUE(good);
}

TEST(DeviceDraw, LeavesToTheHostWhatItDoesNotKnow) {
  const std::vector<int> prompt = {1, 2, 3};
  const auto takes = [&](const std::function<void(SamplingParams&)>& set, int max_new = 10, int most = 50) {
    SamplingParams p;
    p.temperature = 0.8;
    set(p);
    return DeviceDraw::Make(p, StepsOf(p), prompt, max_new, most).has_value();
  };
  EXPECT_TRUE(takes([](SamplingParams&) {}));
  EXPECT_TRUE(takes([](SamplingParams& p) { p.top_k = 5, p.top_p = 0.9, p.min_p = 0.1, p.repetition_penalty = 1.1; }));
  EXPECT_FALSE(takes([](SamplingParams& p) { p.typical_p = 0.9; }));
  EXPECT_FALSE(takes([](SamplingParams& p) { p.no_repeat_ngram = 3; }));
  EXPECT_FALSE(takes([](SamplingParams& p) { p.bad_words = {{4}}; }));
  EXPECT_FALSE(takes([](SamplingParams& p) { p.eta_cutoff = 0.1; }));
  EXPECT_FALSE(takes([](SamplingParams& p) { p.temperature = 1e-9; }));
  EXPECT_FALSE(takes([](SamplingParams& p) { p.bias = {{3, 1}, {3, 1}}; }));
  EXPECT_FALSE(takes([](SamplingParams&) {}, 10, -1));                          // an executor without draws
  EXPECT_TRUE(takes([](SamplingParams& p) { p.repetition_penalty = 2; }, 47));  // 3 of the prompt
  EXPECT_FALSE(takes([](SamplingParams& p) { p.repetition_penalty = 2; }, 48));
  EXPECT_TRUE(takes([](SamplingParams& p) { p.presence_penalty = 1; }, 50));  // only new ids
  EXPECT_TRUE(takes([](SamplingParams&) {}, 100000));
}

TEST(DeviceDraw, RefusesWhatLeavesItsBuffers) {
  const auto device = Emulator(32);
  Drawer drawer(*device, 100, 4);
  const std::vector<int> outputs = {0};
  const auto refused = [&](const std::function<void(DrawRow&, std::vector<DrawEntry>&)>& spoil) {
    DrawRow row;
    row.mode = DrawRow::kWeighted;
    std::vector<DrawEntry> entries = {{0, 5, 1, 1, 0}, {0, -1, 0, 0, 0}};
    row.entries = 1;
    row.pending = 0;
    spoil(row, entries);
    return !drawer.stage->Check({{}, {}, {}, {}, outputs, {}, std::span(&row, 1), entries}, 1).ok();
  };
  EXPECT_FALSE(refused([](DrawRow&, std::vector<DrawEntry>&) {}));
  EXPECT_TRUE(refused([](DrawRow& row, auto&) { row.pending = 1; }));
  EXPECT_TRUE(refused([](DrawRow& row, auto&) { row.entries = 2; }));
  EXPECT_TRUE(refused([](DrawRow& row, auto&) { row.first = 1; }));
  EXPECT_TRUE(refused([](DrawRow& row, auto&) { row.first = -1; }));
  EXPECT_TRUE(refused([](DrawRow& row, auto&) { row.steps = kMostDrawSteps + 1; }));
  EXPECT_TRUE(refused([](DrawRow& row, auto&) { row.entries = -1; }));
  EXPECT_TRUE(refused([](DrawRow&, auto& entries) { entries[0].id = 100; }));
  EXPECT_TRUE(refused([](DrawRow&, auto& entries) { entries[0].id = -1; }));
  EXPECT_TRUE(refused([](DrawRow&, auto& entries) { entries.resize(100000, entries[0]); }));
}

// ---- in an engine ----

// Another executor as it is, but for what it draws; counts how often the host looked at logits, and waited for a step
// before it launched the next.
class Watched : public Executor {
 public:
  Watched(Executor& inner, bool draws) : inner_(inner), draws_(draws) {}
  Status Run(const Step& step) override {
    for (const DrawRow& row : step.draws) drawn += row.mode != DrawRow::kLeave;
    ++runs;
    return inner_.Run(step);
  }
  Result<std::span<const int>> Ids() override {
    ++waits;
    return inner_.Ids();
  }
  Result<std::span<const int>> PreviousIds() override { return inner_.PreviousIds(); }
  bool runs_ahead() const override { return inner_.runs_ahead(); }
  int draw_entries() const override { return draws_ ? inner_.draw_entries() : -1; }
  Result<std::span<const float>> Logits(int row) override {
    ++logits;
    return inner_.Logits(row);
  }
  Result<std::vector<float>> Read(int value) override { return inner_.Read(value); }
  MemoryUse memory() const override { return inner_.memory(); }
  std::string Describe() const override { return inner_.Describe(); }
  int runs = 0, waits = 0, logits = 0, drawn = 0;

 private:
  Executor& inner_;
  const bool draws_;
};

struct TinyModel {
  TinyModel() {
    SetLogLevel(LogLevel::kWarning);
    checkpoint =
        std::make_unique<Checkpoint>(std::move(Checkpoint::Open(UM_SOURCE_DIR "/tests/data/models/llama3")).value());
    source = std::make_unique<CheckpointSource>(*checkpoint);
    program = std::move(BuildProgram(*ReadConfig(*checkpoint))).value();
    limits.max_tokens = 32;
    limits.max_sequences = limits.max_outputs = 6;
    limits.page_tokens = 32;
    limits.max_pages = 4;
    limits.pages = 9;  // some are preempted
  }
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<CheckpointSource> source;
  Program program;
  ExecutorOptions limits;
};

// Greedy, drawn, penalised, at least so many tokens, and what only the host can do.
Request RequestOf(int i, int vocab, bool host_too, EventSink& sink) {
  Request r;
  for (int t = 0; t < 8 + 5 * i; ++t) r.prompt.push_back((3 + i * 13 + t * 7) % vocab);
  r.max_new = 10 + i;
  r.sink = &sink;
  SamplingParams& p = r.sampling;
  p.seed = static_cast<uint64_t>(i);
  p.temperature = i % 6 == 0 ? 0 : 0.9;
  if (i % 6 == 1) p.top_p = 0.9;
  if (i % 6 == 2) p.repetition_penalty = 1.2, p.frequency_penalty = 0.3, p.top_k = 30;
  if (i % 6 == 3) p.presence_penalty = 0.8, p.temperature = 0, p.bias = {{5, 2.5}};
  if (i % 6 == 4) p.min_new = 12, p.end_ids = {1, 2, 3, 4}, p.min_p = 0.02;
  if (i % 6 == 5 && host_too) p.no_repeat_ngram = 2;
  if (i % 6 == 0 && host_too) p.raw_logprobs = true, p.top_logprobs = 2;
  return r;
}

std::vector<std::vector<int>> Answers(Executor& executor, const TinyModel& model, bool host_too) {
  constexpr int kRequests = 8;
  EngineOptions options;
  options.scheduler = SchedulerOptionsFor(model.limits);
  auto engine = Engine::Start(executor, model.limits, model.program, options);
  EXPECT_TRUE(engine.ok());
  std::deque<Answer> sinks;
  for (int i = 0; i < kRequests; ++i) {
    sinks.emplace_back(nullptr, std::vector<std::string>{}, nullptr);
    EXPECT_TRUE((*engine)->Submit(RequestOf(i, model.program.vocab, host_too, sinks.back())).ok());
  }
  (*engine)->Drain();
  std::vector<std::vector<int>> answers;
  for (const Answer& sink : sinks) answers.push_back(sink.ids());
  return answers;
}

TEST(DeviceDraw, AnEngineThatMixesAllKindsGivesTheHostsTokens) {
  const TinyModel model;
  const auto on_cpu = std::move(MakeTeamExecutor(model.program, *model.source, model.limits, {.plain = true})).value();
  for (const bool host_too : {true, false}) {
    const std::vector<std::vector<int>> wanted = Answers(*on_cpu, model, host_too);
    for (const int lanes : {32, 64}) {
      if (lanes == 64 && !host_too) continue;
      const auto device = Emulator(lanes);
      for (const bool ahead : {true, false}) {
        const auto graph = std::move(MakeGraphExecutor(model.program, *model.source, *device, model.limits,
                                                       {.act = DType::kF32, .ahead = ahead}))
                               .value();
        if (!ahead && (lanes == 64 || !host_too)) continue;
        Watched drawing(*graph, true), host(*graph, false);
        EXPECT_EQ(Answers(drawing, model, host_too), wanted) << lanes << " " << ahead;
        EXPECT_GT(drawing.drawn, 60);
        if (host_too) continue;
        EXPECT_EQ(drawing.logits, 0) << "the host looked at logits";
        if (ahead && lanes == 32) {
          EXPECT_EQ(Answers(host, model, host_too), wanted);
          EXPECT_GT(host.logits, 60);
          // Only where nothing can be planned ahead a step is waited for: at the end, or while a preempted one is back.
          EXPECT_LT(drawing.waits, drawing.runs / 4);
          EXPECT_GT(host.waits, host.runs / 2);
          std::printf("device_draw runs=%d waits=%d drawn=%d host_waits=%d of %d\n", drawing.runs, drawing.waits,
                      drawing.drawn, host.waits, host.runs);
        }
      }
    }
  }
}

}  // namespace
}  // namespace unimax
