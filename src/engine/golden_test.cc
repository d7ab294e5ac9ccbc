// SPDX-License-Identifier: Apache-2.0
// The golden models on every executor: greedy ids exactly, logits and log-probabilities within the recorded tolerance
// (tests/data/models/README.md, tests/data/gguf/README.md).
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "engine/generate.h"
#include "kernels/cpu/cpu_isa.h"

namespace unimax {
namespace {

using nlohmann::json;

struct Way {
  std::string name, device, executor, isa, dtype;
  int steps;         // of the 24: the emulator is slow
  double tolerance;  // of log-probabilities; ids must be exact below 1e-3
};

std::vector<Way> ExactWays() {
  std::vector<Way> ways = {{"reference", "cpu", "reference", "auto", "f32", 24, 1e-4},
                           {"emulator32", "emulator", "auto", "auto", "f32", 6, 1e-4},
                           {"emulator64", "emulator64", "auto", "auto", "f32", 6, 1e-4}};
  for (Isa isa : kIsas) {
    if (Supported(isa)) ways.push_back({IsaName(isa), "cpu", "auto", IsaName(isa), "f32", 24, 1e-4});
  }
  return ways;
}

std::vector<float> DecodeBase64(const std::string& text) {
  std::vector<unsigned char> bytes;
  uint32_t bits = 0;
  int count = 0;
  for (char c : text) {
    const int value = c >= 'A' && c <= 'Z'   ? c - 'A'
                      : c >= 'a' && c <= 'z' ? c - 'a' + 26
                      : c >= '0' && c <= '9' ? c - '0' + 52
                      : c == '+'             ? 62
                      : c == '/'             ? 63
                                             : -1;
    if (value < 0) continue;
    bits = bits << 6 | static_cast<uint32_t>(value);
    if ((count += 6) >= 8) bytes.push_back(static_cast<unsigned char>(bits >> (count -= 8)));
  }
  std::vector<float> floats(bytes.size() / 4);
  std::memcpy(floats.data(), bytes.data(), floats.size() * 4);
  return floats;
}

double LogProb(std::span<const float> logits, int id) {
  double top = logits[0], sum = 0;
  for (float l : logits) top = std::max(top, static_cast<double>(l));
  for (float l : logits) sum += std::exp(l - top);
  return logits[static_cast<size_t>(id)] - top - std::log(sum);
}

// Runs one case with the golden's own ids fed back, so that one wrong id does not hide what follows.
void RunCase(Model& model, const Way& way, const json& golden, const std::string& what) {
  std::vector<int> ids = golden["prompt"];
  std::vector<int> pages(static_cast<size_t>(model.limits().max_pages));
  // Pages in reverse order: positions must go through the table.
  for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<int>(pages.size() - 1 - i);
  int position = 0;
  for (int step = 0; step < way.steps; ++step) {
    std::vector<int> positions, sequences(ids.size(), 0), outputs = {static_cast<int>(ids.size()) - 1};
    for (size_t i = 0; i < ids.size(); ++i) positions.push_back(position++);
    const Status run = model.executor().Run({ids, positions, sequences, pages, outputs});
    ASSERT_TRUE(run.ok()) << what << run.text();
    const auto got = model.executor().Ids();
    const auto logits = model.executor().Logits(0);
    ASSERT_TRUE(got.ok() && logits.ok()) << what;
    const int id = golden["greedy"][static_cast<size_t>(step)];
    EXPECT_NEAR(LogProb(*logits, id), golden["logprobs"][static_cast<size_t>(step)].get<double>(), way.tolerance)
        << what << " step " << step;
    if (way.tolerance < 1e-3) {
      ASSERT_EQ((*got)[0], id) << what << " step " << step;
      const auto recorded = golden["logits"].find(std::to_string(step));
      if (recorded != golden["logits"].end()) {
        const std::vector<float> want = DecodeBase64(recorded->get<std::string>());
        ASSERT_EQ(want.size(), logits->size());
        double worst = 0;
        for (size_t i = 0; i < want.size(); ++i)
          worst = std::max(worst, std::fabs(static_cast<double>(want[i] - (*logits)[i])));
        EXPECT_LE(worst, 1e-4) << what << " step " << step;
      }
    }
    ids = {id};
  }
}

void RunModel(const std::string& path, const json& cases, const Way& way) {
  ModelOptions options;
  options.model = path;
  options.device = way.device;
  options.executor = way.executor;
  options.isa = way.isa;
  options.dtype = way.dtype;
  options.threads = 2;
  const auto model = Model::Load(options);
  ASSERT_TRUE(model.ok()) << path << " " << way.name << ": " << model.status().text();
  int number = 0;
  for (const json& c : cases) RunCase(**model, way, c, path + " " + way.name + " case " + std::to_string(number++));
}

json ReadJson(const std::string& path) {
  std::ifstream in(path);
  return json::parse(in, nullptr, false);
}

constexpr const char* kData = UM_SOURCE_DIR "/tests/data/";

class Golden : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { SetLogLevel(LogLevel::kWarning); }
};

class GoldenFolder : public Golden {};
TEST_P(GoldenFolder, MatchesOnEveryExecutor) {
  const std::string folder = std::string(kData) + "models/" + GetParam();
  const json golden = ReadJson(folder + "/golden.json");
  ASSERT_TRUE(golden.is_object()) << folder;
  for (const Way& way : ExactWays()) RunModel(folder, golden["cases"], way);
}
INSTANTIATE_TEST_SUITE_P(Models, GoldenFolder,
                         testing::Values("llama", "llama3", "llama3_bf16", "llama_linear", "llama_sharded",
                                         "llama_tied", "llama_yarn"));

class GoldenGguf : public Golden {};
TEST_P(GoldenGguf, MatchesOnEveryExecutor) {
  const json golden = ReadJson(std::string(kData) + "gguf/golden.json");
  ASSERT_TRUE(golden.is_object());
  for (const json& file : golden["files"]) {
    if (file["type"] != GetParam()) continue;
    const std::string path = std::string(kData) + "gguf/" + file["file"].get<std::string>();
    for (const Way& way : ExactWays()) RunModel(path, file["cases"], way);
    // Integer weights as they run by default: 8-bit activations (docs/numerics.md says why 0.2).
    for (Isa isa : kIsas) {
      if (Supported(isa)) RunModel(path, file["cases"], {IsaName(isa), "cpu", "auto", IsaName(isa), "auto", 24, 2e-1});
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Files, GoldenGguf,
                         testing::Values("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"));

}  // namespace
}  // namespace unimax
