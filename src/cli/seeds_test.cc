// SPDX-License-Identifier: Apache-2.0
// Row D06 of the reliability table, by the real engine over a small model: what a seed gives alone, among others and
// after preemption; what it gives for each of n choices; and what comes without a seed.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "cli/sampling_flags.h"
#include "engine/answer.h"
#include "engine/engine.h"
#include "engine/sampler.h"

namespace unimax {
namespace {

using Ids = std::vector<int>;

constexpr bool kSanitized = UM_SANITIZERS[0] != 0;
constexpr int kSeeds = kSanitized ? 10 : 100;
constexpr int kOthers = 16;
constexpr int kNew = 40;

// A context of four pages of 32 tokens.
Result<std::unique_ptr<Model>> Tiny(const char* name, int threads) {
  SetLogLevel(LogLevel::kWarning);
  ModelOptions options;
  options.model = std::string(UM_SOURCE_DIR "/tests/data/") + name;
  options.device = "cpu";
  options.context = 128;
  options.sequences = kOthers + 1;
  options.threads = threads;
  options.deterministic = true;
  return Model::Load(options);
}

// The prompt of request `which`: of any length up to 80.
Ids PromptOf(int which) {
  Ids prompt;
  for (int i = 0; i < 5 + which * 37 % 76; ++i) prompt.push_back(5 + (i * i * 7 + which * 31 + i) % 300);
  return prompt;
}

// Draws of every kind: by the filters, with penalties, and near to the largest.
SamplingParams SamplingFor(int which, uint64_t seed) {
  SamplingParams sampling;
  sampling.seed = seed;
  sampling.temperature = which % 3 == 0 ? 1.0 : 0.6;
  if (which % 4 == 1) sampling.top_p = 0.9;
  if (which % 4 == 2) sampling.top_k = 40;
  if (which % 4 == 3) sampling.typical_p = 0.9;
  if (which % 5 == 1) sampling.repetition_penalty = 1.2;
  if (which % 5 == 2) sampling.presence_penalty = 0.5;
  return sampling;
}

Request RequestOf(int which, uint64_t seed, EventSink* sink) {
  Request request;
  request.prompt = PromptOf(which);
  request.max_new = kNew;
  request.sampling = SamplingFor(which, seed);
  request.ignore_end = true;
  request.sink = sink;
  return request;
}

// Hands in requests from within the engine, so that they come in one order and before the same step in each run.
class Starter : public EventSink {
 public:
  Starter(Engine& engine, std::vector<Request> requests) : engine_(engine), requests_(std::move(requests)) {}
  bool OnToken(const TokenEvent&) override { return false; }
  void OnEnd(const EndEvent&) override {
    for (Request& request : requests_) EXPECT_TRUE(engine_.Submit(std::move(request)).ok());
  }

 private:
  Engine& engine_;
  std::vector<Request> requests_;
};

// An engine that takes `running` sequences at once and has `pages` pages.
std::unique_ptr<Engine> EngineOf(Model& model, int running, int pages, int step_tokens) {
  EngineOptions options;
  options.scheduler = SchedulerOptionsFor(model.limits());
  options.scheduler.max_running = running;
  options.scheduler.max_outputs = running;
  options.scheduler.pages = pages;
  options.scheduler.max_step_tokens = step_tokens;
  options.scheduler.max_step_prefill = step_tokens;
  options.scope = model.prefix_scope();
  auto engine = Engine::Start(model.executor(), model.limits(), model.program(), options);
  EXPECT_TRUE(engine.ok()) << engine.status().text();
  return std::move(engine).value();
}

// The answers to all requests, which arrive together in their order.
std::vector<Ids> Together(Engine& engine, std::vector<Request> requests) {
  std::vector<std::unique_ptr<Answer>> answers;
  for (Request& request : requests) {
    answers.push_back(std::make_unique<Answer>(nullptr, std::vector<std::string>(), nullptr));
    request.sink = answers.back().get();
  }
  Starter starter(engine, std::move(requests));
  Request first;
  first.prompt = {1};
  first.sink = &starter;
  EXPECT_TRUE(engine.Submit(std::move(first)).ok());
  std::vector<Ids> texts;
  for (const auto& answer : answers) {
    answer->Wait();
    EXPECT_TRUE(answer->status().ok()) << answer->status().text();
    texts.push_back(answer->ids());
  }
  return texts;
}

struct Company {
  int mismatch = 0;
  int preempted = 0;  // seeds whose request gave way to others and was computed again
  int equal = 0;      // texts that two seeds have in common
};

std::vector<Ids> Alone(Model& model) {
  const auto engine = EngineOf(model, 1, 4, 128);
  std::vector<Ids> texts;
  for (int seed = 0; seed < kSeeds; ++seed) {
    std::vector<Request> one;
    one.push_back(RequestOf(seed, static_cast<uint64_t>(seed), nullptr));
    texts.push_back(Together(*engine, std::move(one))[0]);
  }
  return texts;
}

// Each seed in a place of its own among 16 others, in steps that hold parts of prompts.
void AmongOthers(Model& model, const std::vector<Ids>& expected, Company* company) {
  const auto engine = EngineOf(model, kOthers + 1, 4 * (kOthers + 1), 48);
  for (int seed = 0; seed < kSeeds; ++seed) {
    std::vector<Request> requests;
    for (int i = 1; i <= kOthers; ++i)
      requests.push_back(RequestOf(seed + i, static_cast<uint64_t>(1000 + i), nullptr));
    const int place = seed % (kOthers + 1);
    requests.insert(requests.begin() + place, RequestOf(seed, static_cast<uint64_t>(seed), nullptr));
    const std::vector<Ids> texts = Together(*engine, std::move(requests));
    company->mismatch += texts[static_cast<size_t>(place)] != expected[static_cast<size_t>(seed)];
  }
}

// Each seed as the last of four in ten pages. The others grow to three pages each, of which the last finds none free
// while the fourth has two: it gives way, and nobody else ever does.
void GivingWay(Model& model, const std::vector<Ids>& expected, Company* company) {
  const auto engine = EngineOf(model, 4, 10, 128);
  for (int seed = 0; seed < kSeeds; ++seed) {
    const uint64_t before = engine->state().counts.preemptions;
    std::vector<Request> requests;
    for (int i = 0; i < 3; ++i) {
      requests.push_back(RequestOf(seed + i, static_cast<uint64_t>(2000 + i), nullptr));
      requests.back().prompt.assign(30, 7 + i + seed);
      requests.back().max_new = 60;
    }
    requests.push_back(RequestOf(seed, static_cast<uint64_t>(seed), nullptr));
    company->mismatch += Together(*engine, std::move(requests)).back() != expected[static_cast<size_t>(seed)];
    company->preempted += engine->state().counts.preemptions == before + 1 ? 1 : 0;
  }
}

TEST(Seeds, GiveTheSameTextAloneInCompanyAndAfterPreemption) {
  for (const auto& [name, threads] : {std::pair{"models/llama3", 1}, std::pair{"gguf/tiny-llama-q8_0.gguf", 2}}) {
    const auto model = Tiny(name, threads);
    ASSERT_TRUE(model.ok()) << model.status().text();
    const std::vector<Ids> alone = Alone(**model);
    Company company;
    company.equal = kSeeds - static_cast<int>(std::set<Ids>(alone.begin(), alone.end()).size());
    AmongOthers(**model, alone, &company);
    GivingWay(**model, alone, &company);
    const bool good = company.mismatch == 0 && company.preempted == kSeeds && company.equal == 0;
    std::printf("D06 model=%s seed_mismatch=%d seeds=%d others=%d preempted=%d other_seeds_equal=%d %s\n", name,
                company.mismatch, kSeeds, kOthers, company.preempted, company.equal, good ? "PASS" : "FAIL");
    EXPECT_TRUE(good);
  }
}

// What is drawn for choice i of seed s is nobody else's, whether the choices run together or one by one.
TEST(Seeds, ChoicesUseStreamsOfTheirOwn) {
  const auto model = Tiny("models/llama3", 1);
  ASSERT_TRUE(model.ok()) << model.status().text();
  constexpr int kChoices = 4;
  const auto ask = [](int seed, int choice) {
    Request request = RequestOf(3, static_cast<uint64_t>(seed), nullptr);
    request.sampling = {};
    request.sampling.seed = static_cast<uint64_t>(seed);
    request.sampling.choice = static_cast<uint32_t>(choice);
    return request;
  };
  const auto engine = EngineOf(**model, kChoices, 4 * kChoices, 128);
  std::set<Ids> seen;
  int mismatch = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    std::vector<Request> all, one;
    for (int choice = 0; choice < kChoices; ++choice) all.push_back(ask(seed, choice));
    one.push_back(ask(seed, seed % kChoices));
    const std::vector<Ids> texts = Together(*engine, std::move(all));
    mismatch += Together(*engine, std::move(one))[0] != texts[static_cast<size_t>(seed % kChoices)];
    seen.insert(texts.begin(), texts.end());
  }
  const int equal = kSeeds * kChoices - static_cast<int>(seen.size());
  std::printf("D06 choices=%d seeds=%d seed_mismatch=%d equal=%d %s\n", kChoices, kSeeds, mismatch, equal,
              mismatch + equal == 0 ? "PASS" : "FAIL");
  EXPECT_EQ(mismatch, 0);
  EXPECT_EQ(equal, 0);
}

// Two streams are independent when they agree on a token as often as strangers do. With two ids of even odds each draw
// is a coin, and neighbours (by seed, choice, position, or several of them) agree in half of all cases, within five
// deviations.
TEST(Seeds, StreamsOfNeighboursAgreeNoMoreThanStrangers) {
  constexpr int kSeedsOfCoins = 1000, kChoices = 6, kLength = 6;
  Sampler sampler(2);
  const std::vector<float> logits = {0, 0};
  SamplingParams params;
  const std::vector<SamplingStep> steps = StepsOf(params);
  const auto index = [](int seed, int choice, int at) {
    return static_cast<size_t>((seed * kChoices + choice) * kLength + at);
  };
  Ids coins;  // [seeds, choices, length]
  for (int i = 0; i < kSeedsOfCoins * kChoices * kLength; ++i) {
    params.seed = static_cast<uint64_t>(i / (kChoices * kLength));
    params.choice = static_cast<uint32_t>(i / kLength % kChoices);
    const Ids history(static_cast<size_t>(10 + i % kLength));
    coins.push_back(sampler.Choose({logits, params, steps, history, 10, {}}).id);
  }
  for (int offset = 1; offset <= 13; ++offset) {  // half of the 26 neighbours: the others are the same pairs
    const int by_seed = (offset + 13) / 9 - 1, by_choice = (offset + 13) / 3 % 3 - 1,
              by_position = (offset + 13) % 3 - 1;
    int agree = 0, pairs = 0;
    for (int seed = 0; seed + by_seed < kSeedsOfCoins; ++seed) {
      for (int choice = 1; choice + 1 < kChoices; ++choice) {
        for (int at = 1; at + 1 < kLength; ++at, ++pairs) {
          agree += coins[index(seed, choice, at)] == coins[index(seed + by_seed, choice + by_choice, at + by_position)];
        }
      }
    }
    EXPECT_NEAR(agree, pairs / 2.0, 5 * std::sqrt(pairs) / 2) << by_seed << " " << by_choice << " " << by_position;
  }
}

// Requests that name no seed, as the commands make them.
TEST(Seeds, NoSeedGivesVariety) {
  const auto model = Tiny("models/llama3", 1);
  ASSERT_TRUE(model.ok()) << model.status().text();
  SamplingFlags flags;
  flags.temperature = 1;
  const auto engine = EngineOf(**model, 8, 32, 128);
  std::set<Ids> seen;
  for (int i = 0; i < kSeeds; ++i) {
    const auto sampling = SamplingOf(flags, **model);
    ASSERT_TRUE(sampling.ok()) << sampling.status().text();
    std::vector<Request> one;
    one.push_back(RequestOf(3, 0, nullptr));
    one.back().sampling = *sampling;
    seen.insert(Together(*engine, std::move(one))[0]);
  }
  const int equal = kSeeds - static_cast<int>(seen.size());
  std::printf("D06 seed=none seeds=%d unseeded_equal=%d%% %s\n", kSeeds, 100 * equal / kSeeds,
              100 * equal <= kSeeds ? "PASS" : "FAIL");
  EXPECT_LE(100 * equal, kSeeds);
}

}  // namespace
}  // namespace unimax
