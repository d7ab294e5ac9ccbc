// SPDX-License-Identifier: Apache-2.0
// Every row of the table on the emulator, at both lane widths, against the reference.
#include <gtest/gtest.h>

#include <cstdio>

#include "device/emulator.h"
#include "kernels/check.h"
#include "kernels/plan.h"

namespace unimax {
namespace {

void WalkTable(const EmulatorOptions& options) {
  auto device = OpenEmulator(options);
  ASSERT_TRUE(device.ok()) << device.status().text();
  int checked = 0;
  for (const Row& row : GpuRows()) {
    if (!HasKernel(row, (*device)->limits())) continue;  // scripts/gpu_check runs it
    int cases = 0;
    for (const Case& c : row.cases) {
      if (!RowTakes(row, c, (*device)->limits())) continue;
      const auto result = CheckRow(**device, row, c, 7, 0);
      ASSERT_TRUE(result.ok()) << row.kernel << " " << CaseName(row, c) << ": " << result.status().text();
      EXPECT_LE(result->error, row.tolerance) << row.kernel << " " << CaseName(row, c) << " norm " << result->norm;
      EXPECT_GT(result->norm, 0.0) << row.kernel << " " << CaseName(row, c);
      ++cases;
    }
    // 64 lanes have too little shared memory for some rows; EveryRowIsReachable holds for all.
    if (options.lanes == 32) {
      EXPECT_GT(cases, 0) << row.kernel << " has no case that it takes";
    }
    checked += cases;
  }
  std::printf("lanes %d seed %llu: %d cases of %zu rows\n", options.lanes,
              static_cast<unsigned long long>(options.seed), checked, GpuRows().size());
}

TEST(Table, EveryRowAt32Lanes) { WalkTable({.lanes = 32, .seed = 1, .check_races = false}); }
TEST(Table, EveryRowAt64Lanes) { WalkTable({.lanes = 64, .seed = 1, .check_races = false}); }
// The emulator finds races by itself: a sanitizer would only make it slower.
class Races : public testing::Test {
 protected:
  void SetUp() override {
    if (UM_SANITIZERS[0] != 0) GTEST_SKIP() << "not under sanitizers";
  }
};
TEST_F(Races, NoneAt32Lanes) { WalkTable({.lanes = 32, .seed = 2, .check_races = true}); }
TEST_F(Races, NoneAt64Lanes) { WalkTable({.lanes = 64, .seed = 3, .check_races = true}); }

TEST(Plan, EveryRowIsReachable) {
  Limits limits;
  limits.multiprocessors = 132;
  for (const Row& row : GpuRows()) {
    const std::string_view targets = row.targets != nullptr ? row.targets : "";
    limits.target = targets.substr(0, targets.find(' '));
    bool reached = false;
    for (const Case& c : row.cases) {
      const Case own = OwnCase(row, c);
      for (const int kilobytes : {227, 64}) {  // of an H200, and of AMD GPUs
        limits.shared_bytes_per_block = kilobytes * 1024;
        // Some are taken only by force.
        const std::string_view variant = row.variant;
        const bool by_force =
            variant == "lazy" || variant == "unified" || variant == "direct" || variant.starts_with("shared");
        const std::vector<ForcedRow> forced = {{row.op, row.variant}};
        reached = reached || PlanRow(own, limits, by_force ? std::span(forced) : std::span<ForcedRow>()) == &row;
      }
    }
    EXPECT_TRUE(reached) << row.kernel << " is never chosen";
  }
}

TEST(Plan, RefusesWhatNoRowTakes) {
  const Limits limits;
  for (const int head_dim : {4, 20, 264}) {
    for (const bool decode : {false, true}) {
      const Case c{.op = OpKind::kAttention, .m = 1, .attention = {2, 1, head_dim, 1}, .decode = decode, .tokens = 9};
      EXPECT_EQ(PlanRow(c, limits), nullptr) << head_dim;
    }
  }
  EXPECT_EQ(PlanRow({.op = OpKind::kLinear, .act = DType::kBF16, .m = 3, .n = 16, .k = 36}, limits), nullptr);
  EXPECT_NE(PlanRow({.op = OpKind::kLinear, .act = DType::kF32, .m = 3, .n = 16, .k = 36}, limits), nullptr);
  EXPECT_NE(PlanRow({.op = OpKind::kAddPosition, .act = DType::kBF16, .m = 3, .n = 16}, limits), nullptr);
}

TEST(Plan, WindowsBoundSplitsAndBytes) {
  Limits limits;
  limits.multiprocessors = 132;
  const AttentionShape heads = {8, 2, 64, 0.125f};
  const Case all{.op = OpKind::kAttention, .m = 1, .attention = heads, .decode = true, .tokens = 4096};
  Case window = all;
  window.window = 128;
  EXPECT_EQ(AttentionSplits(window, limits), 2);
  EXPECT_GT(AttentionSplits(all, limits), 2);
  const Row& row = *PlanRow(window, limits);
  const double q_and_y = 2.0 * 8 * 64 * 4;
  EXPECT_DOUBLE_EQ(row.bytes(all), 2.0 * 4096 * 2 * 64 * 4 + q_and_y);
  EXPECT_DOUBLE_EQ(row.bytes(window), 2.0 * 128 * 2 * 64 * 4 + q_and_y);
  window.decode = false;
  window.m = 10;  // ten neighbouring rows see nine positions more
  EXPECT_DOUBLE_EQ(row.bytes(window), 2.0 * 137 * 2 * 64 * 4 + 10 * q_and_y);
}

}  // namespace
}  // namespace unimax
