// SPDX-License-Identifier: Apache-2.0
// Rows measured against each other on the emulator: the right ones are timed, the wrong ones dropped with a reason.
#include "kernels/tune.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <set>

#include "device/emulator.h"
#include "kernels/args.h"
#include "kernels/check.h"
#include "kernels/plan.h"

namespace unimax {
namespace {

const TuneOptions kQuick{.repeats = 1, .cold = false};
// Sanitizers slow an emulated kernel by ten and more.
const int kStride = std::string_view(UM_SANITIZERS).empty() ? 1 : 7;

const Row& RowOf(std::string_view kernel) {
  for (const Row& row : GpuRows()) {
    if (kernel == row.kernel) return row;
  }
  UM_CHECK(false);
}

class Tune : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    auto device = OpenEmulator({.lanes = GetParam()});
    ASSERT_TRUE(device.ok()) << device.status().text();
    device_ = std::move(device).value();
  }
  std::vector<TunedRow> Measure(const Case& c, std::span<const Row* const> rows, const TuneOptions& options = kQuick) {
    auto tuned = MeasureRows(*device_, c, rows, options);
    EXPECT_TRUE(tuned.ok()) << tuned.status().text();
    return tuned.ok() ? std::move(tuned).value() : std::vector<TunedRow>();
  }
  std::unique_ptr<Device> device_;
};

// The cases of the table's own test, which have every epilogue and every odd size: each candidate is right on them.
TEST_P(Tune, EveryCandidateIsRight) {
  int measured = 0, rounded = 0, seen = 0;
  std::set<std::string> done;
  for (const Row& row : GpuRows()) {
    if (!TuneData::Has(row.op) || !HasKernel(row, device_->limits())) continue;
    for (Case c : row.cases) {
      c.op = row.op;
      c.act = row.act;
      if (c.split_tokens > 0 || !done.insert(std::string(Info(row.act).name) + CaseName(row, c)).second) continue;
      if (row.act == DType::kF32 && c.flags & kLinearActMul) continue;  // plain weights do not alternate
      if (seen++ % kStride != 0) continue;
      const auto rows = CandidateRows(c, device_->limits());
      for (const TunedRow& tuned : Measure(c, rows)) {
        EXPECT_EQ(tuned.dropped, "") << tuned.row->kernel << " " << CaseName(row, c);
        EXPECT_GT(tuned.microseconds, 0);
        ++measured;
        rounded += tuned.error > 0;
      }
    }
  }
  EXPECT_GT(measured, 200 / kStride);
  EXPECT_GT(rounded, measured * 3 / 4);  // one token alone is not rounded
}

TEST_P(Tune, EveryOpWithAChoiceHasData) {
  for (const Row& row : GpuRows()) {
    if (row.op == OpKind::kSample) continue;  // the other row is another way to choose, not a faster one
    for (Case c : row.cases) {
      c.op = row.op;
      c.act = row.act;
      if (CandidateRows(c, device_->limits()).size() > 1) {
        EXPECT_TRUE(TuneData::Has(row.op)) << row.kernel;
      }
    }
  }
}

// Rows that are wrong, leave out a part, or fail are never chosen, however fast (row E09: cli/tune_notes_test.cc).
TEST_P(Tune, WrongRowsAreDropped) {
  const Case linear{.op = OpKind::kLinear, .act = DType::kBF16, .m = 40, .n = 288, .k = 64};
  const Case decode{.op = OpKind::kAttention,
                    .act = DType::kBF16,
                    .m = 2,
                    .attention = {2, 1, 16, 0.25f},
                    .decode = true,
                    .tokens = 70};
  Row narrow = RowOf("linear_flat_bf16_1");  // takes 8 or 16 rows of x, and leaves out the others
  Row other_type = RowOf("linear_tiled_f16");
  Row half = RowOf("linear_tiled_bf16");  // half of the weight
  half.launch = [](const Case& c, const Limits& l) {
    Case part = c;
    part.n = c.n / 2 - 16;
    return RowOf("linear_tiled_bf16").launch(part, l);
  };
  half.kernel = "linear_tiled_bf16";
  Row outside = RowOf("linear_tiled_bf16");  // shared memory that it was not given
  outside.launch = [](const Case& c, const Limits& l) {
    LaunchShape shape = RowOf("linear_tiled_bf16").launch(c, l);
    shape.shared_bytes = 64;
    return shape;
  };
  Row absent = RowOf("linear_tiled_bf16");
  absent.kernel = "linear_magic_bf16";
  Row other_args = RowOf("linear_tiled_bf16");
  other_args.kernel = "norm_bf16";
  Row strict = RowOf("linear_flat_bf16_8");  // right, but not as right as it says
  strict.tolerance = 1e-9f;
  Row one_row = RowOf("attention_decode_bf16_4");  // only the first of several rows
  one_row.launch = [](const Case& c, const Limits& l) {
    LaunchShape shape = RowOf("attention_decode_bf16_4").launch(c, l);
    shape.grid_z = 1;
    return shape;
  };
  const std::tuple<Case, const Row*, const char*> planted[] = {{linear, &narrow, "not written"},
                                                               {linear, &other_type, ""},
                                                               {linear, &half, "not written"},
                                                               {linear, &outside, "shared"},
                                                               {linear, &absent, "linear_magic"},
                                                               {linear, &other_args, "arguments"},
                                                               {linear, &strict, "differs from the reference"},
                                                               {decode, &one_row, "not written"}};
  int wrong = 0, tried = 0;
  for (const auto& [c, row, why] : planted) {
    const Row& good = c.op == OpKind::kLinear ? RowOf("linear_tiled_bf16") : RowOf("attention_decode_bf16_4");
    // First and last, since the first row is what others are compared with.
    for (const bool first : {true, false}) {
      const Row* both[] = {first ? row : &good, first ? &good : row};
      const std::vector<TunedRow> tuned = Measure(c, both);
      ASSERT_EQ(tuned.size(), 2u);
      const TunedRow& bad = tuned[first ? 0 : 1];
      EXPECT_NE(bad.dropped, "") << row->kernel;
      EXPECT_NE(bad.dropped.find(why), std::string::npos) << bad.dropped << " instead of " << why;
      EXPECT_EQ(tuned[first ? 1 : 0].dropped, "");
      const auto chosen = ChooseRow(c, tuned);
      ASSERT_TRUE(chosen.ok());
      wrong += chosen->kernel != good.kernel || !chosen->second.empty();
      ++tried;
    }
    const Row* alone[] = {row};
    EXPECT_FALSE(ChooseRow(c, Measure(c, alone)).ok());
  }
  std::printf("lanes %d: %d of %d wrong rows were chosen\n", GetParam(), wrong, tried);
  EXPECT_EQ(wrong, 0);
}

TEST_P(Tune, ColdPassesWorkHere) {
  const Case c{.op = OpKind::kLinear, .act = DType::kBF16, .m = 2, .n = 64, .k = 64};
  const auto rows = CandidateRows(c, device_->limits());
  TurnTimer timer(*device_, false, 2);
  auto data = TuneData::Make(*device_, c, 3, 7);
  ASSERT_TRUE(data.ok());
  int recorded = 0;
  ASSERT_TRUE(timer
                  .Add(4,
                       [&](int i) -> Status {
                         ++recorded;
                         UM_ASSIGN_OR_RETURN(const Launch launch, (*data)->LaunchOn(*rows[0], i % 3));
                         return device_->Run(launch);
                       })
                  .ok());
  EXPECT_EQ(recorded, 4);
  const auto times = timer.Run(3);
  ASSERT_TRUE(times.ok());
  ASSERT_EQ(times->size(), 1u);
  EXPECT_GT((*times)[0], 0);
}

INSTANTIATE_TEST_SUITE_P(Lanes, Tune, testing::Values(32, 64));

TEST(Turns, EachSetIsReadOutOfTheCache) {
  Limits card;
  card.l2_bytes = 60 << 20;
  card.free_bytes = int64_t{140} << 30;
  for (const int n : {64, 1024, 4096, 22016, 128256}) {
    const Case c{.op = OpKind::kLinear, .act = DType::kBF16, .m = 1, .n = n, .k = 4096};
    const TurnShape shape = TurnShapeOf(c, card, {});
    const double bytes = TuneData::SetBytes(c);
    EXPECT_EQ(bytes, 2.0 * n * 4096);
    EXPECT_GE(shape.launches, 8) << n;
    EXPECT_LE(shape.launches, 32) << n;
    // Between two uses of a set so much else is read, by other sets or by the flush between replays.
    EXPECT_TRUE(shape.flush);
    if (shape.launches > shape.sets) {
      EXPECT_GE((shape.sets - 1) * bytes, 3.0 * static_cast<double>(card.l2_bytes)) << n;
    }
    EXPECT_EQ(shape.launches > shape.sets, n >= 4096) << n;
  }
  card.target = "gfx942";  // another cache behind a small L2
  card.l2_bytes = 4 << 20;
  const Case small{.op = OpKind::kLinear, .act = DType::kBF16, .m = 1, .n = 4096, .k = 4096};
  EXPECT_GE((TurnShapeOf(small, card, {}).sets - 1) * TuneData::SetBytes(small), 512.0 * (1 << 20));
  // Little memory: as many sets as there is room for, none where there is no room for one.
  const Case c{.op = OpKind::kLinear, .act = DType::kBF16, .m = 1, .n = 65536, .k = 8192};  // 1 GB
  card.free_bytes = int64_t{2} << 30;
  EXPECT_EQ(TurnShapeOf(c, card, {}).sets, 1);
  EXPECT_EQ(TurnShapeOf(c, card, {}).launches, 1);
  card.free_bytes = int64_t{1} << 30;
  EXPECT_EQ(TurnShapeOf(c, card, {}).sets, 0);
}

TEST(Choose, ChanceDoesNot) {
  const Case c{.op = OpKind::kLinear, .act = DType::kBF16, .m = 1, .n = 64, .k = 64};
  const Row *one = &RowOf("linear_flat_bf16_1"), *two = &RowOf("linear_flat_bf16_2"),
            *four = &RowOf("linear_flat_bf16_4");
  const auto choose = [&](std::vector<TunedRow> rows) {
    const auto entry = ChooseRow(c, rows);
    return entry.ok() ? fmt::format("{} {} / {} {}", entry->kernel, entry->microseconds, entry->second,
                                    entry->second_microseconds)
                      : std::string(entry.status().text());
  };
  EXPECT_EQ(choose({{one, 10}, {two, 9.9}, {four, 12}}), "linear_flat_bf16_1 10 / linear_flat_bf16_2 9.9");
  EXPECT_EQ(choose({{one, 10}, {two, 9.5}, {four, 9.6}}), "linear_flat_bf16_2 9.5 / linear_flat_bf16_4 9.6");
  EXPECT_EQ(choose({{one, 10}, {two, 5, 1, "wrong"}}), "linear_flat_bf16_1 10 /  0");
  EXPECT_EQ(choose({{one, 1, 1, "wrong"}, {two, 5}, {four, 4}}), "linear_flat_bf16_4 4 / linear_flat_bf16_2 5");
  EXPECT_EQ(choose({{one, 1, 1, "wrong"}}), "1 rows were tried and none was right");
}

}  // namespace
}  // namespace unimax
