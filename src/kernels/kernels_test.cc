// SPDX-License-Identifier: Apache-2.0
// Every row of the table on the emulator, at both lane widths, against the reference.
#include <gtest/gtest.h>

#include <cstdio>

#include "device/emulator.h"
#include "kernels/check.h"

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
    EXPECT_GT(cases, 0) << row.kernel << " has no case that it takes";
    checked += cases;
  }
  std::printf("lanes %d seed %llu: %d cases of %zu rows\n", options.lanes,
              static_cast<unsigned long long>(options.seed), checked, GpuRows().size());
}

TEST(Table, EveryRowAt32Lanes) { WalkTable({.lanes = 32, .seed = 1, .check_races = false}); }
TEST(Table, EveryRowAt64Lanes) { WalkTable({.lanes = 64, .seed = 1, .check_races = false}); }
TEST(Table, NoRacesAt32Lanes) { WalkTable({.lanes = 32, .seed = 2, .check_races = true}); }
TEST(Table, NoRacesAt64Lanes) { WalkTable({.lanes = 64, .seed = 3, .check_races = true}); }

TEST(Plan, EveryRowIsReachable) {
  Limits limits;
  limits.multiprocessors = 132;
  limits.shared_bytes_per_block = 227 * 1024;
  for (const Row& row : GpuRows()) {
    limits.target = row.target != nullptr ? row.target : "";
    bool reached = false;
    for (const Case& c : row.cases) {
      Case own = c;
      own.op = row.op;
      own.act = row.act;
      reached = reached || PlanRow(own, limits) == &row;
    }
    EXPECT_TRUE(reached) << row.kernel << " is never chosen";
  }
}

}  // namespace
}  // namespace unimax
