// SPDX-License-Identifier: Apache-2.0
// The functions that device code computes by itself, against double, over every float where that takes seconds. All
// of them but Exp2 are made of operations that IEEE 754 rounds exactly, so the host finds what the device does. Built
// with 64 lanes: the port's Exp is then the one of AMD GPUs.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdio>
#include <string_view>

#include "kernels/gpu/activation.h"
#include "kernels/reference.h"

namespace unimax::UM_PORT_NAMESPACE {
namespace {

constexpr bool kSlow = std::string_view(UM_SANITIZERS) != "";
constexpr uint32_t kPrime = 1021;  // stride of what need not, or under sanitizers cannot, be visited whole

// Units in the last place of the f32 nearest to `want`, whose subnormals have the unit of the smallest normal number.
double Ulps(float got, double want) {
  if (std::isnan(want)) return std::isnan(got) ? 0 : INFINITY;
  const int exponent = std::max(std::ilogb(static_cast<float>(want)), -126);
  return std::abs(got - want) * std::ldexp(1.0, 23 - exponent);
}

struct Worst {
  double ulps = 0;
  float at = 0;
  uint64_t count = 0;
  void See(float x, double ulp) {
    ++count;
    if (ulp <= ulps) return;
    ulps = ulp;
    at = x;
  }
};

// Visits the floats from `low` to `high` (of one sign, by magnitude), each or one in `stride`.
template <class Function, class Truth>
void Visit(float low, float high, uint32_t stride, Function function, Truth truth, Worst* worst) {
  const uint32_t end = std::bit_cast<uint32_t>(high);
  if (kSlow) stride *= kPrime;
  for (uint32_t bits = std::bit_cast<uint32_t>(low); bits <= end; bits += stride) {
    const float x = std::bit_cast<float>(bits);
    worst->See(x, Ulps(function(x), truth(static_cast<double>(x))));
  }
}

void Report(const char* what, const Worst& worst, double most) {
  std::printf("%-5s worst %.3f ulp at %.9g (%a) of %llu floats, %s\n", what, worst.ulps, static_cast<double>(worst.at),
              static_cast<double>(worst.at), static_cast<unsigned long long>(worst.count),
              worst.ulps <= most ? "PASS" : "FAIL");
  EXPECT_LE(worst.ulps, most) << what << " at " << worst.at;
  EXPECT_GT(worst.count, kSlow ? 50u : 1000u);
}

// All of softmax's range: no argument is above 0.
TEST(PortMath, Exp) {
  Worst worst;
  const auto truth = [](double x) { return std::exp(x); };
  const auto exact = [](float x) { return ExpExact(x); };
  Visit(-0x1p-2f, -87.3f, 1, exact, truth, &worst);
  Visit(-0.0f, -0x1p-2f, kPrime, exact, truth, &worst);
  Visit(0.0f, 88.72f, kPrime, exact, truth, &worst);
  Report("exp", worst, 1.25);
  Worst port;
  Visit(
      -0.0f, -87.3f, kPrime, [](float x) { return Exp(x); }, truth, &port);
  Report("Exp", port, 2);
  EXPECT_EQ(Exp(-87.5f), 0.0f);
  EXPECT_EQ(Exp(-Infinity()), 0.0f);
  EXPECT_EQ(Exp(Infinity()), Infinity());
  EXPECT_EQ(ExpExact(88.79f), Infinity());
  EXPECT_EQ(Exp(0.0f), 1.0f);
  EXPECT_TRUE(std::isnan(ExpExact(NAN)));
}

// With the low parts of argument and factor.
TEST(PortMath, ExpTimes) {
  Worst worst;
  uint32_t random = 1;
  const auto low = [&random](float x) {
    random = random * 1664525u + 1013904223u;
    return x * 0x1p-25f * (static_cast<float>(static_cast<int32_t>(random)) * 0x1p-31f);
  };
  for (uint32_t bits = std::bit_cast<uint32_t>(-0x1p-6f); bits < std::bit_cast<uint32_t>(-80.0f); bits += 101) {
    const float x = std::bit_cast<float>(bits), x_low = low(x);
    const float y = 1.0f + static_cast<float>(bits % 65521) * 0x1p-17f, y_low = low(y);
    const double want = std::exp(static_cast<double>(x) + x_low) * (static_cast<double>(y) + y_low);
    worst.See(x, Ulps(ExpTimes(x, x_low, y, y_low), want));
  }
  Report("exp*y", worst, 1.25);
}

TEST(PortMath, Tanh) {
  Worst worst;
  const auto own = [](float x) { return Tanh(x); };
  const auto truth = [](double x) { return std::tanh(x); };
  Visit(0x1p-2f, 10.0f, 1, own, truth, &worst);
  Visit(-0x1p-2f, -10.0f, kPrime, own, truth, &worst);
  Visit(0.0f, 0x1p-2f, kPrime, own, truth, &worst);
  Visit(10.0f, 1e38f, kPrime, own, truth, &worst);
  Report("tanh", worst, 2);
  EXPECT_EQ(Tanh(Infinity()), 1.0f);
  EXPECT_EQ(Tanh(-Infinity()), -1.0f);
  EXPECT_TRUE(std::isnan(Tanh(NAN)));
}

// erf is used as the distribution of the normal, in whose lower tail 1 + erf would cancel.
TEST(PortMath, Phi) {
  Worst worst;
  const auto own = [](float x) { return Phi(x); };
  const auto truth = [](double x) { return 0.5 * std::erfc(-x * 0.70710678118654752440); };
  Visit(-0x1p-2f, -13.0f, 1, own, truth, &worst);
  Visit(0x1p-2f, 13.0f, 61, own, truth, &worst);
  Visit(0.0f, 0x1p-2f, kPrime, own, truth, &worst);
  Visit(-0.0f, -0x1p-2f, kPrime, own, truth, &worst);
  Visit(13.0f, 1e38f, kPrime, own, truth, &worst);
  Report("phi", worst, 2);
  EXPECT_EQ(Phi(Infinity()), 1.0f);
  EXPECT_EQ(Phi(-Infinity()), 0.0f);
  Worst gelu;
  Visit(
      -0x1p-3f, -13.0f, kPrime, [](float x) { return Gelu(x); }, [&](double x) { return x * truth(x); }, &gelu);
  Report("gelu", gelu, 3);  // one product more
  EXPECT_TRUE(std::isnan(Gelu(NAN)));
}

// Sines and cosines come from a table that the host computes in double: position times frequency, then the library's
// reduction. Against 64 bits, at positions up to 10^6, where the product itself has lost 20 bits.
TEST(PortMath, RotaryTable) {
  constexpr int kPositions = 1'000'001, kStride = kSlow ? 997 : 3;
  Worst sine, cosine;
  double absolute = 0;
  for (const double theta : {1e4, 1e6}) {
    for (const int pair : {0, 1, 7, 31}) {
      const double f = std::pow(theta, -2.0 * pair / 64);
      const std::vector<float> table = CosSinTable({f}, 1.0, kPositions);
      for (int position = 0; position < kPositions; position += kStride) {
        const long double angle = static_cast<long double>(position) * f;
        const auto at = static_cast<size_t>(position) * 2;
        const auto cos = static_cast<double>(cosl(angle)), sin = static_cast<double>(sinl(angle));
        cosine.See(static_cast<float>(position), Ulps(table[at], cos));
        sine.See(static_cast<float>(position), position == 0 ? 0 : Ulps(table[at + 1], sin));
        absolute = std::max({absolute, std::abs(table[at] - cos), std::abs(table[at + 1] - sin)});
      }
    }
  }
  std::printf("sin, cos: largest error %.3g\n", absolute);
  EXPECT_LE(absolute, 0x1p-25 * 1.01);  // half a unit below 1
  Report("cos", cosine, 2);
  Report("sin", sine, 2);
}

}  // namespace
}  // namespace unimax::UM_PORT_NAMESPACE
