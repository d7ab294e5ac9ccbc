// SPDX-License-Identifier: Apache-2.0
#include "program/program.h"

#include <gtest/gtest.h>

#include "program/builder.h"
#include "program/liveness.h"

namespace unimax {
namespace {

// Two layers of a small decoder.
Program Small() {
  Builder p("small");
  p.program().attention = {4, 2, 16, 0.25f};
  p.program().layers = 2;
  p.program().vocab = 96;
  const int table = p.Matrix("embedding", 64, {{"embed", 96}});
  const int x = p.Embed(table);
  for (int l = 0; l < 2; ++l) {
    const int norm = p.Vector("norm", "n", 64);
    const std::vector<int> qkv =
        p.LinearSplit(p.Norm(x, norm, 1e-5f), p.Matrix("qkv", 64, {{"q", 64}, {"k", 32}, {"v", 32}}));
    p.RopeAndStore(qkv[0], qkv[1], qkv[2], l);
    p.AddTo(x, p.Linear(p.Attention(qkv[0], l), p.Matrix("out", 64, {{"o", 64}})));
    const std::vector<int> gate_up =
        p.LinearSplit(p.Norm(x, norm, 1e-5f), p.Matrix("gate_up", 64, {{"g", 48}, {"u", 48}}));
    p.AddTo(x, p.Linear(p.ActMul(Activation::kSilu, gate_up[0], gate_up[1]), p.Matrix("down", 48, {{"d", 64}})));
  }
  p.Sample(p.Logits(p.Select(x), table));
  return p.Take();
}

int Count(const Program& program, OpKind kind) {
  int count = 0;
  for (const Op& op : program.ops) count += op.kind == kind;
  return count;
}

TEST(Fuse, JoinsResidualsAndGates) {
  const Program program = Small();
  const Program fused = Fuse(program, {.residual = true, .act_mul = true});
  EXPECT_EQ(Count(program, OpKind::kAdd), 4);
  EXPECT_EQ(Count(fused, OpKind::kAdd), 0);
  EXPECT_EQ(Count(fused, OpKind::kActMul), 0);
  EXPECT_EQ(fused.ops.size(), program.ops.size() - 6);
  int residuals = 0, gates = 0;
  for (const Op& op : fused.ops) {
    residuals += op.kind == OpKind::kLinear && op.in2 >= 0 && op.out == op.in2;
    gates += op.kind == OpKind::kLinear && op.act == Activation::kSilu && fused.weights[op.weight].interleaved;
  }
  EXPECT_EQ(residuals, 4);
  EXPECT_EQ(gates, 2);
}

TEST(Fuse, LeavesAPrefixThatEndsBetweenThePair) {
  const Program program = Small();
  for (int k = 1; k <= static_cast<int>(program.ops.size()); ++k) {
    const Program fused = Fuse(Prefix(program, k), {.residual = true, .act_mul = true});
    EXPECT_EQ(fused.ops.back().out, program.ops[static_cast<size_t>(k) - 1].out) << k;
  }
}

// x + act(x w1 + b1) w2 * 0.5 with a gate of any activation between.
TEST(Fuse, JoinsBiasActivationAndScale) {
  Builder p("epilogues");
  const int x = p.Embed(p.Matrix("embedding", 64, {{"embed", 96}}));
  const int h = p.Norm(x, p.Vector("norm", "n", 64), 1e-5f);
  const int up = p.Linear(h, p.Matrix("up", 64, {{"up", 80}}), p.Vector("bias", "b", 80));
  p.AddTo(x, p.Linear(p.Act(Activation::kGelu, up), p.Matrix("down", 80, {{"down", 64}})), 0.5f);
  const std::vector<int> gate_up = p.LinearSplit(h, p.Matrix("gate_up", 64, {{"g", 48}, {"u", 48}}),
                                                 p.StackedVector("gate_up.bias", {{"gb", 48}, {"ub", 48}}, 96));
  p.AddTo(x, p.Linear(p.ActMul(Activation::kGeluTanh, gate_up[0], gate_up[1]), p.Matrix("d2", 48, {{"d2", 64}})));
  const Program program = p.Take();
  const Program fused = Fuse(program, {.residual = true, .act_mul = true, .act = true});
  ASSERT_EQ(fused.ops.size(), 6u);
  EXPECT_EQ(fused.ops[2].act, Activation::kGelu);
  EXPECT_GE(fused.ops[2].bias, 0);
  EXPECT_EQ(fused.ops[2].out, program.ops[3].out);
  EXPECT_FALSE(fused.weights[fused.ops[2].weight].interleaved);
  EXPECT_EQ(fused.ops[3].scale, 0.5f);
  EXPECT_EQ(fused.ops[3].in2, x);
  EXPECT_EQ(fused.ops[4].act, Activation::kGeluTanh);
  EXPECT_GE(fused.ops[4].bias, 0);
  EXPECT_TRUE(fused.weights[fused.ops[4].weight].interleaved);
  EXPECT_EQ(fused.ops[5].scale, 1.0f);
  EXPECT_EQ(Fuse(program, {.residual = true}).ops.size(), 8u) << "activations stay where no row takes them";
  EXPECT_EQ(Fuse(Fuse(program, {.residual = true, .act_mul = true, .act = true}), {.residual = true}).ops.size(), 6u);
}

TEST(Fuse, LeavesWhatItMustNotJoin) {
  const auto ops = [](auto&& write) {
    Builder p("apart");
    const int x = p.Embed(p.Matrix("embedding", 64, {{"embed", 96}}));
    write(p, x, p.Norm(x, p.Vector("norm", "n", 64), 1e-5f));
    const Program program = p.Take();
    return Fuse(program, {.residual = true, .act_mul = true, .act = true}).ops.size() - 2;
  };
  const auto square = [](Builder& p) { return p.Matrix("w", 64, {{"w", 64}}); };
  EXPECT_EQ(ops([&](Builder& p, int x, int h) { p.AddTo(x, p.Linear(h, square(p))); }), 1u);
  // A matrix product of the residual stream itself: others would read it while it is written.
  EXPECT_EQ(ops([&](Builder& p, int x, int) { p.AddTo(x, p.Linear(x, square(p))); }), 2u);
  // A value that is read again.
  EXPECT_EQ(ops([&](Builder& p, int x, int h) {
              const int y = p.Linear(h, square(p));
              p.AddTo(x, p.Act(Activation::kRelu, y));
              p.AddTo(x, y);
            }),
            4u);
  // The activation comes after the scale, the cap after the activation.
  EXPECT_EQ(ops([&](Builder& p, int, int h) { p.Act(Activation::kRelu, p.Logits(h, square(p), 2.0f, 0)); }), 2u);
  EXPECT_EQ(ops([&](Builder& p, int x, int h) { p.AddTo(x, p.Logits(h, square(p), 1.0f, 30.0f)); }), 2u);
  // One matrix for two gated products: its strips can have one order only.
  EXPECT_EQ(ops([&](Builder& p, int, int h) {
              const int w = p.Matrix("gate_up", 64, {{"g", 48}, {"u", 48}});
              for (int i = 0; i < 2; ++i) {
                const std::vector<int> both = p.LinearSplit(h, w);
                p.ActMul(Activation::kSilu, both[0], both[1]);
              }
            }),
            4u);
}

TEST(Liveness, NoTwoLiveValuesShareABuffer) {
  const Program program = Fuse(Small(), {.residual = true, .act_mul = true});
  const BufferPlan plan = PlanBuffers(program, program.logits);
  const auto root = [&](int v) { return program.values[v].parent >= 0 ? program.values[v].parent : v; };
  // Walk the program with a tenant for each buffer: every read must find the value that was written.
  std::vector<int> tenant(plan.example.size(), -1);
  for (const Op& op : program.ops) {
    for (int in : {op.in, op.in2, op.in3}) {
      if (in < 0) continue;
      ASSERT_EQ(tenant[static_cast<size_t>(plan.buffer_of[in])], root(in));
    }
    tenant[static_cast<size_t>(plan.buffer_of[op.out])] = root(op.out);
    for (int in : {op.in, op.in2, op.in3}) {
      if (in < 0) continue;
      ASSERT_EQ(tenant[static_cast<size_t>(plan.buffer_of[in])], root(in)) << "an op overwrote what it reads";
    }
  }
  EXPECT_LT(plan.example.size(), 12u) << "layers must share buffers";
}

TEST(Cost, CountsWeightsOnceAndKvByContext) {
  const Program program = Small();
  const Cost at1 = ProgramCost(program, 1, 1, 100, {2, 2, 2});
  // 2 layers of (128 + 64) x 64 + 96 x 64 + 64 x 48, the head 96 x 64 and one row of the embedding, two bytes each,
  // and four norms of 64 floats.
  EXPECT_DOUBLE_EQ(at1.weight_bytes, 2.0 * (2 * (192 * 64 + 96 * 64 + 64 * 48) + 96 * 64 + 64) + 4.0 * 4 * 64);
  EXPECT_DOUBLE_EQ(at1.kv_bytes, 2.0 * 2 * (100 + 1) * 2 * 16 * 2);
  EXPECT_NE(Print(program, 1, 100, {2, 2, 2}).find("RopeAndStore"), std::string::npos);
}

}  // namespace
}  // namespace unimax
