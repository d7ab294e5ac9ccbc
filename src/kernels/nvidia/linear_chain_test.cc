// SPDX-License-Identifier: Apache-2.0
// linear_chain on the emulator, whose copies and words for other blocks come late and in any order.
#include "kernels/nvidia/linear_chain.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "device/emulator_entry.h"
#include "kernels/chain.h"

namespace unimax {
namespace {

template <int kRows>
void Run(const void* args) {
  emulator32::LinearChain<emulator32::bf16, kRows>(*static_cast<const ChainArgs*>(args));
}
constexpr EmulatorEntry kEntries[] = {{"linear_chain_bf16_16", sizeof(ChainArgs), kChainThreads, &Run<16>},
                                      {"linear_chain_bf16_32", sizeof(ChainArgs), kChainThreads, &Run<32>},
                                      {"linear_chain_bf16_64", sizeof(ChainArgs), kChainThreads, &Run<64>}};

// Panels that one block has to itself, that two share and that all share; outputs that end within a panel; more stages
// a block than a ring has slots.
constexpr ChainCase kSmall[] = {
    {17, 96, 160, 64, 96, 4},         {9, 256, 128, 512, 256, 4},           {1, 512, 256, 96, 640, 4, 3, 1},
    {32, 384, 256, 96, 512, 4, 2, 1}, {45, 1536, 128, 64, 384, 4, 1, 1},    {64, 128, 640, 32, 128, 3},
    {20, 4096, 128, 64, 128, 3},      {17, 96, 160, 64, 96, 4, 0, 0, true}, {45, 384, 256, 128, 640, 4, 3, 1, true}};

TEST(Chain, EqualsTheReferenceInAnyOrder) {
  for (uint64_t seed : {0, 1, 2}) {
    const auto device = OpenEmulatorWith({.seed = seed, .check_races = seed == 1}, kEntries);
    ASSERT_TRUE(device.ok()) << device.status().text();
    for (const ChainCase& c : kSmall) {
      const Result<CheckResult> result = CheckChain(**device, c, 11 + seed, 0);
      ASSERT_TRUE(result.ok()) << ChainCaseName(c) << ": " << result.status().text();
      fmt::print("{}, order {}: error {:.1e} of norm {:.3g}\n", ChainCaseName(c), seed, result->error, result->norm);
      EXPECT_LE(result->error, static_cast<double>(kChainTolerance)) << ChainCaseName(c) << ", order " << seed;
      EXPECT_GT(result->norm, 0.0);
    }
  }
}

}  // namespace
}  // namespace unimax
