// SPDX-License-Identifier: Apache-2.0
// Requests side by side on real executors give what each gives alone; what befalls one leaves the others as they are.
#include "engine/engine_loop.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/log.h"
#include "engine/test_alone.h"

namespace unimax {
namespace {

constexpr int kRequests = 8;

std::unique_ptr<Model> Tiny(const std::string& executor, const std::string& name = "llama3") {
  SetLogLevel(LogLevel::kWarning);
  ModelOptions options;
  options.model = UM_SOURCE_DIR "/tests/data/models/" + name;
  options.device = "cpu";
  options.executor = executor;
  options.dtype = "f32";
  options.context = 128;
  options.sequences = kRequests;
  auto model = Model::Load(options);
  EXPECT_TRUE(model.ok()) << model.status().text();
  return std::move(model).value();
}

// Passes everything on, but breaks what a test asks it to.
class FaultyExecutor : public Executor {
 public:
  explicit FaultyExecutor(Executor& inner) : inner_(inner) {}
  Status Run(const Step& step) override {
    if (++runs_ == fail_at) return NoDevice("the device was lost");
    return inner_.Run(step);
  }
  Result<std::span<const int>> Ids() override {
    UM_ASSIGN_OR_RETURN(const std::span<const int> ids, inner_.Ids());
    ids_.assign(ids.begin(), ids.end());
    if (runs_ == poison_at) ids_.at(static_cast<size_t>(poison_row)) = -1;
    return std::span<const int>(ids_);
  }
  Result<std::span<const int>> PreviousIds() override { return inner_.PreviousIds(); }
  Result<std::span<const float>> Logits(int row) override { return inner_.Logits(row); }
  Result<std::vector<float>> Read(int value) override { return inner_.Read(value); }
  MemoryUse memory() const override { return inner_.memory(); }
  std::string Describe() const override { return inner_.Describe(); }

  int fail_at = -1, poison_at = -1, poison_row = 0;

 private:
  Executor& inner_;
  int runs_ = 0;
  std::vector<int> ids_;
};

class Listener : public EventSink {
 public:
  bool OnToken(const TokenEvent& event) override {
    EXPECT_EQ(event.index, static_cast<int>(ids.size()));
    ids.push_back(event.id);
    return static_cast<int>(ids.size()) == stop_after;
  }
  void OnPromptToken(const PromptEvent& event) override {
    prompt_logprobs.push_back(event.logprob);
    prompt_ids.push_back(event.id);
    prompt_positions.push_back(event.position);
    prompt_ranks.push_back(event.rank);
  }
  void OnEnd(const EndEvent& event) override {
    ++ends;
    end = event;
  }
  std::vector<int> ids;
  std::vector<double> prompt_logprobs;
  std::vector<int> prompt_ids, prompt_positions, prompt_ranks;
  int ends = 0, stop_after = -1;
  EndEvent end;
};

std::vector<int> PromptOf(int request) {
  std::vector<int> prompt;
  for (int i = 0; i < 36 + request; ++i) prompt.push_back(5 + (i < 33 ? i * 7 : i * 11 + request * 13) % 300);
  return prompt;
}

Request RequestOf(int request, int max_new, Listener& listener) {
  Request r;
  r.id = static_cast<uint64_t>(request);
  r.prompt = PromptOf(request);
  r.max_new = max_new;
  r.sampling.temperature = 0;
  r.ignore_end = true;
  r.sink = &listener;
  return r;
}

// A loop over the model's executor, or another in its place.
struct Loop {
  explicit Loop(Model& model, Executor* executor = nullptr, int pages = 0, int step_tokens = 0) {
    SchedulerOptions options = SchedulerOptionsFor(model.limits());
    if (pages > 0) options.pages = pages;
    if (step_tokens > 0) options.max_step_tokens = options.max_step_prefill = step_tokens;
    auto made = EngineLoop::Make(executor != nullptr ? *executor : model.executor(), model.limits(), options,
                                 model.program(), *hasher);
    EXPECT_TRUE(made.ok()) << made.status().text();
    loop = std::move(made).value();
  }
  Ticket Submit(Request request) {
    auto ticket = loop->Submit(std::move(request), now);
    EXPECT_TRUE(ticket.ok()) << ticket.status().text();
    return *ticket;
  }
  void Run() {
    while (!loop->idle()) EXPECT_TRUE(loop->Step(++now).ok());
  }
  std::unique_ptr<PageHasher> hasher = MakeSha256Hasher();
  std::unique_ptr<EngineLoop> loop;
  Time now = 1;
};

// A row's top logits may lie so near that a different order of sums swaps them; these prompts' do not.
TEST(EngineLoop, GivesTogetherWhatEachGivesAlone) {
  constexpr int kNew = 80;
  for (const std::string executor : {"reference", "auto"}) {
    const std::unique_ptr<Model> model = Tiny(executor);
    std::map<int, std::vector<int>> alone;
    for (int i = 0; i < kRequests; ++i) alone[i] = GreedyAlone(*model, PromptOf(i), kNew);
    for (const int pages : {0, 12}) {  // ample; too few for all, so that some are preempted
      Loop side_by_side(*model, nullptr, pages, 24);
      std::vector<Listener> listeners(kRequests);
      for (int i = 0; i < kRequests; ++i) {
        side_by_side.Submit(RequestOf(i, kNew, listeners[static_cast<size_t>(i)]));
        for (int step = 0; step < i; ++step) ASSERT_TRUE(side_by_side.loop->Step(++side_by_side.now).ok());
      }
      side_by_side.Run();
      int diffs = 0, cached = 0;
      for (int i = 0; i < kRequests; ++i) {
        const Listener& l = listeners[static_cast<size_t>(i)];
        diffs += l.ids != alone[i];
        cached += l.end.cached_tokens;
        EXPECT_EQ(l.ends, 1);
        EXPECT_EQ(l.end.reason, EndReason::kLength);
        EXPECT_EQ(l.end.new_tokens, kNew);
      }
      const SchedulerCounts counts = side_by_side.loop->scheduler().counts();
      std::printf(
          "engine_loop executor=%s pages=%d requests=%d diffs=%d cached_tokens=%d preemptions=%llu steps=%llu\n",
          executor.c_str(), side_by_side.loop->scheduler().options().pages, kRequests, diffs, cached,
          static_cast<unsigned long long>(counts.preemptions), static_cast<unsigned long long>(counts.steps));
      EXPECT_EQ(diffs, 0);
      EXPECT_GT(cached, 0);
      EXPECT_EQ(counts.preemptions > 0, pages > 0);
    }
  }
}

TEST(EngineLoop, APoisonedRowEndsOneRequestAlone) {
  const std::unique_ptr<Model> model = Tiny("auto");
  std::vector<Listener> clean(3), hurt(3);
  Loop first(*model);
  for (int i = 0; i < 3; ++i) first.Submit(RequestOf(i, 10, clean[static_cast<size_t>(i)]));
  first.Run();
  FaultyExecutor faulty(model->executor());
  faulty.poison_at = 4;
  faulty.poison_row = 1;
  Loop second(*model, &faulty);
  for (int i = 0; i < 3; ++i) second.Submit(RequestOf(i, 10, hurt[static_cast<size_t>(i)]));
  second.Run();
  EXPECT_EQ(hurt[0].ids, clean[0].ids);
  EXPECT_EQ(hurt[2].ids, clean[2].ids);
  EXPECT_EQ(hurt[1].end.reason, EndReason::kPoisoned);
  EXPECT_NE(hurt[1].end.error, "");
  EXPECT_EQ(hurt[1].ids, std::vector<int>(clean[1].ids.begin(), clean[1].ids.begin() + 3));
}

TEST(EngineLoop, ALostDeviceEndsWhatWasInTheStep) {
  const std::unique_ptr<Model> model = Tiny("auto");
  FaultyExecutor faulty(model->executor());
  faulty.fail_at = 3;
  Loop loop(*model, &faulty);
  std::vector<Listener> listeners(3);
  for (int i = 0; i < 2; ++i) loop.Submit(RequestOf(i, 10, listeners[static_cast<size_t>(i)]));
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(loop.loop->Step(++loop.now).ok());
  EXPECT_EQ(loop.loop->Step(++loop.now).kind(), ErrorKind::kNoDevice);
  for (int i = 0; i < 2; ++i) {
    const Listener& l = listeners[static_cast<size_t>(i)];
    EXPECT_EQ(l.end.reason, EndReason::kFailed);
    EXPECT_EQ(l.end.error, "the device was lost");
    EXPECT_EQ(l.ids.size(), 2u);
    EXPECT_EQ(l.ends, 1);
  }
  loop.Submit(RequestOf(2, 10, listeners[2]));
  loop.Run();
  EXPECT_EQ(listeners[2].end.reason, EndReason::kLength);
}

TEST(EngineLoop, CancelsBetweenSteps) {
  const std::unique_ptr<Model> model = Tiny("auto");
  Loop loop(*model);
  std::vector<Listener> listeners(2);
  const Ticket ticket = loop.Submit(RequestOf(0, 50, listeners[0]));
  loop.Submit(RequestOf(1, 5, listeners[1]));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(loop.loop->Step(++loop.now).ok());
  EXPECT_TRUE(loop.loop->Cancel(ticket, loop.now));
  EXPECT_EQ(listeners[0].end.reason, EndReason::kCancelled);
  EXPECT_FALSE(loop.loop->Cancel(ticket, loop.now));
  loop.Run();
  EXPECT_EQ(listeners[0].ids.size(), 3u);
  EXPECT_EQ(listeners[0].ends, 1);
  EXPECT_EQ(listeners[1].ids.size(), 5u);
}

// Allows the ids that are 3 more than the last, from 10 on.
class Staircase : public MaskProvider {
 public:
  void Fill(std::span<uint64_t> allowed) override {
    std::ranges::fill(allowed, 0);
    allowed[static_cast<size_t>(next_ / 64)] = uint64_t{1} << (next_ % 64);
  }
  void Accept(int id) override { next_ = id + 3; }

 private:
  int next_ = 10;
};

TEST(EngineLoop, KeepsToMasksAndStopsWhereTheSinkSays) {
  const std::unique_ptr<Model> model = Tiny("auto");
  Loop loop(*model);
  std::vector<Listener> listeners(3);
  Request masked = RequestOf(0, 6, listeners[0]);
  masked.mask = std::make_unique<Staircase>();
  loop.Submit(std::move(masked));
  Request stopped = RequestOf(1, 30, listeners[1]);
  stopped.sink_stops = true;
  listeners[1].stop_after = 4;
  loop.Submit(std::move(stopped));
  Request scored = RequestOf(2, 3, listeners[2]);
  scored.prompt_logprobs = true;
  loop.Submit(std::move(scored));
  loop.Run();
  EXPECT_EQ(listeners[0].ids, (std::vector<int>{10, 13, 16, 19, 22, 25}));
  EXPECT_EQ(listeners[1].ids.size(), 4u);
  EXPECT_EQ(listeners[1].end.reason, EndReason::kStop);
  ASSERT_EQ(listeners[2].prompt_logprobs.size(), PromptOf(2).size() - 1);
  // The same, token by token: what the model said before each prompt token.
  Listener step_by_step;
  Loop slow(*model, nullptr, 0, kRequests);
  Request again = RequestOf(2, 3, step_by_step);
  again.prompt_logprobs = true;
  slow.Submit(std::move(again));
  slow.Run();
  for (size_t i = 0; i < listeners[2].prompt_logprobs.size(); ++i) {
    EXPECT_LT(listeners[2].prompt_logprobs[i], 0);
    EXPECT_NEAR(listeners[2].prompt_logprobs[i], step_by_step.prompt_logprobs[i], 1e-3);
  }
  EXPECT_EQ(step_by_step.ids, listeners[2].ids);
}

// Each prompt token against what the executor says after the tokens before it, without loop, scheduler and sampler.
TEST(EngineLoop, ScoresEachPromptTokenByThoseBeforeIt) {
  const std::unique_ptr<Model> model = Tiny("auto");
  const std::vector<int> prompt = PromptOf(2);
  Listener listener;
  {
    Loop loop(*model, nullptr, 0, 11);  // in parts
    Request scored = RequestOf(2, 1, listener);
    scored.prompt_logprobs = true;
    loop.Submit(std::move(scored));
    loop.Run();
  }
  ASSERT_EQ(listener.prompt_ids, std::vector<int>(prompt.begin() + 1, prompt.end()));
  std::vector<int> pages(static_cast<size_t>(model->limits().max_pages));
  std::iota(pages.begin(), pages.end(), 0);
  for (int at = 0; at + 1 < std::ssize(prompt); ++at) {
    const std::vector<int> id = {prompt[static_cast<size_t>(at)]}, position = {at}, first = {0};
    ASSERT_TRUE(model->executor().Run({id, position, first, pages, first}).ok());
    const std::span<const float> logits = model->executor().Logits(0).value();
    const double mine = static_cast<double>(logits[static_cast<size_t>(prompt[static_cast<size_t>(at) + 1])]);
    double sum = 0;
    int rank = 1;
    for (const float x : logits) {
      sum += std::exp(static_cast<double>(x) - mine);
      rank += static_cast<double>(x) > mine ? 1 : 0;
    }
    const auto i = static_cast<size_t>(at);
    EXPECT_EQ(listener.prompt_positions[i], at + 1);
    EXPECT_NEAR(listener.prompt_logprobs[i], -std::log(sum), 1e-4);
    EXPECT_EQ(listener.prompt_ranks[i], rank);
  }
}

// Phi-3 longrope has a second set of frequencies for sequences that outgrow 64 tokens: such a request uses it from its
// first position on, and must not take the pages of a short one with the same prompt.
TEST(EngineLoop, TurnsLongSequencesByTheSecondSetOfFrequencies) {
  const std::unique_ptr<Model> model = Tiny("auto", "phi3_longrope");
  std::map<int, std::vector<int>> alone;  // first of all: it uses the pages that the loop will hold
  for (const int max_new : {8, 40}) alone[max_new] = GreedyAlone(*model, PromptOf(4), max_new);
  Loop loop(*model);
  for (const int max_new : {8, 40, 8, 40}) {
    Listener listener;
    loop.Submit(RequestOf(4, max_new, listener));
    loop.Run();
    EXPECT_EQ(listener.ids, alone[max_new]) << max_new;
  }
}

TEST(EngineLoop, RefusesWhatCannotRun) {
  const std::unique_ptr<Model> model = Tiny("auto");
  Loop loop(*model);
  Listener listener;
  EXPECT_EQ(loop.loop->Submit(RequestOf(0, 100, listener), 0).status().text(),
            "a prompt of 36 tokens and 100 new ones need 5 pages of 32 tokens, a sequence can have 4: shorten the "
            "prompt, ask for fewer new tokens or raise --context");
  Request r = RequestOf(0, 1, listener);
  r.prompt[3] = 1 << 20;
  EXPECT_EQ(loop.loop->Submit(std::move(r), 0).status().kind(), ErrorKind::kUsage);
  SchedulerOptions options = SchedulerOptionsFor(model->limits());
  options.pages = 1000;
  EXPECT_EQ(
      EngineLoop::Make(model->executor(), model->limits(), options, model->program(), *loop.hasher).status().text(),
      "the scheduler would use 1000 pages, the executor has 32");
}

}  // namespace
}  // namespace unimax
