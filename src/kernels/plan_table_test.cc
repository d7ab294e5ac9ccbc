// SPDX-License-Identifier: Apache-2.0
// Plan tables: what is written is read; what is damaged, foreign or outdated is refused; which measured row
// takes which case.
#include "kernels/plan_table.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <random>
#include <set>

#include "kernels/plan.h"

namespace unimax {
namespace {

Limits Card() {
  Limits limits;
  limits.name = "NVIDIA H200";
  limits.target = "sm_90a";
  limits.multiprocessors = 132;
  limits.shared_bytes_per_block = 227 * 1024;
  return limits;
}

Case Linear(int m, int n = 4096) { return {.op = OpKind::kLinear, .act = DType::kBF16, .m = m, .n = n, .k = 4096}; }
Case Decode(int m, int tokens) {
  return {.op = OpKind::kAttention,
          .act = DType::kBF16,
          .m = m,
          .attention = {32, 8, 128, 0.09f},
          .decode = true,
          .tokens = tokens};
}
PlanEntry Entry(const Case& c, const char* kernel, double us, const char* second = "", double second_us = 0) {
  return {c, kernel, second, us, second_us};
}

PlanFile Example() {
  return {
      PlanHeaderOf(Card()),
      {Entry(Linear(1), "linear_flat_bf16_1", 12.5, "linear_flat_bf16_2", 12.75),
       Entry(Linear(8), "linear_flat_bf16_1", 12.625, "linear_flat_bf16_2", 13),
       Entry(Linear(16), "linear_flat_bf16_2", 13.1, "linear_flat_bf16_4", 13.5),
       Entry(Linear(64), "linear_flat_bf16_8", 20), Entry(Linear(256), "linear_wgmma_bf16", 31),
       Entry(Linear(1024), "linear_wgmma_bf16", 80), Entry(Linear(4, 100), "linear_flat_bf16_4", 3),
       Entry(Decode(1, 256), "attention_lazy_bf16_128", 8.25, "attention_split_bf16_128", 8.5),
       Entry(Decode(1, 4096), "attention_lazy_bf16_128", 13.5), Entry(Decode(8, 256), "attention_lazy_bf16_128", 10),
       Entry(Decode(8, 4096), "attention_lazy_bf16_128", 80), Entry(Decode(32, 256), "attention_lazy_bf16_128", 20),
       Entry(Decode(32, 4096), "attention_split_bf16_128", 123)},
      {{"0123456789abcdef", DType::kBF16, 1, 3490, 3900},
       {"0123456789abcdef", DType::kBF16, 2, 3820, 4120},
       {"0123456789abcdef", DType::kBF16, 4, 4450, 4510},
       {"0123456789abcdef", DType::kBF16, 8, 5610, 5030}}};
}

std::string Kernel(const Row* row) { return row == nullptr ? "none" : row->kernel; }

TEST(PlanText, WhatIsWrittenIsRead) {
  const std::string text = PrintPlan(Example());
  const auto read = ParsePlan(text);
  ASSERT_TRUE(read.ok()) << read.status().text();
  EXPECT_EQ(PrintPlan(*read), text);
  EXPECT_EQ(read->entries.size(), Example().entries.size());
  EXPECT_EQ(read->entries[0].kernel, "linear_flat_bf16_1");
  EXPECT_DOUBLE_EQ(read->entries[0].second_microseconds, 12.75);
  EXPECT_EQ(read->entries[7].of.attention.kv_heads, 8);
  EXPECT_TRUE(read->entries[7].of.decode);
  EXPECT_TRUE(CheckPlanHeader(read->header, Card()).ok());
  EXPECT_EQ(PlanTable(*read).size(), Example().entries.size());
  const auto empty = ParsePlan(PrintPlan({PlanHeaderOf(Card()), {}}));
  ASSERT_TRUE(empty.ok()) << empty.status().text();
  EXPECT_EQ(PlanTable(*empty).Find(Linear(1)), nullptr);
}

TEST(PlanText, ForeignOrOutdatedIsNamed) {
  const auto why = [](auto&& change) {
    PlanHeader header = PlanHeaderOf(Card());
    change(header);
    const Status status = CheckPlanHeader(header, Card());
    EXPECT_FALSE(status.ok());
    return std::string(status.text());
  };
  EXPECT_NE(why([](PlanHeader& h) { h.device = "NVIDIA H100 80GB HBM3"; }).find("H100"), std::string::npos);
  EXPECT_NE(why([](PlanHeader& h) { h.target = "sm_80"; }).find("sm_80"), std::string::npos);
  EXPECT_NE(why([](PlanHeader& h) { h.multiprocessors = 114; }).find("114"), std::string::npos);
  EXPECT_NE(why([](PlanHeader& h) { h.version = "0.0.9"; }).find("0.0.9"), std::string::npos);
  EXPECT_NE(why([](PlanHeader& h) { h.rows = "0123456789abcdef"; }).find("other kernels"), std::string::npos);
}

TEST(PlanText, DamageIsNamed) {
  const std::string text = PrintPlan(Example());
  const auto why = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    const size_t at = changed.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    changed.replace(at, from.size(), to);
    const auto read = ParsePlan(changed);
    EXPECT_FALSE(read.ok()) << to;
    EXPECT_EQ(read.status().kind(), ErrorKind::kBadModel);
    return std::string(read.status().text());
  };
  EXPECT_NE(why("plan 1", "plan 2").find("another format"), std::string::npos);
  EXPECT_NE(why("cases 13", "cases 14").find("line 20"), std::string::npos);
  EXPECT_NE(why("cases 13", "cases 99999999999").find("number of cases"), std::string::npos);
  EXPECT_NE(why("cases 13", "cases -1").find("number of cases"), std::string::npos);
  EXPECT_NE(why("m=64", "m=-4").find("line 10"), std::string::npos);
  EXPECT_NE(why("m=64", "m=064").find("line 10"), std::string::npos);
  EXPECT_NE(why("m=64", "m=63").find("hash"), std::string::npos);
  EXPECT_NE(why("12.500", "nan").find("line 7"), std::string::npos);
  EXPECT_NE(why("12.500", "1e999").find("line 7"), std::string::npos);
  EXPECT_NE(why("lanes=32", "lanes=x").find("target"), std::string::npos);
  EXPECT_NE(why("steps 4", "steps 5").find("line 25"), std::string::npos);
  EXPECT_NE(why("m=2: stream", "m=0: stream").find("line 22"), std::string::npos);
  EXPECT_NE(why("m=2: stream", "m=2: steam").find("line 22"), std::string::npos);
  EXPECT_NE(why("version 0", "edition 0").find("version"), std::string::npos);
  EXPECT_FALSE(ParsePlan(text + "more\n").ok());
  EXPECT_FALSE(ParsePlan("").ok());
  EXPECT_FALSE(ParsePlan(std::string(kPlanBytes + 1, 'x')).ok());
}

// A torn or changed table is never used, and nothing that it holds stops the program.
TEST(PlanText, DamagedTablesAreNotUsed) {
  const std::string text = PrintPlan(Example());
  int used = 0, flips = 0, cuts = 0;
  std::mt19937 random(5);
  const auto damaged = [&](const std::string& changed) {
    if (changed != text) used += ParsePlan(changed).ok();
  };
  for (; flips < 5000; ++flips) {
    std::string changed = text;
    for (unsigned edits = 1 + random() % 3; edits > 0; --edits) {
      changed[random() % changed.size()] = static_cast<char>(random() % 256);
    }
    damaged(changed);
  }
  for (size_t end = 0; end < text.size(); ++end, ++cuts) damaged(text.substr(0, end));
  for (int i = 0; i < 1000; ++i) {  // parts of the file moved within it
    std::string changed = text;
    changed.insert(random() % text.size(), text.substr(random() % text.size(), random() % 80));
    changed.erase(random() % text.size(), random() % 80);
    damaged(changed);
  }
  std::printf("%d of %d changed and %d cut tables were used\n", used, flips, cuts);
  EXPECT_EQ(used, 0);
}

// A hash over the file that was made anew after the change: the rest must hold alone.
TEST(PlanText, HostileTablesWithTheRightHash) {
  const std::string text = PrintPlan(Example());
  std::mt19937 random(6);
  int read = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string changed = text.substr(0, text.rfind("end "));
    changed[random() % changed.size()] = "0123456789=:, -em\n"[random() % 18];
    const auto tried = ParsePlan(changed + "end 0\n");
    ASSERT_FALSE(tried.ok());
    const std::string why(tried.status().text());
    const size_t at = why.find("lines above is ");
    if (at == std::string::npos) continue;  // refused before
    changed += "end " + why.substr(at).substr(15, 16) + "\n";
    const auto parsed = ParsePlan(changed);
    ASSERT_TRUE(parsed.ok()) << parsed.status().text();
    const PlanTable table(*parsed);
    for (const int m : {1, 9, 64, 500}) {
      const Row* row = PlanRow(Linear(m), Card(), {}, &table);
      ASSERT_NE(row, nullptr);
      EXPECT_EQ(row->op, OpKind::kLinear);
      EXPECT_TRUE(row->fits(Linear(m), Card()));
    }
    ++read;
  }
  EXPECT_GT(read, 100);
}

TEST(PlanTable, EqualAndNearCases) {
  const PlanTable table(Example());
  const std::pair<Case, const char*> wanted[] = {{Linear(1), "linear_flat_bf16_1"},
                                                 {Linear(8), "linear_flat_bf16_1"},
                                                 {Linear(5), "linear_flat_bf16_1"},
                                                 {Linear(16), "linear_flat_bf16_2"},
                                                 {Linear(9), "none"},  // its neighbours differ
                                                 {Linear(32), "none"},
                                                 {Linear(64), "linear_flat_bf16_8"},
                                                 {Linear(300), "linear_wgmma_bf16"},
                                                 {Linear(1024), "linear_wgmma_bf16"},
                                                 {Linear(1025), "none"},  // nothing above was measured
                                                 {Linear(1, 4097), "none"},
                                                 {Linear(4, 100), "linear_flat_bf16_4"},
                                                 {Linear(3, 100), "none"},
                                                 {Decode(1, 256), "attention_lazy_bf16_128"},
                                                 {Decode(4, 1024), "attention_lazy_bf16_128"},
                                                 {Decode(32, 4096), "attention_split_bf16_128"},
                                                 {Decode(16, 1024), "none"},  // one of four neighbours differs
                                                 {Decode(16, 256), "attention_lazy_bf16_128"},
                                                 {Decode(1, 128), "none"},
                                                 {Decode(1, 8192), "none"}};
  for (const auto& [c, kernel] : wanted)
    EXPECT_EQ(Kernel(table.Find(c)), kernel) << c.m << " " << c.n << " " << c.tokens;
  Case prompt = Decode(8, 256);
  prompt.decode = false;
  EXPECT_EQ(table.Find(prompt), nullptr);
  Case wide = Linear(8);
  wide.flags = 1;
  EXPECT_EQ(table.Find(wide), nullptr);
  Case half = Linear(8);
  half.act = DType::kF16;
  EXPECT_EQ(table.Find(half), nullptr);
  Case end = Linear(8);  // of the epilogue only values change
  end.residual = end.bare = true;
  end.scale = 0.5f;
  end.tokens = 1000;
  end.attention = {1, 1, 64, 1};
  EXPECT_EQ(Kernel(table.Find(end)), "linear_flat_bf16_1");
}

TEST(PlanTable, ACellWithoutACornerHasNoRow) {
  PlanFile file = Example();
  std::erase_if(file.entries, [](const PlanEntry& e) { return e.of.m == 8 && e.of.tokens == 4096; });
  const PlanTable table(file);
  EXPECT_EQ(table.Find(Decode(4, 1024)), nullptr);
  EXPECT_EQ(Kernel(table.Find(Decode(4, 256))), "attention_lazy_bf16_128");
}

TEST(PlanTable, StepsInOneLaunch) {
  const auto parsed = ParsePlan(PrintPlan(Example()));
  ASSERT_TRUE(parsed.ok()) << parsed.status().text();
  EXPECT_EQ(PlanTable(*parsed).StreamRows("0123456789abcdef", DType::kBF16), 4);
  EXPECT_EQ(PlanTable(*parsed).StreamRows("0123456789abcdef", DType::kF16), -1);
  EXPECT_EQ(PlanTable(*parsed).StreamRows("1123456789abcdef", DType::kBF16), -1);
  PlanFile file = *parsed;
  std::reverse(file.steps.begin(), file.steps.end());
  file.steps.back().stream_microseconds = 4000;  // of one row: then none is
  EXPECT_EQ(PlanTable(file).StreamRows("0123456789abcdef", DType::kBF16), 0);
}

TEST(PlanTable, UnknownRowsAreLeftOut) {
  const PlanTable table({PlanHeaderOf(Card()),
                         {Entry(Linear(1), "linear_magic_bf16", 1), Entry(Linear(2), "linear_flat_f16_1", 1),
                          Entry(Linear(4), "norm_bf16", 1), Entry(Linear(8), "linear_flat_bf16_2", 1)}});
  EXPECT_EQ(table.size(), 1u);
  EXPECT_EQ(Kernel(table.Find(Linear(8))), "linear_flat_bf16_2");
}

TEST(Plan, TheTableComesBetweenForceAndOrder) {
  const PlanTable table(Example());
  const std::vector<ForcedRow> forced = {{OpKind::kLinear, "tiled"}};
  const auto planned = [&](const Case& c, std::span<const ForcedRow> force, const PlanTable* with) {
    const Planned p = PlanWith(c, Card(), force, with);
    return Kernel(p.row) + (p.source == PlanSource::kForced     ? " forced"
                            : p.source == PlanSource::kMeasured ? " measured"
                                                                : " order");
  };
  EXPECT_EQ(planned(Linear(4, 100), {}, nullptr), "linear_flat_bf16_1 order");
  EXPECT_EQ(planned(Linear(4, 100), {}, &table), "linear_flat_bf16_4 measured");
  EXPECT_EQ(planned(Linear(4, 100), forced, &table), "linear_tiled_bf16 forced");
  EXPECT_EQ(planned(Linear(9), {}, &table), "linear_wflat_bf16_16 order");
  Case same_bits = Linear(4, 100);
  same_bits.split_tokens = 64;
  EXPECT_EQ(planned(same_bits, {}, &table), "linear_wflat_bf16_16 order");
  // A measured row that does not fit is not taken: this one is for 8 rows of x at most.
  const PlanTable narrow({PlanHeaderOf(Card()), {Entry(Linear(64), "linear_flat_bf16_1", 1)}});
  EXPECT_EQ(planned(Linear(64), {}, &narrow), "linear_wflat_bf16_64 order");
}

TEST(Plan, CandidatesAreTheRowsThatFit) {
  const auto names = [](const Case& c) {
    std::string text;
    for (const Row* row : CandidateRows(c, Card())) text += std::string(row->variant) + " ";
    return text;
  };
  EXPECT_EQ(names(Linear(1)), "flat1 wflat16 flat2 wflat32 wflat64 flat4 flat8 shared32 shared64 tiled ");
  EXPECT_EQ(names(Linear(20)), "wflat32 wflat64 flat4 flat8 shared32 shared64 tiled ");
  EXPECT_EQ(names(Linear(512)), "wgmma tiled ");
  EXPECT_EQ(names(Decode(8, 1024)), "ring128 split128 decode4 lazy lazy prefill ");
  EXPECT_EQ(names({.op = OpKind::kNorm, .act = DType::kBF16, .m = 3, .n = 64}), "row ");
}

// Tables name rows by their kernels alone.
TEST(Plan, KernelsNameRows) {
  std::set<std::string> names;
  for (const Row& row : GpuRows()) EXPECT_TRUE(names.insert(row.kernel).second) << row.kernel;
}

}  // namespace
}  // namespace unimax
