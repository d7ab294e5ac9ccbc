// SPDX-License-Identifier: Apache-2.0
// attention_wgmma on the emulator, whose copies come late and in any order.

#include "kernels/nvidia/attention_wgmma.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "device/emulator_entry.h"
#include "kernels/check.h"

namespace unimax {
namespace {

constexpr EmulatorEntry kEntries[] = {{"attention_wgmma_bf16", sizeof(MappedAttentionArgs), 384, [](const void* args) {
                                         emulator32::AttentionWgmma<emulator32::bf16>(
                                             *static_cast<const MappedAttentionArgs*>(args));
                                       }}};

constexpr bool kSlow = sizeof(UM_SANITIZERS) > 1;  // then one order is enough

// Both warpgroups make the same values behind the last position zero: where races are looked for, there are none such.
constexpr Case kWholeTiles[] = {{.m = 128, .attention = {2, 1, 128, 0.1f}, .tokens = 128},
                                {.m = 128, .attention = {4, 2, 128, 0.1f}, .tokens = 256},
                                {.m = 128, .attention = {2, 2, 128, 0.1f}, .tokens = 384, .cap = 5}};

const Row& WgmmaRow() {
  return *std::ranges::find_if(GpuRows(), [](const Row& r) { return r.kernel == std::string_view(kEntries[0].name); });
}

void Walk(const EmulatorOptions& options, std::span<const Case> cases) {
  const Row& row = WgmmaRow();
  const auto device = OpenEmulatorWith(options, kEntries);
  ASSERT_TRUE(device.ok()) << device.status().text();
  int compared = 0;
  for (const Case& own : cases) {
    const Case c = OwnCase(row, own);
    if (!row.fits(c, (*device)->limits()) || int64_t{c.m} * c.attention.heads * c.tokens > 1'000'000) continue;
    const Result<CheckResult> result = CheckRow(**device, row, c, 11 + options.seed, 0);
    ASSERT_TRUE(result.ok()) << CaseName(row, c) << ": " << result.status().text();
    EXPECT_LE(result->error, static_cast<double>(row.tolerance)) << CaseName(row, c);
    EXPECT_GT(result->norm, 0.0);
    ++compared;
  }
  fmt::print("{} cases, order {}\n", compared, options.seed);
  EXPECT_GT(compared, 2);
}

TEST(AttentionWgmma, RacesNowhere) { Walk({.seed = 1, .check_races = true}, kWholeTiles); }
TEST(AttentionWgmma, EqualsTheReferenceInAnyOrder) {
  const auto seeds = kSlow ? std::vector<uint64_t>{1} : std::vector<uint64_t>{0, 1, 2};
  for (uint64_t seed : seeds) Walk({.seed = seed}, WgmmaRow().cases);
}

}  // namespace
}  // namespace unimax
