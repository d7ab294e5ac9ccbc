// SPDX-License-Identifier: Apache-2.0
// The golden models on every executor: greedy ids exactly, logits and log-probabilities within the recorded tolerance
// (tests/data/models/README.md, tests/data/gguf/README.md).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "engine/test_alone.h"
#include "kernels/cpu/cpu_isa.h"

namespace unimax {
namespace {

using nlohmann::json;

struct Way {
  std::string name, device, executor, isa, dtype;
  int steps;         // of the 24: the emulator is slow
  double tolerance;  // of log-probabilities; ids must be exact below 1e-3
};

constexpr bool kSanitized = UM_SANITIZERS[0] != 0;  // then everything is slow

// Under sanitizers, which look for other faults than wrong numbers, the slow ways are for these alone: each brings
// parts that the others have not.
bool AllWays(std::string_view model) {
  constexpr std::string_view kModels[] = {"llama3_bf16", "opt", "gemma2", "phi3_longrope", "falcon", "F32", "Q4_1"};
  return !kSanitized || std::ranges::find(kModels, model) != std::end(kModels);
}

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

// The largest difference of a logit from the recorded one, over what a way ran.
struct Worst {
  double logit = 0;
};

// Feeds tokens of one sequence whose pages lie in reverse order, so that positions must go through the table.
class Feeder {
 public:
  Feeder(Model& model, int planned)
      : model_(model), planned_(planned), pages_(static_cast<size_t>(model.limits().max_pages)) {
    for (size_t i = 0; i < pages_.size(); ++i) pages_[i] = static_cast<int>(pages_.size() - 1 - i);
  }
  Status Run(std::span<const int> ids) {
    std::vector<int> positions, rows, outputs = {static_cast<int>(ids.size()) - 1};
    const std::vector<int> sequences(ids.size(), 0);
    for (size_t i = 0; i < ids.size(); ++i) {
      rows.push_back(RopeRow(model_.program(), model_.limits(), position_, planned_));
      positions.push_back(position_++);
    }
    return model_.executor().Run({ids, positions, sequences, pages_, outputs, rows});
  }

 private:
  Model& model_;
  int planned_, position_ = 0;
  std::vector<int> pages_;
};

void CheckLogits(Model& model, const Way& way, const json& golden, int step, const std::string& what, Worst* worst) {
  const auto got = model.executor().Ids();
  const auto logits = model.executor().Logits(0);
  ASSERT_TRUE(got.ok() && logits.ok()) << what;
  const int id = golden["greedy"][static_cast<size_t>(step)];
  EXPECT_NEAR(LogProb(*logits, id), golden["logprobs"][static_cast<size_t>(step)].get<double>(), way.tolerance)
      << what << " step " << step;
  if (way.tolerance >= 1e-3) return;
  ASSERT_EQ((*got)[0], id) << what << " step " << step;
  const auto recorded = golden["logits"].find(std::to_string(step));
  if (recorded == golden["logits"].end()) return;
  const std::vector<float> want = DecodeBase64(recorded->get<std::string>());
  ASSERT_EQ(want.size(), logits->size());
  double largest = 0;
  for (size_t i = 0; i < want.size(); ++i)
    largest = std::max(largest, std::fabs(static_cast<double>(want[i] - (*logits)[i])));
  EXPECT_LE(largest, 1e-4) << what << " step " << step;
  worst->logit = std::max(worst->logit, largest);
}

// Runs one case with the golden's own ids fed back, so that one wrong id does not hide what follows. The prompt goes in
// `chunk` tokens at a time (0: all at once); behind each chunk the probability of the next prompt id is known, too.
void RunCase(Model& model, const Way& way, const json& golden, int chunk, const std::string& what, Worst* worst) {
  const std::vector<int> prompt = golden["prompt"];
  Feeder feeder(model, static_cast<int>(prompt.size() + golden["greedy"].size()));
  const size_t each = chunk > 0 ? static_cast<size_t>(chunk) : prompt.size();
  for (size_t at = 0; at < prompt.size(); at += each) {
    const size_t count = std::min(each, prompt.size() - at);
    const Status run = feeder.Run(std::span(prompt).subspan(at, count));
    ASSERT_TRUE(run.ok()) << what << run.text();
    const size_t next = at + count;
    if (next == prompt.size() || !golden.contains("prompt_logprobs")) continue;
    const auto logits = model.executor().Logits(0);
    ASSERT_TRUE(logits.ok()) << what;
    EXPECT_NEAR(LogProb(*logits, prompt[next]), golden["prompt_logprobs"][next].get<double>(), way.tolerance)
        << what << " prompt position " << next;
  }
  for (int step = 0; step < way.steps; ++step) {
    if (step > 0) {
      const int id = golden["greedy"][static_cast<size_t>(step) - 1];
      const Status run = feeder.Run({&id, 1});
      ASSERT_TRUE(run.ok()) << what << run.text();
    }
    CheckLogits(model, way, golden, step, what, worst);
  }
}

void RunModel(const std::string& path, const json& cases, const Way& way, std::span<const int> chunks) {
  ModelOptions options;
  options.model = path;
  options.device = way.device;
  options.executor = way.executor;
  options.isa = way.isa;
  options.dtype = way.dtype;
  options.threads = 2;
  const auto model = Model::Load(options);
  ASSERT_TRUE(model.ok()) << path << " " << way.name << ": " << model.status().text();
  Worst worst;
  for (int chunk : chunks) {
    int number = 0;
    for (const json& c : cases)
      RunCase(**model, way, c, chunk, fmt::format("{} {} case {} chunk {}", path, way.name, number++, chunk), &worst);
  }
  fmt::print("D04 {} {}: largest error of a logit {:.1e}\n", path.substr(path.rfind('/') + 1), way.name, worst.logit);
}

const std::vector<int> kWhole = {0};
const std::vector<int> kChunks = {0, 1, 5};  // one token at a time gives every prompt probability

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
  for (const Way& way : ExactWays()) {
    if (way.device != "cpu" && !AllWays(GetParam())) continue;
    RunModel(folder, golden["cases"], way, way.steps < 24 || !AllWays(GetParam()) ? kWhole : kChunks);
  }
}
INSTANTIATE_TEST_SUITE_P(Models, GoldenFolder,
                         testing::Values("llama", "llama3", "llama3_bf16", "llama_linear", "llama_sharded",
                                         "llama_tied", "llama_yarn", "qwen2", "qwen3", "qwen3_f16", "mistral", "opt",
                                         "opt_350m_like", "gemma2", "gemma3_text", "phi3", "phi3_longrope", "gpt2",
                                         "gpt_neox", "falcon", "olmo2", "granite", "glm4"));

// A sequence that will outgrow the original context turns by the second set of frequencies from its first position on.
TEST(GoldenGenerate, ChoosesTheSetOfFrequenciesByThePlannedLength) {
  SetLogLevel(LogLevel::kWarning);
  const std::string folder = std::string(kData) + "models/phi3_longrope";
  const json golden = ReadJson(folder + "/golden.json");
  ModelOptions options;
  options.model = folder;
  options.device = "cpu";
  options.dtype = "f32";
  const auto model = Model::Load(options);
  ASSERT_TRUE(model.ok()) << model.status().text();
  for (const json& c : golden["cases"]) {
    const std::vector<int> prompt = c["prompt"], wanted = c["greedy"];
    EXPECT_EQ(GreedyAlone(**model, prompt, 24), wanted) << prompt.size();
  }
}

// The same models as GGUF files (tests/make_tiny_gguf.py).
class GoldenFamilyGguf : public Golden {};
TEST_P(GoldenFamilyGguf, MatchesOnTheHostsExecutors) {
  const json golden = ReadJson(std::string(kData) + "models/" + GetParam() + "/golden.json");
  ASSERT_TRUE(golden.is_object()) << GetParam();
  for (const Way& way : ExactWays()) {
    if (way.device != "cpu") continue;
    RunModel(fmt::format("{}gguf/tiny-{}.gguf", kData, GetParam()), golden["cases"], way, kWhole);
  }
}
INSTANTIATE_TEST_SUITE_P(Files, GoldenFamilyGguf,
                         testing::Values("qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "phi3_longrope", "gpt2",
                                         "gpt_neox", "falcon", "olmo2", "granite", "glm4"));

class GoldenGguf : public Golden {};
TEST_P(GoldenGguf, MatchesOnEveryExecutor) {
  const json golden = ReadJson(std::string(kData) + "gguf/golden.json");
  ASSERT_TRUE(golden.is_object());
  for (const json& file : golden["files"]) {
    if (file["type"] != GetParam()) continue;
    const std::string path = std::string(kData) + "gguf/" + file["file"].get<std::string>();
    for (const Way& way : ExactWays()) {
      if (way.device == "cpu" || AllWays(GetParam())) RunModel(path, file["cases"], way, kWhole);
    }
    // Integer weights as they run by default: 8-bit activations (docs/numerics.md says why 0.2).
    for (Isa isa : kIsas) {
      if (Supported(isa))
        RunModel(path, file["cases"], {IsaName(isa), "cpu", "auto", IsaName(isa), "auto", 24, 2e-1}, kWhole);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Files, GoldenGguf,
                         testing::Values("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"));

}  // namespace
}  // namespace unimax
