// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "base/log.h"
#include "engine/answer.h"
#include "engine/compare.h"
#include "engine/engine.h"
#include "engine/philox.h"
#include "engine/test_alone.h"
#include "exec/fit.h"

namespace unimax {
namespace {

constexpr const char* kTiny = UM_SOURCE_DIR "/tests/data/models/llama3";

Result<std::unique_ptr<Model>> Tiny(const std::string& device = "cpu") {
  SetLogLevel(LogLevel::kWarning);
  ModelOptions options;
  options.model = kTiny;
  options.device = device;
  options.dtype = "f32";
  options.context = 64;
  return Model::Load(options);
}

// The known answers of the generator's authors (Random123, kat_vectors, philox4x32 10).
TEST(Philox, GivesTheKnownAnswers) {
  EXPECT_EQ(Philox(0, 0), (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  double sum = 0;
  for (uint64_t i = 0; i < 10000; ++i) sum += PhiloxUniform(3, i);
  EXPECT_NEAR(sum / 10000, 0.5, 0.02);
}

// What an engine of its own gives a request; `sampling` says how.
Result<std::vector<int>> Answered(Model& model, std::vector<int> prompt, int max_new, const SamplingParams& sampling) {
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Start(model));
  Answer answer(model.tokenizer(), {}, nullptr);
  Request request;
  request.prompt = std::move(prompt);
  request.max_new = max_new;
  request.sampling = sampling;
  request.ignore_end = true;
  request.sink = &answer;
  UM_RETURN_IF_ERROR(engine->Submit(std::move(request)).status());
  answer.Wait();
  UM_RETURN_IF_ERROR(answer.status());
  return answer.ids();
}

SamplingParams Greedy() {
  SamplingParams sampling;
  sampling.temperature = 0;
  return sampling;
}

TEST(Engine, RepeatsItselfForOneSeedOnly) {
  auto model = Tiny();
  ASSERT_TRUE(model.ok()) << model.status().text();
  const auto ids = [&](uint64_t seed) {
    SamplingParams sampling;
    sampling.seed = seed;
    const auto result = Answered(**model, {1, 40, 41, 42}, 12, sampling);
    EXPECT_TRUE(result.ok()) << result.status().text();
    return *result;
  };
  EXPECT_EQ(ids(1), ids(1));
  EXPECT_NE(ids(1), ids(2));
}

TEST(Engine, ChunksOfThePromptDoNotChangeTheAnswer) {
  std::vector<int> prompt, first;
  for (int i = 0; i < 40; ++i) prompt.push_back(5 + i * 7 % 300);
  for (int chunk : {512, 16, 7}) {
    SetLogLevel(LogLevel::kWarning);
    ModelOptions options;
    options.model = kTiny;
    options.device = "cpu";
    options.dtype = "f32";
    options.max_tokens = chunk;
    const auto model = Model::Load(options);
    ASSERT_TRUE(model.ok());
    const auto result = Answered(**model, prompt, 8, Greedy());
    ASSERT_TRUE(result.ok()) << result.status().text();
    if (first.empty()) first = GreedyAlone(**model, prompt, 8);
    EXPECT_EQ(*result, first) << chunk;
  }
}

TEST(Engine, RefusesAPromptThatFillsTheContext) {
  auto model = Tiny();
  ASSERT_TRUE(model.ok());
  const auto result = Answered(**model, std::vector<int>(64, 7), 2, Greedy());
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().kind(), ErrorKind::kUsage);
  EXPECT_NE(result.status().text().find("--context"), std::string_view::npos);
}

// A candidate that is wrong in one op: the first norm of the program's second half gets another epsilon.
TEST(Compare, NamesTheFirstOpWithAPlantedBug) {
  auto model = Tiny("emulator");
  ASSERT_TRUE(model.ok()) << model.status().text();
  const Program& program = (*model)->program();
  int planted = -1;
  for (size_t i = 0; i < program.ops.size(); ++i) {
    if (program.ops[i].kind == OpKind::kNorm && planted < 0 && i > program.ops.size() / 2)
      planted = static_cast<int>(i);
  }
  ASSERT_GE(planted, 0);
  const auto wrong = [&](const Program& p) {
    Program bad = p;
    if (static_cast<int>(bad.ops.size()) > planted) bad.ops[static_cast<size_t>(planted)].eps = 0.5f;
    return (*model)->MakeExecutor(bad, "auto");
  };
  const auto right = [&](const Program& p) { return (*model)->MakeExecutor(p, "auto"); };
  const auto truth = [&](const Program& p) { return (*model)->MakeExecutor(p, "reference"); };
  const std::vector<int> ids = {1, 9, 33, 60};
  const auto bad = ComparePrefixes(program, (*model)->limits(), ids, wrong, truth, 1e-4, [](int) {});
  ASSERT_TRUE(bad.ok()) << bad.status().text();
  EXPECT_EQ(bad->first_bad, planted);
  const auto good = ComparePrefixes(program, (*model)->limits(), ids, right, truth, 1e-4, [](int) {});
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(good->first_bad, -1);
}

TEST(Fit, SaysWhatFailsAndTheContextThatFits) {
  ExecutorOptions options;
  options.page_tokens = 32;
  options.max_pages = 4;  // 128 positions
  const MemoryUse use{1000, 128 * 1000, 500};
  EXPECT_TRUE(CheckFits(use, 130000, "here", options, "a smaller model").ok());
  const Status less = CheckFits(use, 1500 + 70 * 1000, "here", options, "a smaller model");
  EXPECT_EQ(less.kind(), ErrorKind::kNoDevice);
  EXPECT_NE(less.text().find("--context 64 would fit"), std::string_view::npos) << less.text();
  const Status none = CheckFits(use, 900, "here", options, "a smaller model");
  EXPECT_NE(none.text().find("a smaller model"), std::string_view::npos) << none.text();
  EXPECT_GT(AvailableMemory(), 1u << 20);
}

TEST(Model, NamesWhatIsMissing) {
  ModelOptions options;
  options.model = "no-such-model";
  const auto model = Model::Load(options);
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.status().kind(), ErrorKind::kIo);
  EXPECT_NE(model.status().text().find("no-such-model"), std::string_view::npos);
}

}  // namespace
}  // namespace unimax
