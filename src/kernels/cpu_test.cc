// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/reference.h"
#include "kernels/table_cpu.h"

namespace unimax {
namespace {

class CpuTable : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!Supported(GetParam())) GTEST_SKIP() << IsaName(GetParam()) << " is not on this machine";
  }
};

TEST_P(CpuTable, EveryRowMeetsItsReference) {
  const CpuKernels& kernels = KernelsFor(GetParam());
  for (const CpuRow& row : CpuRows()) {
    for (const CpuCase& c : row.cases) {
      const CpuCheck check = row.check(kernels, row, c, 1234);
      fmt::print("{:<7} {:<66} error {:.1e} of {:.1e} (rough {:.1e})\n", IsaName(GetParam()), CpuCaseName(row, c),
                 check.error, check.norm, check.rough);
      EXPECT_GT(check.norm, 0.0) << CpuCaseName(row, c);
      EXPECT_LE(check.error, static_cast<double>(row.tolerance)) << CpuCaseName(row, c);
      EXPECT_LE(check.rough, static_cast<double>(row.rough_tolerance)) << CpuCaseName(row, c);
    }
  }
}

// A row's result must not depend on what else is in the batch.
TEST_P(CpuTable, LinearRowsHaveTheSameBitsInEveryBatch) {
  const CpuKernels& kernels = KernelsFor(GetParam());
  constexpr int kRows = 13, kOut = 16, kIn = 64;
  std::vector<float> x(kRows * kIn), together(kRows * kOut), alone(kOut);
  std::vector<std::byte> weights(static_cast<size_t>(kOut) * kIn * 4), quantized(kRows * QuantizedStride(kIn));
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i) * 0.7f);
  // Small bytes: as f16 scales, as floats and as integers they are all finite.
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<std::byte>(i * 37 % 59);
  kernels.quantize({x.data(), quantized.data(), kRows, kIn, kIn}, 0, 1);
  for (int form = 0; form < kWeightForms; ++form) {
    const bool packed = IsPacked(static_cast<WeightForm>(form));
    const void* input = packed ? static_cast<const void*>(quantized.data()) : x.data();
    kernels.linear[form]({input, weights.data(), nullptr, nullptr, together.data(), kRows, kOut, kIn, kIn, kOut}, 0, 1);
    for (int t = 0; t < kRows; ++t) {
      input = packed ? static_cast<const void*>(quantized.data() + t * QuantizedStride(kIn)) : x.data() + t * kIn;
      kernels.linear[form]({input, weights.data(), nullptr, nullptr, alone.data(), 1, kOut, kIn, kIn, kOut}, 0, 1);
      EXPECT_EQ(std::memcmp(alone.data(), together.data() + t * kOut, sizeof(float) * kOut), 0)
          << kWeightFormNames[form] << " row " << t;
    }
  }
}

TEST_P(CpuTable, ANumberThatIsNotFiniteReachesTheOutput) {
  const CpuKernels& kernels = KernelsFor(GetParam());
  std::vector<float> x(64, 1.0f), y(16);
  std::vector<std::byte> quantized(static_cast<size_t>(QuantizedStride(64)));
  const std::vector<std::byte> weights(static_cast<size_t>(16) * 64 * 4, std::byte{0x11});
  for (float bad : {INFINITY, -INFINITY, NAN}) {
    x[40] = bad;
    kernels.quantize({x.data(), quantized.data(), 1, 64, 64}, 0, 1);
    const int form = static_cast<int>(WeightForm::kI4Min);
    kernels.linear[form]({quantized.data(), weights.data(), nullptr, nullptr, y.data(), 1, 16, 64, 64, 16}, 0, 1);
    EXPECT_TRUE(std::isnan(y[0])) << bad;
  }
}

// The errors that cpu/activate.h states.
TEST_P(CpuTable, ActivationsKeepTheirStatedError) {
  const CpuKernels& kernels = KernelsFor(GetParam());
  constexpr int kCount = 1 << 16;
  std::vector<float> x(kCount), y(kCount);
  for (int i = 0; i < kCount; ++i) x[static_cast<size_t>(i)] = -30.0f + 60.0f * static_cast<float>(i) / kCount;
  const auto worst = [&](auto&& reference) {
    double error = 0;
    for (size_t i = 0; i < x.size(); ++i) error = std::max(error, std::fabs(y[i] - reference(double{x[i]})));
    return error;
  };
  for (Activation act : {Activation::kGelu, Activation::kGeluTanh}) {
    kernels.act_mul({x.data(), nullptr, y.data(), 1, kCount, kCount, act}, 0, 1);
    const double error = worst([&](double v) { return RefAct(act, v); });
    fmt::print("{} {}: largest error {:.1e}\n", IsaName(GetParam()), ActivationName(act), error);
    EXPECT_LE(error, 5e-7);
  }
  const float one = 1.0f;
  LinearArgs args = {&one, x.data(), nullptr, nullptr, y.data(), 1, kCount, 1, 1, kCount};
  args.cap = 1.0f;
  kernels.linear[static_cast<int>(WeightForm::kF32)](args, 0, 1);
  EXPECT_LE(worst([](double v) { return RefCap(v, 1.0); }), 2e-7);
}

INSTANTIATE_TEST_SUITE_P(Isas, CpuTable, testing::ValuesIn(kIsas),
                         [](const auto& isa) { return std::string(IsaName(isa.param)); });

TEST(CpuIsa, NamesGoBothWays) {
  for (Isa isa : kIsas) EXPECT_EQ(IsaNamed(IsaName(isa)), isa);
  EXPECT_EQ(IsaNamed("avx1024"), std::nullopt);
  EXPECT_TRUE(Supported(BestIsa()));
}

}  // namespace
}  // namespace unimax
