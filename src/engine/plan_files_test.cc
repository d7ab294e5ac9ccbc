// SPDX-License-Identifier: Apache-2.0
// Which plan table a device gets: the one that was given, the one that is kept for it, or one that is built in.
#include "exec/plan_files.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "engine/model.h"
#include "exec/graph.h"
#include "exec/stream.h"

namespace unimax {
namespace {

namespace fs = std::filesystem;

Limits Card() {
  Limits limits;
  limits.name = "NVIDIA H200 (slice 2/7)";
  limits.target = "sm_90a";
  limits.multiprocessors = 132;
  limits.shared_bytes_per_block = 227 * 1024;
  return limits;
}

const Case kCase{.op = OpKind::kLinear, .act = DType::kBF16, .m = 4, .n = 4096, .k = 4096};

std::string Text(const Limits& limits, const char* kernel, const char* version = nullptr) {
  PlanFile file{PlanHeaderOf(limits), {{kCase, kernel, "", 1.5, 0}}};
  if (version != nullptr) file.header.version = version;
  return PrintPlan(file);
}

class PlanFiles : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / "plan_files_test";
    fs::remove_all(folder_);
    ASSERT_EQ(setenv("XDG_CACHE_HOME", folder_.c_str(), 1), 0);
  }
  void TearDown() override { fs::remove_all(folder_); }
  static void Write(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  // The kernel of kCase, "none" without a row, "no table" without a table; what was logged goes to `log`.
  std::string Found(const std::string& given, std::span<const std::string_view> built_in = {}) {
    testing::internal::CaptureStderr();
    const auto table = FindPlan(given, Card(), built_in);
    log_ = testing::internal::GetCapturedStderr();
    if (!table.ok()) return std::string(table.status().text());
    if (!*table) return "no table";
    const Row* row = (*table)->Find(kCase);
    return row == nullptr ? "none" : row->kernel;
  }
  bool OneLineSays(const std::string& word) const {
    return log_.find(word) != std::string::npos && std::ranges::count(log_, '\n') == 1;
  }
  fs::path folder_;
  std::string log_;
};

TEST_F(PlanFiles, TheGivenTheKeptTheBuiltIn) {
  const std::string kept = PlanPath(Card());
  EXPECT_EQ(kept, (folder_ / "unimax/plans/nvidia-h200-slice-2-7-.sm_90a.plan").string());
  const std::string given = (folder_ / "given.plan").string();
  const std::string own = Text(Card(), "linear_flat_bf16_4", "0.0.1");  // of an older version
  const std::string_view built_in[] = {own};
  EXPECT_EQ(Found(""), "no table");
  EXPECT_EQ(log_, "");
  EXPECT_EQ(Found("", built_in), "linear_flat_bf16_4");
  Write(kept, Text(Card(), "linear_flat_bf16_2"));
  EXPECT_EQ(Found("", built_in), "linear_flat_bf16_2");
  EXPECT_TRUE(OneLineSays(kept)) << log_;
  Write(given, Text(Card(), "linear_flat_bf16_1"));
  EXPECT_EQ(Found(given, built_in), "linear_flat_bf16_1");
  EXPECT_EQ(Found("none", built_in), "no table");
  EXPECT_EQ(log_, "");
}

TEST_F(PlanFiles, WhatIsDamagedForeignOrOutdatedIsLeftOut) {
  const std::string kept = PlanPath(Card()), good = Text(Card(), "linear_flat_bf16_2");
  Limits other = Card();
  other.multiprocessors = 114;
  const std::string own = Text(Card(), "linear_flat_bf16_4");
  const std::string_view built_in[] = {"unimax plan 1\ngarbage", own};
  std::string flipped = good;
  flipped[good.find("m=4")] ^= 1;
  const std::pair<std::string, const char*> bad[] = {{"", "cut off"},
                                                     {good.substr(0, good.size() / 2), "cut off"},
                                                     {flipped, "line 7"},
                                                     {Text(Card(), "linear_flat_bf16_2", "0.0.1"), "version"},
                                                     {Text(other, "linear_flat_bf16_2"), "multiprocessors=114"},
                                                     {std::string(kPlanBytes + 9, 'x'), "more than a plan"}};
  for (const auto& [text, why] : bad) {
    Write(kept, text);
    EXPECT_EQ(Found(""), "no table") << why;
    EXPECT_TRUE(OneLineSays(why)) << log_;
    EXPECT_TRUE(OneLineSays(kept)) << log_;
    EXPECT_EQ(Found(kept), "no table") << why;  // the same where it was named
    EXPECT_TRUE(OneLineSays(why)) << log_;
    EXPECT_EQ(Found("", built_in), "linear_flat_bf16_4") << why;
  }
}

TEST_F(PlanFiles, AFileThatWasGivenMustBeThere) {
  EXPECT_NE(Found((folder_ / "nowhere.plan").string()).find("nowhere.plan: cannot open the plan"), std::string::npos);
  fs::create_directories(folder_);
  EXPECT_NE(Found(folder_.string()).find("cannot read the plan"), std::string::npos);
  fs::create_directories(PlanPath(Card()));  // a folder in the place of the kept one
  EXPECT_EQ(Found(""), "no table");
  EXPECT_TRUE(OneLineSays("cannot read the plan")) << log_;
}

TEST_F(PlanFiles, BuiltInTablesAreWhole) {
  for (const std::string_view text : BuiltInPlans()) {
    const auto file = ParsePlan(text);
    ASSERT_TRUE(file.ok()) << file.status().text();
    EXPECT_EQ(PlanTable(*file).size(), file->entries.size()) << file->header.device << ": rows that are not there";
  }
}

// The plan of a model follows the table that is kept for its device, and its results stay right.
TEST_F(PlanFiles, AModelFollowsIt) {
  ModelOptions options;
  options.model = std::string(UM_SOURCE_DIR) + "/tests/data/models/llama3_bf16";
  options.device = "emulator";
  options.executor = "graph";
  const auto plan_text = [&]() -> std::string {
    testing::internal::CaptureStderr();
    const auto model = Model::Load(options);
    testing::internal::GetCapturedStderr();
    return model.ok() ? (*model)->executor().PlanText(2, 2, 40) : std::string(model.status().text());
  };
  const std::string before = plan_text();
  EXPECT_NE(before.find("linear_flat_bf16_1"), std::string::npos) << before;
  EXPECT_EQ(before.find("measured"), std::string::npos) << before;
  const auto model = Model::Load(options);
  ASSERT_TRUE(model.ok()) << model.status().text();
  const Program& program = (*model)->program();
  PlanFile file{PlanHeaderOf((*model)->device()->limits()), {}};
  for (const Weight& w : program.weights) {
    Case c{.op = OpKind::kLinear, .act = DType::kBF16, .m = 2, .n = w.rows, .k = w.cols};
    for (c.flags = 0; c.flags < 4; ++c.flags) file.entries.push_back({c, "linear_flat_bf16_8", "", 1, 0});
  }
  Write(PlanPath((*model)->device()->limits()), PrintPlan(file));
  const std::string after = plan_text();
  EXPECT_NE(after.find("linear_flat_bf16_8"), std::string::npos) << after;
  EXPECT_NE(after.find("; measured"), std::string::npos) << after;
  options.deterministic = true;
  EXPECT_EQ(plan_text().find("measured"), std::string::npos);
  options.deterministic = false;
  options.plan = "none";
  EXPECT_EQ(plan_text(), before);
}

// Up to how many rows a decode step goes in one launch.
TEST_F(PlanFiles, AModelStreamsAsWasMeasured) {
  const std::string config = (folder_ / "config.json").string();
  Write(config, R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 128,
      "intermediate_size": 192, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
      "head_dim": 64, "vocab_size": 64, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
      "hidden_act": "silu", "tie_word_embeddings": false})");
  ModelOptions options;
  options.config = config;
  options.device = "emulator";
  options.sequences = 8;
  testing::internal::CaptureStderr();
  const auto model = Model::Load(options);
  ASSERT_TRUE(model.ok()) << model.status().text();
  const Limits limits = (*model)->device()->limits();
  const std::string key = ProgramKey(FuseForGraph((*model)->program(), DType::kBF16));
  const auto streams = [&](int rows) {
    const auto loaded = Model::Load(options);
    return loaded.ok() &&
           (*loaded)->executor().PlanText(rows, rows, 40).starts_with("in one launch (stream; measured)");
  };
  const auto measured = [&](int up_to) {
    PlanFile file{PlanHeaderOf(limits), {}};
    for (const int rows : {1, 2, 4, 8}) {
      file.steps.push_back({key, DType::kBF16, rows, rows <= up_to ? 1.0 : 3.0, 2.0});
    }
    Write(PlanPath(limits), PrintPlan(file));
  };
  EXPECT_FALSE(streams(1));
  measured(8);
  EXPECT_TRUE(streams(1));
  EXPECT_TRUE(streams(3));
  EXPECT_TRUE(streams(8));
  measured(2);
  EXPECT_TRUE(streams(2));
  EXPECT_FALSE(streams(3));
  measured(0);
  EXPECT_FALSE(streams(1));
  options.executor = "graph";
  measured(8);
  EXPECT_FALSE(streams(1));
  testing::internal::GetCapturedStderr();
}

}  // namespace
}  // namespace unimax
