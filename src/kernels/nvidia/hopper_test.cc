// SPDX-License-Identifier: Apache-2.0
// Kernels for Hopper on the emulator, whose copies and words for other blocks come late and in any order.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "device/emulator_entry.h"
#include "kernels/check.h"
#include "kernels/nvidia/attention_fixed.h"
#include "kernels/nvidia/attention_ring.h"
#include "kernels/nvidia/linear_wflat.h"

namespace unimax {
namespace {

using emulator32::bf16;
template <class Args, void (*kBody)(const Args&)>
constexpr EmulatorEntry Entry(const char* name, int threads) {
  return {name, sizeof(Args), threads, [](const void* args) { kBody(*static_cast<const Args*>(args)); }};
}
constexpr EmulatorEntry kEntries[] = {
    Entry<LinearArgs, emulator32::LinearWflat<bf16, 16>>("linear_wflat_bf16_16", kChainThreads),
    Entry<LinearArgs, emulator32::LinearWflat<bf16, 32>>("linear_wflat_bf16_32", kChainThreads),
    Entry<LinearArgs, emulator32::LinearWflat<bf16, 64>>("linear_wflat_bf16_64", kChainThreads),
    Entry<AttentionArgs, emulator32::AttentionRing<bf16, 64>>("attention_ring_bf16_64", emulator32::kRingAll),
    Entry<AttentionArgs, emulator32::AttentionRing<bf16, 128>>("attention_ring_bf16_128", emulator32::kRingAll),
    Entry<AttentionArgs, emulator32::AttentionFixed<bf16, 64>>("attention_fixed_bf16_64", emulator32::kRingAll),
    Entry<AttentionArgs, emulator32::AttentionFixed<bf16, 128>>("attention_fixed_bf16_128", emulator32::kRingAll)};

constexpr bool kSlow = sizeof(UM_SANITIZERS) > 1;  // then a few small cases are enough

// The number of cases that were compared.
int Walk(const EmulatorOptions& options, bool attention) {
  int cases = 0;
  const auto device = OpenEmulatorWith(options, kEntries);
  EXPECT_TRUE(device.ok()) << device.status().text();
  if (!device.ok()) return 0;
  for (const Row& row : GpuRows()) {
    if (!(*device)->FindKernel(row.kernel).ok() || (row.op == OpKind::kAttention && !attention)) continue;
    for (const Case& own : row.cases) {
      const Case c = OwnCase(row, own);
      const int64_t size = std::max(int64_t{c.m} * c.n * c.k / 400, int64_t{c.m} * c.attention.heads * c.tokens);
      const bool long_one = size > (kSlow ? 4000 : 60000);
      if (!row.fits(c, (*device)->limits()) || long_one) continue;
      const Result<CheckResult> result = CheckRow(**device, row, c, 11 + options.seed, 0);
      EXPECT_TRUE(result.ok()) << row.kernel << " " << CaseName(row, c) << ": " << result.status().text();
      if (!result.ok()) return 0;
      EXPECT_LE(result->error, static_cast<double>(row.tolerance)) << row.kernel << " " << CaseName(row, c);
      EXPECT_GT(result->norm, 0.0);
      ++cases;
    }
  }
  fmt::print("{} cases\n", cases);
  return cases;
}

TEST(HopperRows, EqualTheReferenceInAnyOrder) {
  int cases = 0;
  for (uint64_t seed : kSlow ? std::vector<uint64_t>{1} : std::vector<uint64_t>{0, 1}) {
    cases += Walk({.seed = seed}, true);
  }
  EXPECT_GT(cases, kSlow ? 8 : 60);
}

// Attention is left out: its readers take keys that nobody wrote, and mask what comes of them.
TEST(HopperRows, RaceNowhere) { EXPECT_GT(Walk({.seed = 1, .check_races = true}, false), kSlow ? 4 : 12); }

}  // namespace
}  // namespace unimax
