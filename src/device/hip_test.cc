// SPDX-License-Identifier: Apache-2.0
// How an AMD GPU's target is known.
#include <gtest/gtest.h>

#include "device/hip_driver.h"
#include "device/hip_targets.h"

namespace unimax {
namespace {

TEST(HipCandidatesTest, Table) {
  using Names = std::vector<std::string_view>;
  const Names all = {"sm_90a", "gfx90a", "gfx942", "gfx942", "gfx940", "gfx1100", "gfx1101", "gfx", "gfxx42"};
  EXPECT_EQ(HipCandidates(9, 4, all), (Names{"gfx942", "gfx940"}));
  EXPECT_EQ(HipCandidates(9, 0, all), (Names{"gfx90a"}));
  EXPECT_EQ(HipCandidates(11, 0, all), (Names{"gfx1100", "gfx1101"}));
  EXPECT_EQ(HipCandidates(12, 0, all), Names{});
}

TEST(HipArchitectureTest, IsFoundWhereverItLies) {
  std::string properties(1472, '\0');
  EXPECT_EQ(HipArchitecture(properties), "");
  properties.replace(0, 23, "AMD gfx1100 engineering");
  EXPECT_EQ(HipArchitecture(properties), "");
  properties.replace(0, 23, std::string("gfx1100") + std::string(16, '\0'));
  for (const size_t at : {396, 1160, 1465}) {
    for (const char before : {'\0', '\xff'}) {
      std::string with = properties;
      with[at - 1] = before;
      with.replace(at, 7, "gfx90a:");
      EXPECT_EQ(HipArchitecture(with), "gfx90a:") << at;
    }
  }
  EXPECT_EQ(HipArchitecture(std::string_view("xgfx942")), "");
  EXPECT_EQ(HipArchitecture(std::string_view("gfx")), "");
  EXPECT_EQ(HipTargetName("gfx90a:sramecc+:xnack-"), "gfx90a");
  EXPECT_EQ(HipTargetName("gfx1100"), "gfx1100");
}

}  // namespace
}  // namespace unimax
