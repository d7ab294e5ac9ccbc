// SPDX-License-Identifier: Apache-2.0
// The stream kernel on the emulator: decode steps in one launch against the same steps op by op, and the plan's proof
// that no buffer of words is written while somebody may still read it.
#include "exec/stream.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "device/cuda.h"
#include "device/emulator.h"
#include "exec/graph.h"
#include "kernels/reference.h"
#include "program/builder.h"

namespace unimax {
namespace {

// Random weights that the device fills itself (exec/graph_weights.cc), but for positions: those move the residual
// stream far from a mean of zero, and parts of it far from each other.
class Weights : public WeightSource {
 public:
  Result<SourceTensor> Find(const std::string& name, int rows, int cols) const override {
    if (name != "positions") return SourceTensor{DType::kBF16, nullptr, rows, cols};
    places_.resize(static_cast<size_t>(rows) * static_cast<size_t>(cols));
    for (size_t i = 0; i < places_.size(); ++i) places_[i] = i / 32 % 2 == 0 ? 5.0f : -3.0f;
    return SourceTensor{DType::kF32, reinterpret_cast<const std::byte*>(places_.data()), rows, cols};
  }
  void Done(const SourceTensor&) const override {}

 private:
  mutable std::vector<float> places_;
};

struct Shape {
  const char* name;
  int hidden, heads, kv_heads, head_dim, mlp, vocab;
  bool bias = false;
  int window = 0;
  float cap = 0;
  bool layer_norm = false;  // OPT: mean and variance, learned positions, no gate
  bool parallel = false;    // GPT-NeoX: two norms of the same values, before attention and before the MLP
};

Program Decoder(const Shape& s, int layers) {
  Builder p("test");
  p.program().attention = {s.heads, s.kv_heads, s.head_dim, 1.0f / std::sqrt(static_cast<float>(s.head_dim))};
  p.program().layers = layers;
  p.program().hidden = s.hidden;
  p.program().vocab = s.vocab;
  Rope rope;
  for (int i = 0; i < s.head_dim / 2; ++i) rope.inv_freq.push_back(std::pow(10000.0, -2.0 * i / s.head_dim));
  p.program().ropes = {rope};
  const int table = p.Matrix("embedding", s.hidden, {{"embedding", s.vocab}});
  const int x = p.Embed(table, 1.5f);
  if (s.layer_norm) p.AddPosition(x, p.Matrix("positions", s.hidden, {{"positions", 400}}), 2);
  const auto norm = [&](int of, const std::string& name) {
    const int weight = p.Vector(name, name, s.hidden);
    if (!s.layer_norm) return p.Norm(of, weight, 1e-5f);
    return p.Norm(of, weight, 1e-5f, {.bias = p.Vector(name + "b", name + "b", s.hidden), .kind = NormKind::kLayer});
  };
  const int q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  for (int l = 0; l < layers; ++l) {
    const std::string name = fmt::format("{}.", l);
    const int qkv = p.Matrix(name + "qkv", s.hidden, {{name + "q", q}, {name + "k", kv}, {name + "v", kv}});
    const int bias =
        s.bias ? p.StackedVector(name + "b", {{name + "qb", q}, {name + "kb", kv}, {name + "vb", kv}}, q + 2 * kv) : -1;
    const int gate_up = p.Matrix(name + "gate_up", s.hidden, {{name + "gate", s.mlp}, {name + "up", s.mlp}});
    int h = norm(x, name + "norm1");
    const int beside = s.parallel ? norm(x, name + "norm2") : -1;
    const std::vector<int> split = p.LinearSplit(h, qkv, bias);
    p.RopeAndStore(split[0], split[1], split[2], l);
    const int mixed = p.Attention(split[0], l, s.window, s.cap);
    p.AddTo(x, p.Linear(mixed, p.Matrix(name + "out", q, {{name + "out", s.hidden}})));
    h = s.parallel ? beside : norm(x, name + "norm2");
    if (s.layer_norm) {
      const int up = p.Linear(h, p.Matrix(name + "up", s.hidden, {{name + "up", s.mlp}}));
      p.AddTo(x, p.Linear(p.Act(Activation::kRelu, up), p.Matrix(name + "down", s.mlp, {{name + "down", s.hidden}})));
      continue;
    }
    const std::vector<int> mlp = p.LinearSplit(h, gate_up);
    p.AddTo(x, p.Linear(p.ActMul(Activation::kSilu, mlp[0], mlp[1]),
                        p.Matrix(name + "down", s.mlp, {{name + "down", s.hidden}})));
  }
  p.Sample(p.Logits(norm(p.Select(x), "norm"), table));
  return p.Take();
}

constexpr int kMaxPages = 12, kSequences = 5;

ExecutorOptions Options() {
  return {.max_tokens = 400,
          .max_outputs = kSequences,
          .max_sequences = kSequences,
          .page_tokens = 32,
          .pages = kMaxPages * kSequences,
          .max_pages = kMaxPages};
}
std::vector<int> PageTable() {
  std::vector<int> table(kMaxPages * kSequences);
  for (int i = 0; i < kMaxPages * kSequences; ++i) table[static_cast<size_t>(i)] = i * 7 % (kMaxPages * kSequences);
  return table;
}

// One executor that has read a prompt for each of its sequences.
struct Runner {
  std::unique_ptr<Device> device;
  std::unique_ptr<Executor> executor;
  std::vector<int> table = PageTable(), lengths;

  Runner(const Program& program, std::unique_ptr<Device> on, GraphOptions::Stream stream, bool note_times = false)
      : device(std::move(on)) {
    auto made = MakeGraphExecutor(program, Weights(), *device, Options(),
                                  {.act = DType::kBF16, .stream = stream, .note_times = note_times});
    EXPECT_TRUE(made.ok()) << made.status().text();
    if (!made.ok()) return;
    executor = std::move(made).value();
    const std::vector<std::byte> nan(executor->page_bytes(), std::byte{0xff});  // what nobody wrote must not count
    for (int page = 0; page < kMaxPages * kSequences; ++page) {
      const Status written = executor->WritePage(page, nan);
      EXPECT_TRUE(written.ok()) << written.text();
    }
  }
  void Prefill(const std::vector<int>& prompts) {
    lengths = prompts;
    for (int s = 0; s < static_cast<int>(prompts.size()); ++s) {
      std::vector<int> ids, positions;
      for (int i = 0; i < prompts[static_cast<size_t>(s)]; ++i) {
        ids.push_back((i * 31 + s * 7 + 3) % 97);
        positions.push_back(i);
      }
      if (ids.empty()) continue;
      const std::vector<int> sequences(ids.size(), s);
      const Status run = executor->Run({ids, positions, sequences, table, {}});
      EXPECT_TRUE(run.ok()) << run.text();
    }
    // Two executors that run at once on a GPU may keep each other's blocks out, for which the stream waits.
    const Status done = device->Synchronize();
    EXPECT_TRUE(done.ok()) << done.text();
  }
  // Decodes one token of each of `who`; the logits of all rows, one after the other.
  std::vector<float> Decode(const std::vector<int>& who, int step) {
    std::vector<int> ids, positions, outputs;
    for (int s : who) {
      ids.push_back((step * 13 + s * 5 + 1) % 97);
      positions.push_back(lengths[static_cast<size_t>(s)]++);
      outputs.push_back(static_cast<int>(outputs.size()));
    }
    const Status run = executor->Run({ids, positions, who, table, outputs});
    EXPECT_TRUE(run.ok()) << run.text();
    if (!run.ok()) return {};
    const auto chosen = executor->Ids();
    EXPECT_TRUE(chosen.ok()) << chosen.status().text();
    std::vector<float> all;
    for (int o : outputs) {
      const auto logits = executor->Logits(o);
      const auto largest = std::max_element(logits->begin(), logits->end()) - logits->begin();
      EXPECT_EQ(chosen.ok() ? (*chosen)[static_cast<size_t>(o)] : -2, largest);
      all.insert(all.end(), logits->begin(), logits->end());
    }
    return all;
  }
};

double Error(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  EXPECT_EQ(a.size(), b.size());
  EXPECT_GT(norm, 0.0);
  return std::sqrt(difference / norm);
}

constexpr Shape kShapes[] = {{"grouped", 256, 8, 2, 64, 352, 203},
                             {"alone, biased", 256, 2, 2, 128, 320, 101, true},
                             {"windowed", 128, 4, 1, 128, 96, 97, false, 70},
                             {"layer norm", 1120, 4, 4, 64, 320, 131, true, 0, 0, true},
                             {"two layer norms", 256, 4, 4, 64, 320, 131, true, 0, 0, true, true}};
// Sequences of all kinds: none cached, one page exactly, a page begun, several, many.
const std::vector<int> kPrompts = {0, 32, 45, 131, 300};

TEST(Stream, EqualsTheGraph) {
  for (const Shape& shape : kShapes) {
    const Program program = Decoder(shape, 2);
    Runner graph(program, OpenEmulator({}).value(), GraphOptions::kNever);
    Runner stream(program, OpenEmulator({}).value(), GraphOptions::kAlways);
    ASSERT_FALSE(HasFailure());
    graph.Prefill(kPrompts);
    stream.Prefill(kPrompts);
    int step = 0;
    for (const std::vector<int>& who : {std::vector<int>{3}, {0, 1, 2, 3, 4}, {4, 0}, {2, 1, 4}, {3}}) {
      const double error = Error(stream.Decode(who, step), graph.Decode(who, step));
      fmt::print("{}: step {} differs by {:.1e}\n", shape.name, step, error);
      EXPECT_LT(error, 2e-2) << shape.name << ", step " << step;
      ++step;
    }
  }
}

// No buffer is written again before everybody who read or wrote what it held is done, in a deep model.
TEST(StreamPlan, ProvesEveryReuse) {
  constexpr Shape k7B = {"7B", 4096, 32, 32, 128, 11008, 32000};
  const Program program = Fuse(Decoder(k7B, 32), {.residual = true, .act_mul = true, .act = true});
  const auto plan = PlanStream(program, {.blocks = 132, .rows = 8, .splits = 4});
  ASSERT_TRUE(plan.ok()) << plan.status().text();
  EXPECT_EQ(plan->stages.size(), 32u * 6 + 3);
  EXPECT_LE(plan->buffers.size(), 12u);
  int reuses = 0;
  for (int b = 0; b < static_cast<int>(plan->buffers.size()); ++b) {
    std::vector<int> users;
    for (int i = 0; i < static_cast<int>(plan->stages.size()); ++i) {
      const PlannedStage& s = plan->stages[static_cast<size_t>(i)];
      const bool merge = s.stage.kind == StreamKind::kMerge;  // writes what its kAttention began
      const bool writes = s.y == b || s.y_wide == b || s.y_sums == b || s.partial == b;
      const bool reads = s.x == b || s.x_sums == b || s.residual == b;
      if (writes && !merge) {
        for (int user : users) EXPECT_TRUE(StreamOrdered(plan->stages, user, i)) << "buffer " << b << ", stage " << i;
        reuses += !users.empty();
        users.clear();
      }
      if (writes || reads) users.push_back(i);
    }
  }
  EXPECT_GT(reuses, 200);
}

// Words and copies that arrive late and in any order, and blocks and groups in any order, change no bit; nor does it
// matter which rows stand beside a row.
TEST(Stream, GivesTheSameBitsInAnyOrderAndBatch) {
  const Program program = Decoder(kShapes[0], 2);
  const auto vocab = static_cast<size_t>(kShapes[0].vocab);
  std::vector<float> alone;
  const uint64_t seeds = UM_SANITIZERS[0] != 0 ? 2 : 5;  // it is slow under sanitizers
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    Runner stream(program, OpenEmulator({.seed = seed, .check_races = seed == 1}).value(), GraphOptions::kAlways);
    ASSERT_FALSE(HasFailure());
    stream.Prefill({0, 32, 45, 100, 70});
    const std::vector<int> who = seed == 0       ? std::vector<int>{3}
                                 : seed % 2 == 0 ? std::vector<int>{3, 0}
                                                 : std::vector<int>{4, 2, 3, 1, 0};
    const size_t row = seed == 0 || seed % 2 == 0 ? 0 : 2;
    std::vector<float> bits;
    for (int step = 0; step < 2; ++step) {
      const std::vector<float> all = stream.Decode(who, step);
      ASSERT_EQ(all.size(), who.size() * vocab);
      bits.insert(bits.end(), all.begin() + static_cast<ptrdiff_t>(row * vocab),
                  all.begin() + static_cast<ptrdiff_t>((row + 1) * vocab));
    }
    if (seed == 0) alone = bits;
    EXPECT_EQ(bits, alone) << "seed " << seed;
  }
}

TEST(Stream, FallsBackWhereItsBlocksCannotRunAtOnce) {
  const Program program = Decoder(kShapes[0], 2);
  Runner graph(program, OpenEmulator({}).value(), GraphOptions::kNever);
  Runner idle(program, OpenEmulator({}).value(), GraphOptions::kWhereItFits);
  Runner busy(program, OpenEmulator({.together = 3}).value(), GraphOptions::kWhereItFits);
  Runner told(program, OpenEmulator({.together = 3}).value(), GraphOptions::kAlways);
  ASSERT_FALSE(HasFailure());
  for (Runner* runner : {&graph, &idle, &busy, &told}) runner->Prefill({40, 70});
  for (int step = 0; step < 2; ++step) {
    const std::vector<float> by_op = graph.Decode({0, 1}, step);
    EXPECT_NE(idle.Decode({0, 1}, step), by_op);  // it streams, which rounds otherwise
    EXPECT_EQ(busy.Decode({0, 1}, step), by_op);
  }
  const std::vector<int> ids = {1}, positions = {40}, rows = {0};
  const Status refused = told.executor->Run({ids, positions, rows, told.table, rows});
  EXPECT_EQ(refused.kind(), ErrorKind::kUsage);
  EXPECT_NE(refused.text().find("cannot run all 4 blocks of stream_bf16"), std::string::npos) << refused.text();
}

TEST(Stream, NotesWhenItsStagesRan) {
  const Program program = Decoder(kShapes[0], 2);
  Runner silent(program, OpenEmulator({}).value(), GraphOptions::kAlways);
  Runner runner(program, OpenEmulator({}).value(), GraphOptions::kAlways, true);
  ASSERT_FALSE(HasFailure());
  for (Runner* r : {&silent, &runner}) {
    r->Prefill({0, 32});
    r->Decode({0, 1}, 0);
  }
  EXPECT_TRUE(silent.executor->StageTimes()->empty());
  const std::vector<StageTime> times = runner.executor->StageTimes().value();
  EXPECT_TRUE(runner.executor->StageTimes()->empty());  // told once
  // embedding, 2 x (qkv, attention, merge, out, gate and up, down), head, choice
  ASSERT_EQ(times.size(), 15u);
  EXPECT_EQ(times.front().name, "embed");
  EXPECT_EQ(times.back().name, "choose");
  for (size_t i = 0; i < times.size(); ++i) {
    const StageTime& s = times[i];
    EXPECT_LE(s.begin, s.end) << s.name;
    EXPECT_LE(s.end, s.last) << s.name;
    EXPECT_EQ(s.bytes > 0, s.name.starts_with("linear")) << s.name;
    EXPECT_TRUE(s.bytes == 0 || (s.begin <= s.ready && s.ready <= s.end)) << s.name;
    EXPECT_TRUE(i == 0 || times[i - 1].begin <= s.begin) << s.name;
  }
}

// Ids that are drawn behind the launch, and fed to the next one, whose penalty counts them.
TEST(Stream, DrawsBehindTheStep) {
  Runner runner(Decoder(kShapes[0], 2), OpenEmulator({}).value(), GraphOptions::kAlways);
  ASSERT_FALSE(HasFailure());
  runner.Prefill({40, 70});
  std::vector<int> ids = {5, 9}, before;
  const std::vector<int> sequences = {0, 1}, outputs = {0, 1};
  std::vector<DrawEntry> entries = {{0, -1, 0, 0, 0}};
  for (int step = 0; step < 4; ++step) {
    const std::vector<int> positions = {40 + step, 70 + step};
    std::vector<DrawRow> draws(2);
    draws[0].mode = DrawRow::kLargest;
    draws[0].pending = step > 0 ? 0 : -1;
    draws[0].step[draws[0].steps++] = {DrawKind::kPresence, 0, 1e6};
    draws[1].mode = DrawRow::kWeighted;
    draws[1].uniform = 0.2 + 0.2 * step;
    draws[1].step[draws[1].steps++] = {DrawKind::kTemperature, 0, 3};
    const Status ran = runner.executor->Run({ids, positions, sequences, runner.table, outputs, {}, draws, entries});
    ASSERT_TRUE(ran.ok()) << ran.text();
    const auto chosen = runner.executor->Ids();
    ASSERT_TRUE(chosen.ok()) << chosen.status().text();
    const std::vector<int> now(chosen->begin(), chosen->end());
    for (int o : outputs) {
      const auto logits = runner.executor->Logits(o);
      const std::vector<double> exact(logits->begin(), logits->end());
      const int newest = o == 0 && step > 0 ? before[0] : -1;
      const size_t at = static_cast<size_t>(o);
      EXPECT_EQ(now[at], RefDraw(exact.data(), static_cast<int>(exact.size()), draws[at], entries.data(), newest));
    }
    if (step > 0) {
      EXPECT_NE(now[0], before[0]);
    }
    before = now;
    ids = {-1, -2};
  }
}

// A step that is launched before the ids of the one before are known names them by their output: same bits.
TEST(Stream, TakesWhatTheStepBeforeChose) {
  const Program program = Decoder(kShapes[0], 2);
  Runner told(program, OpenEmulator({}).value(), GraphOptions::kAlways);
  Runner fed(program, OpenEmulator({.check_races = true}).value(), GraphOptions::kAlways);
  ASSERT_FALSE(HasFailure());
  for (Runner* runner : {&told, &fed}) runner->Prefill({40, 70});
  std::vector<int> known = {5, 9}, named = {5, 9};
  for (int step = 0; step < 3; ++step) {
    const std::vector<int> positions = {40 + step, 70 + step}, sequences = {0, 1}, outputs = {0, 1};
    ASSERT_TRUE(told.executor->Run({known, positions, sequences, told.table, outputs}).ok());
    ASSERT_TRUE(fed.executor->Run({named, positions, sequences, fed.table, outputs}).ok());
    const auto ids = told.executor->Ids();
    ASSERT_TRUE(ids.ok()) << ids.status().text();
    if (step > 0) {
      const auto before = fed.executor->PreviousIds();
      ASSERT_TRUE(before.ok());
      EXPECT_EQ((*before)[0], known[1]);
      EXPECT_EQ((*before)[1], known[0]);
    }
    for (int o : outputs) {
      const auto a = told.executor->Logits(o), b = fed.executor->Logits(o);
      ASSERT_TRUE(a.ok() && b.ok());
      EXPECT_EQ(std::vector<float>(a->begin(), a->end()), std::vector<float>(b->begin(), b->end())) << step;
    }
    known = {(*ids)[1], (*ids)[0]};  // crosswise, so that rows and outputs are not the same
    named = {-2, -1};
  }
}

// The same on a GPU where there is one, at sizes that fill it: many steps, each row alone and among others.
TEST(Stream, OnAGpu) {
  constexpr Shape kLarge[] = {{"7B heads", 4096, 32, 32, 128, 11008, 32000},
                              {"8B heads", 4096, 32, 8, 128, 14336, 8000},
                              {"1B heads", 2048, 32, 8, 64, 8192, 8000},
                              {"demo", 576, 9, 3, 64, 1536, 4000},
                              {"OPT", 4096, 32, 32, 128, 16384, 8000, true, 0, 0, true}};
  if (const auto device = OpenCuda(0); !device.ok()) GTEST_SKIP() << device.status().text();
  for (const Shape& shape : kLarge) {
    const Program program = Decoder(shape, 3);
    Runner graph(program, OpenCuda(0).value(), GraphOptions::kNever);
    Runner stream(program, OpenCuda(0).value(), GraphOptions::kAlways);
    Runner alone(program, OpenCuda(0).value(), GraphOptions::kAlways);
    ASSERT_FALSE(HasFailure());
    for (Runner* runner : {&graph, &stream, &alone}) runner->Prefill(kPrompts);
    double largest = 0;
    int unequal = 0;
    for (int step = 0; step < 50; ++step) {
      std::vector<int> who;
      for (int s = 0; s < kSequences; ++s) {
        if (s == 3 || (step >> s) % 2 == 1) who.push_back(s);
      }
      const std::vector<float> all = stream.Decode(who, step), one = alone.Decode({3}, step);
      largest = std::max(largest, Error(all, graph.Decode(who, step)));
      const auto at = all.begin() + (std::ranges::find(who, 3) - who.begin()) * shape.vocab;
      unequal += !std::equal(one.begin(), one.end(), at);
      ASSERT_FALSE(HasFailure()) << shape.name << ", step " << step;
    }
    fmt::print("{}: 50 steps differ by at most {:.1e}; {} of them not in the bits of the row alone\n", shape.name,
               largest, unequal);
    EXPECT_LT(largest, 3e-2) << shape.name;
    EXPECT_EQ(unequal, 0) << shape.name;
  }
}

}  // namespace
}  // namespace unimax
