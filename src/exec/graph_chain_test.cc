// SPDX-License-Identifier: Apache-2.0
// Which ops go together in one launch. (What the launch computes is compared on a device: kernels/check_chain.cc.)
#include "exec/graph_chain.h"

#include <gtest/gtest.h>

#include "exec/graph.h"
#include "program/builder.h"
#include "program/liveness.h"

namespace unimax {
namespace {

struct Shape {
  int head_dim = 128, hidden = 256;
  NormKind norm = NormKind::kRms;
  bool gated = true, turned = true;
  bool interleaved = false;
  bool read_twice = false;  // the second norm of a layer
};

// Two layers of a decoder with two heads and one of keys.
Program Decoder(const Shape& s) {
  Builder p("test");
  p.program().attention = {2, 1, s.head_dim, 1};
  p.program().layers = 2;
  p.program().hidden = s.hidden;
  p.program().vocab = 96;
  Rope rope;
  rope.inv_freq.resize(static_cast<size_t>(s.head_dim / 2), 1.0);
  rope.interleaved = s.interleaved;
  p.program().ropes = {rope};
  const int table = p.Matrix("embedding", s.hidden, {{"embed", 96}}), x = p.Embed(table), q = 2 * s.head_dim;
  for (int l = 0; l < 2; ++l) {
    const auto norm = [&] { return p.Norm(x, p.Vector("norm", "n", s.hidden), 1e-5f, {.kind = s.norm}); };
    const std::vector<int> qkv =
        p.LinearSplit(norm(), p.Matrix("l.qkv", s.hidden, {{"q", q}, {"k", s.head_dim}, {"v", s.head_dim}}));
    p.RopeAndStore(qkv[0], qkv[1], qkv[2], l, s.turned ? 0 : -1);
    p.AddTo(x, p.Linear(p.Attention(qkv[0], l), p.Matrix("l.out", q, {{"o", s.hidden}})));
    const int h = norm();
    const int down = p.Matrix("l.down", 512, {{"d", s.hidden}});
    if (s.gated) {
      const std::vector<int> both = p.LinearSplit(h, p.Matrix("l.gate_up", s.hidden, {{"g", 512}, {"u", 512}}));
      p.AddTo(x, p.Linear(p.ActMul(Activation::kSilu, both[0], both[1]), down));
    } else {
      p.AddTo(x, p.Linear(p.Act(Activation::kRelu, p.Linear(h, p.Matrix("l.up", s.hidden, {{"u", 512}}))), down));
    }
    if (s.read_twice) p.AddTo(x, p.Linear(h, p.Matrix("l.more", s.hidden, {{"m", s.hidden}})));
  }
  p.Sample(p.Logits(p.Select(x), table));
  return FuseForGraph(p.Take(), DType::kBF16);
}

// The chains of a program, one behind the other.
std::string Chains(const Shape& shape) {
  const Program program = Decoder(shape);
  std::string text;
  for (const OpRange& range : ChainRanges(program)) {
    const ChainOps chain = ChainFrom(program, static_cast<size_t>(range.first));
    text += (text.empty() ? "" : " | ") + ChainName(program, chain);
  }
  return text;
}

TEST(Chain, TakesALayersProductsAndTheNormsBetweenThem) {
  EXPECT_EQ(Chains({}), "out, gate_up, down, qkv, rope | out, gate_up, down");
}

TEST(Chain, TakesLayerNormsAndHeadsThatAreOnlyStored) {
  EXPECT_EQ(Chains({.norm = NormKind::kLayer, .gated = false, .turned = false}),
            "out, up, down, qkv, rope | out, up, down");
}

TEST(Chain, LeavesHeadsThatTurnInOtherWays) {
  EXPECT_EQ(Chains({.head_dim = 64}), "out, gate_up, down, qkv | out, gate_up, down");
  EXPECT_EQ(Chains({.interleaved = true}), "out, gate_up, down, qkv | out, gate_up, down");
}

TEST(Chain, LeavesNormsThatItDoesNotTakeIn) {
  EXPECT_EQ(Chains({.norm = NormKind::kLayer}), "gate_up, down, qkv, rope | gate_up, down");
  EXPECT_EQ(Chains({.read_twice = true}), "gate_up, down | more, qkv, rope | gate_up, down");
}

TEST(Chain, LeavesSizesThatThePanelsDoNotHave) { EXPECT_EQ(Chains({.hidden = 264}), ""); }

// Rows of a step may be through a chain before others begin with it.
TEST(Chain, ItsOpsWriteNothingThatTheyRead) {
  const Program program = Decoder({});
  const OpRange range = ChainRanges(program).front();
  const auto whole = [&](int v) {
    const int parent = program.values[static_cast<size_t>(v)].parent;
    return parent < 0 ? v : parent;
  };
  const auto shared = [&](const BufferPlan& plan) {
    int count = 0;
    for (int i = range.first; i <= range.last; ++i) {
      for (int j = range.first; j <= range.last; ++j) {
        const int in = whole(program.ops[static_cast<size_t>(i)].in);
        const int out = whole(program.ops[static_cast<size_t>(j)].out);
        count += in != out && plan.buffer_of[static_cast<size_t>(in)] == plan.buffer_of[static_cast<size_t>(out)];
      }
    }
    return count;
  };
  EXPECT_EQ(shared(PlanBuffers(program, program.logits, {range})), 0);
  EXPECT_GT(shared(PlanBuffers(program, program.logits)), 0) << "nothing is compared";
}

// Op by op, too, every read finds what was written.
TEST(Chain, ItsBuffersServeStepsThatGoOpByOp) {
  for (int head_dim : {64, 128}) {
    const Program program = Decoder({.head_dim = head_dim});
    const BufferPlan plan = PlanBuffers(program, program.logits, ChainRanges(program));
    std::vector<int> tenant(plan.example.size(), -1);
    const auto whole = [&](int v) {
      const int parent = program.values[static_cast<size_t>(v)].parent;
      return parent < 0 ? v : parent;
    };
    const auto buffer = [&](int v) { return static_cast<size_t>(plan.buffer_of[static_cast<size_t>(v)]); };
    for (const Op& op : program.ops) {
      for (int in : {op.in, op.in2, op.in3}) {
        if (in < 0) continue;
        ASSERT_EQ(tenant[buffer(in)], whole(in)) << OpName(op.kind);
      }
      tenant[buffer(op.out)] = whole(op.out);
    }
  }
}

}  // namespace
}  // namespace unimax
