// SPDX-License-Identifier: Apache-2.0
// linear_wgmma on the emulator: clusters whose blocks copy to each other, copies that come late and in any order.

#include "kernels/nvidia/linear_wgmma.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "device/emulator_entry.h"
#include "kernels/check.h"

namespace unimax {
namespace {

constexpr EmulatorEntry kEntries[] = {
    {"linear_wgmma_bf16", sizeof(MappedLinearArgs), 384,
     [](const void* args) { emulator32::LinearWgmma<emulator32::bf16>(*static_cast<const MappedLinearArgs*>(args)); },
     emulator32::WgmmaShape::kCluster}};

constexpr bool kSlow = sizeof(UM_SANITIZERS) > 1;  // then small cases are enough

// The kernel multiplies strips beyond N and rows beyond M, which nobody has fetched, and stores none of it: where races
// are looked for, there are none such.
constexpr Case kWholeClusters[] = {
    {.m = 130, .n = 256, .k = 264},
    {.m = 400, .n = 512, .k = 520, .residual = true, .scale = 0.25f},
    {.m = 200, .n = 256, .k = 2056, .flags = kLinearWide, .residual = true},  // parts along K
    {.m = 400, .n = 512, .k = 96, .flags = kLinearActMul, .activation = Activation::kSilu},
};

const Row& WgmmaRow() {
  return *std::ranges::find_if(GpuRows(),
                               [](const Row& row) { return row.kernel == std::string_view(kEntries[0].name); });
}

// Those of some cases that take no longer than a second.
void Walk(const EmulatorOptions& options, std::span<const Case> cases) {
  const auto device = OpenEmulatorWith(options, kEntries);
  ASSERT_TRUE(device.ok()) << device.status().text();
  int compared = 0;
  for (const Case& own : cases) {
    const Case c = OwnCase(WgmmaRow(), own);
    if (int64_t{c.m} * c.n * c.k > (kSlow ? 10'000'000 : 150'000'000)) continue;
    const Result<CheckResult> result = CheckRow(**device, WgmmaRow(), c, 11 + options.seed, 0);
    ASSERT_TRUE(result.ok()) << CaseName(WgmmaRow(), c) << ": " << result.status().text();
    EXPECT_LE(result->error, static_cast<double>(WgmmaRow().tolerance)) << CaseName(WgmmaRow(), c);
    EXPECT_GT(result->norm, 0.0);
    ++compared;
  }
  fmt::print("{} cases, order {}\n", compared, options.seed);
  EXPECT_GT(compared, kSlow ? 0 : 3);
}

TEST(Wgmma, RacesNowhere) { Walk({.seed = 1, .check_races = true}, kWholeClusters); }
TEST(Wgmma, EqualsTheReferenceInAnyOrder) {
  for (uint64_t seed : {0, 1, 2}) Walk({.seed = seed}, WgmmaRow().cases);
}

}  // namespace
}  // namespace unimax
