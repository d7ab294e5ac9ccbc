// SPDX-License-Identifier: Apache-2.0
// Rows D02 and D03: under --deterministic the bits of logits depend on their history alone.
#include "engine/determinism.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/log.h"
#include "engine/model.h"

namespace unimax {
namespace {

struct Way {
  const char* model;
  const char* device;
  const char* dtype;
  int prompts, orders;
  std::vector<int> threads;
};

constexpr bool kSanitized = UM_SANITIZERS[0] != 0;  // then everything is slow, and fewer prompts do
bool OnEmulator(const Way& way) { return std::string(way.device) != "cpu"; }
int Prompts(const Way& way) { return kSanitized ? std::min(way.prompts, OnEmulator(way) ? 2 : 30) : way.prompts; }

Result<DeterminismReport> Check(const Way& way, bool deterministic) {
  SetLogLevel(LogLevel::kWarning);
  ModelOptions options;
  options.model = std::string(UM_SOURCE_DIR "/tests/data/") + way.model;
  options.device = way.device;
  options.dtype = way.dtype;
  options.context = 128;
  options.sequences = 32;
  options.deterministic = deterministic;
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Load(options));
  model->DropExecutor();
  DeterminismOptions check;
  check.prompts = deterministic ? Prompts(way) : way.prompts;  // to see a difference takes some
  check.orders = way.orders;
  check.threads = way.threads;
  if (OnEmulator(way)) check.batches = {1, 3, 16};  // it is slow
  if (OnEmulator(way)) check.chunks = {7, 0};
  return CheckDeterminism(
      model->program(), model->limits(), check,
      [&](int threads) { return model->MakeExecutor(model->program(), "auto", threads); }, nullptr);
}

std::string NameOf(const testing::TestParamInfo<Way>& info) {
  std::string name = fmt::format("{}_{}_{}", info.param.model, info.param.device, info.param.dtype);
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}

class Determinism : public testing::TestWithParam<Way> {};

TEST_P(Determinism, OneHashAHistory) {
  const Way& way = GetParam();
  const auto report = Check(way, true);
  ASSERT_TRUE(report.ok()) << report.status().text();
  const auto print = [&](const char* id, const DeterminismReport::Part& part, const std::string& more) {
    std::printf("%s model=%s device=%s dtype=%s hashes_per_prompt=%d diffs=%lld rows=%lld runs=%lld %s %s\n", id,
                way.model, way.device, way.dtype, part.differing == 0 ? 1 : 2, static_cast<long long>(part.differing),
                static_cast<long long>(part.rows), static_cast<long long>(part.runs), more.c_str(),
                part.differing == 0 ? "PASS" : "FAIL");
    EXPECT_EQ(part.differing, 0);
    EXPECT_GT(part.rows, Prompts(way));
  };
  print("D02", report->batches, fmt::format("prompts={} orders={}", Prompts(way), way.orders));
  print("D03", report->histories,
        fmt::format("cached_tokens={} preemptions={}", report->cached_tokens, report->preemptions));
  EXPECT_GT(report->cached_tokens, Prompts(way));
  EXPECT_TRUE(OnEmulator(way) || report->preemptions > 0);  // it takes many prompts
}

// More threads than processors make a step slow, so not every model gets them.
const std::vector<int> kFour = {1, 2, 3, 4}, kTwo = {1, 2};

INSTANTIATE_TEST_SUITE_P(Cpu, Determinism,
                         testing::Values(Way{"models/llama3", "cpu", "auto", 200, 1, kTwo},
                                         Way{"gguf/tiny-llama-q4_1.gguf", "cpu", "auto", 200, 1, kTwo},
                                         Way{"gguf/tiny-llama-q8_0.gguf", "cpu", "auto", 30, 1, kFour},
                                         Way{"models/llama3_bf16", "cpu", "auto", 30, 1, kTwo},
                                         Way{"models/gemma2", "cpu", "auto", 30, 1, kTwo},
                                         Way{"models/phi3_longrope", "cpu", "auto", 30, 1, kTwo},
                                         Way{"models/falcon", "cpu", "auto", 30, 1, kTwo}),
                         NameOf);

INSTANTIATE_TEST_SUITE_P(Emulators, Determinism,
                         testing::Values(Way{"models/llama3_bf16", "emulator", "auto", 5, 1, {0}},
                                         Way{"models/llama3", "emulator64", "f16", 3, 1, {0}},
                                         Way{"models/gemma2", "emulator", "bf16", 3, 1, {0}},
                                         Way{"models/falcon", "emulator", "f32", 2, 1, {0}}),
                         NameOf);

TEST(Determinism, SeesTheRowsOfTheTableThatSumOtherwise) {
  const auto report = Check({"models/llama3_bf16", "emulator", "auto", 4, 1, {0}}, false);
  ASSERT_TRUE(report.ok()) << report.status().text();
  EXPECT_GT(report->batches.differing + report->histories.differing, 0);
}

// Without the flag long contexts are cut by what else is in the step: the check must see that.
TEST(Determinism, SeesARowThatDependsOnItsBatch) {
  SetLogLevel(LogLevel::kWarning);
  ModelOptions options;
  options.model = UM_SOURCE_DIR "/tests/data/models/llama3";
  options.device = "cpu";
  options.context = 256;
  options.threads = 4;
  options.sequences = 4;
  auto model = Model::Load(options);
  ASSERT_TRUE(model.ok()) << model.status().text();
  LogitsLedger ledger;
  LedgerExecutor executor((*model)->executor(), (*model)->limits(), ledger);
  std::vector<int> pages(static_cast<size_t>((*model)->limits().pages));
  std::iota(pages.begin(), pages.end(), 0);
  std::vector<int> ids, positions, rows;
  for (int sequence = 0; sequence < 4; ++sequence) {  // the same 200 ids in each
    ids.clear();
    for (int i = 0; i < 200; ++i) ids.push_back((7 + 31 * i) % 384);
    positions.resize(200);
    std::iota(positions.begin(), positions.end(), 0);
    rows.assign(200, sequence);
    ASSERT_TRUE(executor.Run({ids, positions, rows, pages, {}}).ok());
  }
  const std::vector<int> one = {5}, at = {200}, first = {0}, last = {0};
  ASSERT_TRUE(executor.Run({one, at, first, pages, last}).ok());
  EXPECT_EQ(ledger.differing(), 0);
  const std::vector<int> four = {5, 5, 5, 5}, at4 = {200, 200, 200, 200}, all = {0, 1, 2, 3};
  ASSERT_TRUE(executor.Run({four, at4, all, pages, all}).ok());
  EXPECT_GT(ledger.differing(), 0);
}

}  // namespace
}  // namespace unimax
