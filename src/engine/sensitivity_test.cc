// SPDX-License-Identifier: Apache-2.0
// What a key of config.json does to the logits must be what it does in the families' own implementation: a feature that
// is ignored would be noticed here (tests/data/models/sensitivity.json).
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "engine/model.h"

namespace unimax {
namespace {

using nlohmann::json;

constexpr const char* kData = UM_SOURCE_DIR "/tests/data/models/";

json ReadJson(const std::string& path) {
  std::ifstream in(path);
  return json::parse(in, nullptr, false);
}

// The logits behind `prompt`.
std::vector<float> LogitsOf(const std::string& folder, const std::vector<int>& prompt, const std::string& executor) {
  ModelOptions options;
  options.model = folder;
  options.device = "cpu";
  options.executor = executor;
  options.dtype = "f32";
  options.threads = 1;
  const auto model = Model::Load(options);
  EXPECT_TRUE(model.ok()) << model.status().text();
  if (!model.ok()) return {};
  std::vector<int> positions, rows, pages(static_cast<size_t>((*model)->limits().max_pages));
  for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<int>(i);
  for (int i = 0; i < static_cast<int>(prompt.size()); ++i) {
    positions.push_back(i);
    rows.push_back(RopeRow((*model)->program(), (*model)->limits(), i, static_cast<int>(prompt.size())));
  }
  const std::vector<int> sequences(prompt.size(), 0), outputs = {static_cast<int>(prompt.size()) - 1};
  const Status run = (*model)->executor().Run({prompt, positions, sequences, pages, outputs, rows});
  EXPECT_TRUE(run.ok()) << run.text();
  const auto logits = (*model)->executor().Logits(0);
  return logits.ok() ? std::vector<float>(logits->begin(), logits->end()) : std::vector<float>();
}

TEST(Sensitivity, EveryKeyChangesTheLogitsByWhatIsRecorded) {
  SetLogLevel(LogLevel::kWarning);
  const std::string folder = testing::TempDir() + fmt::format("unimax_sensitivity_{}", getpid());
  int checked = 0;
  for (const json& row : ReadJson(std::string(kData) + "sensitivity.json")) {
    const std::string own = kData + row["model"].get<std::string>();
    if (!std::filesystem::exists(own)) continue;  // a family that is not supported
    const std::string what = row["model"].get<std::string>() + " " + row["change"].dump();
    const std::vector<int> prompt = ReadJson(own + "/golden.json")["cases"][2]["prompt"];
    json config = ReadJson(own + "/config.json");
    config.update(row["change"]);
    std::filesystem::create_directories(folder);
    std::filesystem::copy_file(own + "/model.safetensors", folder + "/model.safetensors",
                               std::filesystem::copy_options::overwrite_existing);
    std::ofstream(folder + "/config.json") << config;
    for (const char* executor : {"reference", "auto"}) {
      const std::vector<float> before = LogitsOf(own, prompt, executor), after = LogitsOf(folder, prompt, executor);
      ASSERT_EQ(before.size(), after.size()) << what;
      double change = 0;
      for (size_t i = 0; i < before.size(); ++i)
        change = std::max(change, std::fabs(static_cast<double>(before[i]) - static_cast<double>(after[i])));
      const double wanted = row["max_abs_change"];
      EXPECT_NEAR(change, wanted, 0.01 * wanted + 2e-5) << what << " " << executor;
    }
    ++checked;
  }
  std::filesystem::remove_all(folder);
  EXPECT_GE(checked, 24);
  fmt::print("sensitivity: {} keys change the logits as recorded\n", checked);
}

}  // namespace
}  // namespace unimax
