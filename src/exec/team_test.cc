// SPDX-License-Identifier: Apache-2.0
#include "exec/team.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <random>

#include "exec/reference.h"
#include "program/builder.h"

namespace unimax {
namespace {

constexpr int kLayers = 2, kHidden = 96, kHeads = 6, kKvHeads = 2, kHeadDim = 16, kMlp = 160, kVocab = 101;
constexpr int kPageTokens = 8, kPages = 40, kMaxPages = 20;

// Tensors made when first asked for, each of the type that `TypeFor` names.
class MemorySource : public WeightSource {
 public:
  explicit MemorySource(std::map<std::string, DType> types, DType other = DType::kF32)
      : types_(std::move(types)), other_(other) {}

  Result<SourceTensor> Find(const std::string& name, int rows, int cols) const override {
    const DType type = rows == 1 ? DType::kF32 : TypeFor(name);
    std::vector<std::byte>& data = data_[name];
    if (data.empty()) data = Make(type, rows, cols);
    return SourceTensor{type, data.data(), rows, cols};
  }
  void Done(const SourceTensor&) const override { ++done_; }
  int done() const { return done_; }

 private:
  DType TypeFor(const std::string& name) const {
    for (const auto& [part, type] : types_) {
      if (name.find(part) != std::string::npos) return type;
    }
    return other_;
  }
  std::vector<std::byte> Make(DType type, int rows, int cols) const {
    const auto count = static_cast<uint64_t>(rows) * static_cast<uint64_t>(cols);
    const auto block = static_cast<uint64_t>(Info(type).block_bytes);
    std::vector<std::byte> bytes(RowBytes(type, count));
    std::normal_distribution<float> normal(rows == 1 ? 1.0f : 0.0f, rows == 1 ? 0.2f : 0.12f);
    if (IsInteger(type)) {
      for (std::byte& b : bytes) b = static_cast<std::byte>(draw_());
      for (uint64_t at = 0; at < bytes.size(); at += block) {
        const float d = std::fabs(normal(draw_)) * (type == DType::kQ8_0 ? 0.015f : 0.2f);
        const uint16_t scale = FloatToF16(d), minimum = FloatToF16(d * -7.5f);
        std::memcpy(&bytes[at], &scale, 2);
        if (type == DType::kQ4_1 || type == DType::kQ5_1) std::memcpy(&bytes[at + 2], &minimum, 2);
      }
      return bytes;
    }
    for (uint64_t i = 0; i < count; ++i) {
      const float value = normal(draw_);
      const uint16_t half = type == DType::kF16 ? FloatToF16(value) : FloatToBF16(value);
      std::memcpy(&bytes[i * block], type == DType::kF32 ? static_cast<const void*>(&value) : &half, block);
    }
    return bytes;
  }

  std::map<std::string, DType> types_;
  DType other_;
  mutable std::map<std::string, std::vector<std::byte>> data_;
  mutable std::mt19937 draw_{7};
  mutable int done_ = 0;
};

class NoData : public WeightSource {
 public:
  explicit NoData(DType type) : type_(type) {}
  Result<SourceTensor> Find(const std::string&, int rows, int cols) const override {
    return SourceTensor{type_, nullptr, rows, cols};
  }
  void Done(const SourceTensor&) const override {}

 private:
  DType type_;
};

Program SmallLlama(bool interleaved_rope = false) {
  Builder p("small");
  p.program().attention = {kHeads, kKvHeads, kHeadDim, 0.25f};
  Rope& rope = p.program().ropes.emplace_back();
  for (int i = 0; i < kHeadDim / 2; ++i) rope.inv_freq.push_back(std::pow(100.0, -2.0 * i / kHeadDim));
  rope.interleaved = interleaved_rope;
  p.program().layers = kLayers;
  p.program().hidden = kHidden;
  p.program().vocab = kVocab;
  p.program().context = 512;
  const int table = p.Matrix("embedding", kHidden, {{"embedding", kVocab}});
  const int x = p.Embed(table);
  for (int l = 0; l < kLayers; ++l) {
    const std::string name = fmt::format("{}.", l);
    const int q = kHeads * kHeadDim, kv = kKvHeads * kHeadDim;
    const int qkv = p.Matrix(name + "qkv", kHidden, {{name + "q", q}, {name + "k", kv}, {name + "v", kv}});
    const int bias =
        p.StackedVector(name + "qkv_bias", {{name + "qb", q}, {name + "kb", kv}, {name + "vb", kv}}, q + 2 * kv);
    const int gate_up = p.Matrix(name + "gate_up", kHidden, {{name + "gate", kMlp}, {name + "up", kMlp}});
    int h = p.Norm(x, p.Vector(name + "norm1", name + "norm1", kHidden), 1e-5f);
    const std::vector<int> split = p.LinearSplit(h, qkv, bias);
    p.RopeAndStore(split[0], split[1], split[2], l);
    p.AddTo(x, p.Linear(p.Attention(split[0], l), p.Matrix(name + "out", q, {{name + "out", kHidden}})));
    h = p.Norm(x, p.Vector(name + "norm2", name + "norm2", kHidden), 1e-5f);
    const std::vector<int> mlp = p.LinearSplit(h, gate_up);
    p.AddTo(x, p.Linear(p.ActMul(Activation::kSilu, mlp[0], mlp[1]),
                        p.Matrix(name + "down", kMlp, {{name + "down", kHidden}})));
  }
  const int last = p.Norm(p.Select(x), p.Vector("norm", "norm", kHidden), 1e-5f);
  p.Sample(p.Logits(last, table));
  return p.Take();
}

ExecutorOptions Options() {
  return {.max_tokens = 64,
          .max_outputs = 4,
          .max_sequences = 2,
          .page_tokens = kPageTokens,
          .pages = kPages,
          .max_pages = kMaxPages};
}

// Two sequences whose pages alternate in the pool.
std::vector<int> PageTable() {
  std::vector<int> table(2 * kMaxPages);
  for (int i = 0; i < kMaxPages; ++i) {
    table[static_cast<size_t>(i)] = (i * 7 % kMaxPages) * 2;
    table[static_cast<size_t>(kMaxPages + i)] = (i * 3 % kMaxPages) * 2 + 1;
  }
  return table;
}

struct OwnedStep {
  std::vector<int> ids, positions, sequences, outputs;
  // `count` tokens of `sequence` from `position` on; the last one's logits are wanted.
  void Add(int sequence, int position, int count) {
    for (int i = 0; i < count; ++i) {
      ids.push_back((position + i) * 31 % 97 + sequence);
      positions.push_back(position + i);
      sequences.push_back(sequence);
    }
    outputs.push_back(static_cast<int>(ids.size()) - 1);
  }
};

// Prefill, a step of both sequences, decode of one, decode of both, and decode at a length where tokens are split.
std::vector<OwnedStep> Steps() {
  std::vector<OwnedStep> steps(6);
  steps[0].Add(0, 0, 19);
  steps[1].Add(0, 19, 2);
  steps[1].Add(1, 0, 33);
  steps[2].Add(1, 33, 1);
  steps[3].Add(0, 21, 1);
  steps[3].Add(1, 34, 1);
  steps[4].Add(1, 35, 64);
  steps[5].Add(1, 99, 40);
  for (int p = 139; p < 143; ++p) steps.emplace_back().Add(1, p, 1);
  return steps;
}

double Error(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  EXPECT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  EXPECT_GT(norm, 0.0);
  return std::sqrt(difference / norm);
}

// Runs all steps on both executors; the largest error of the last op's output, and of the logits where there are any.
double LargestError(const Program& program, const WeightSource& source, const TeamOptions& options) {
  auto team = MakeTeamExecutor(program, source, Options(), options);
  auto reference = MakeReferenceExecutor(program, source, Options());
  EXPECT_TRUE(team.ok() && reference.ok()) << team.status().text() << reference.status().text();
  const std::vector<int> table = PageTable();
  double error = 0;
  const int last = program.ops.back().out;
  for (const OwnedStep& s : Steps()) {
    const Step step = {s.ids, s.positions, s.sequences, table, s.outputs};
    EXPECT_TRUE((*team)->Run(step).ok());
    EXPECT_TRUE((*reference)->Run(step).ok());
    if (program.logits < 0) {
      error = std::max(error, Error(*(*team)->Read(last), *(*reference)->Read(last)));
      continue;
    }
    for (int row = 0; row < static_cast<int>(s.outputs.size()); ++row) {
      const auto a = *(*team)->Logits(row), b = *(*reference)->Logits(row);
      error = std::max(error, Error({a.begin(), a.end()}, {b.begin(), b.end()}));
      const int id = (*(*team)->Ids())[static_cast<size_t>(row)];
      EXPECT_EQ(a[static_cast<size_t>(id)], *std::max_element(a.begin(), a.end()));
    }
  }
  return error;
}

const std::map<std::string, DType> kMixed = {
    {"embedding", DType::kQ8_0}, {".k", DType::kQ8_0},     {".v", DType::kF16},    {"gate", DType::kQ5_0},
    {".up", DType::kQ5_1},       {"1.down", DType::kQ4_0}, {"1.out", DType::kBF16}};

class TeamExecutorTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!Supported(GetParam())) GTEST_SKIP() << IsaName(GetParam()) << " is not on this machine";
  }
  TeamOptions With(int threads, bool plain = false) const {
    return {.threads = threads, .isa = GetParam(), .plain = plain};
  }
};

TEST_P(TeamExecutorTest, FloatCheckpointsAreExact) {
  const MemorySource source({});
  for (int threads : {1, 3}) EXPECT_LE(LargestError(SmallLlama(), source, With(threads)), 5e-6) << threads;
  EXPECT_LE(LargestError(SmallLlama(true), source, With(2)), 5e-6);
}

TEST_P(TeamExecutorTest, IntegerWeightsAreExactInPlainMode) {
  EXPECT_LE(LargestError(SmallLlama(), MemorySource(kMixed, DType::kQ4_1), With(2, true)), 5e-6);
}

TEST_P(TeamExecutorTest, IntegerWeightsLoseLittleToEightBitActivations) {
  for (int threads : {1, 2, 3}) {
    const MemorySource source(kMixed, DType::kQ4_1);
    const double error = LargestError(SmallLlama(), source, With(threads));
    fmt::print("{} {} threads: error {:.4f}\n", IsaName(GetParam()), threads, error);
    EXPECT_LE(error, 0.05);
    EXPECT_GT(error, 1e-5) << "nothing was rounded: is this the packed path?";
    EXPECT_GT(source.done(), 0);
  }
}

TEST_P(TeamExecutorTest, EveryPrefixOfTheProgramRuns) {
  const Program program = SmallLlama();
  const MemorySource plain({}), packed(kMixed, DType::kQ4_1);
  for (int count = 1; count < static_cast<int>(program.ops.size()); ++count) {
    if (program.ops[static_cast<size_t>(count) - 1].kind == OpKind::kSample) continue;
    EXPECT_LE(LargestError(Prefix(program, count), plain, With(2)), 5e-6) << count;
    EXPECT_LE(LargestError(Prefix(program, count), packed, With(2)), 0.08) << count;
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, TeamExecutorTest, testing::ValuesIn(kIsas),
                         [](const auto& isa) { return std::string(IsaName(isa.param)); });

TEST(TeamExecutor, MakesUpWeightsForBenches) {
  for (DType type : {DType::kF32, DType::kBF16, DType::kF16, DType::kQ4_0, DType::kQ4_1, DType::kQ8_0, DType::kQ5_1}) {
    auto team = MakeTeamExecutor(SmallLlama(), NoData(type), Options(), {.threads = 2});
    ASSERT_TRUE(team.ok()) << team.status().text();
    OwnedStep s;
    s.Add(0, 0, 9);
    const std::vector<int> table = PageTable();
    ASSERT_TRUE((*team)->Run({s.ids, s.positions, s.sequences, table, s.outputs}).ok());
    EXPECT_GE((*(*team)->Ids())[0], 0) << "a logit is not finite";
    const auto logits = *(*team)->Logits(0);
    float largest = 0;
    for (float v : logits) largest = std::max(largest, std::fabs(v));
    EXPECT_GT(largest, 0.1f);
    EXPECT_LT(largest, 100.0f);
    EXPECT_GT((*team)->memory().weights, 0u);
  }
}

TEST(TeamExecutor, RefusesStepsThatWouldReadBeyond) {
  const MemorySource source({});
  auto team = MakeTeamExecutor(SmallLlama(), source, Options(), {.threads = 1});
  ASSERT_TRUE(team.ok());
  std::vector<int> table = PageTable();
  const auto run = [&](int id, int position, int sequence, int output) {
    const std::vector<int> ids = {id}, positions = {position}, sequences = {sequence}, outputs = {output};
    return (*team)->Run({ids, positions, sequences, table, outputs}).ok();
  };
  EXPECT_TRUE(run(5, 0, 0, 0));
  EXPECT_FALSE(run(kVocab, 0, 0, 0));
  EXPECT_FALSE(run(-2, 0, 0, 0));  // the step before has one output: -1 would be its id
  EXPECT_FALSE(run(5, kMaxPages * kPageTokens, 0, 0));
  EXPECT_FALSE(run(5, 0, 2, 0));
  EXPECT_FALSE(run(5, 0, 0, 1));
  table[0] = kPages;
  EXPECT_FALSE(run(5, 0, 0, 0));
}

}  // namespace
}  // namespace unimax
