// SPDX-License-Identifier: Apache-2.0
// The exponential in words that every port has: only operations that IEEE 754 rounds exactly, so that what a test
// finds on the host (port_math_test.cc) holds on every device. Included by the ports, after Fma, Rint and Scale.
// Coefficients are this project's own fit against 64 bits (interpolation at Chebyshev nodes).
#pragma once

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr float kExpLow = -87.3f;  // below, the result would be subnormal: 0
inline constexpr float kExpHigh = 88.8f;  // above, infinity
inline constexpr float kLog2E = 0x1.715476p+0f;

// exp(x) = 2^n * exp(r) with n = round(x / ln 2), |r| <= ln 2 / 2. ln 2 is taken in two parts: n times the first is
// exact, for it has 15 bits.
UM_DEVICE float ExpRest(float x, float n) { return Fma(n, -0x1.7f7d1cp-20f, Fma(n, -0x1.62e400p-1f, x)); }
UM_DEVICE float ExpPolynomial(float r) {  // q(r) of exp(r) = 1 + r + r^2 * q(r)
  float q = 0x1.6d117cp-10f;
  q = Fma(q, r, 0x1.120be2p-7f);
  q = Fma(q, r, 0x1.555518p-5f);
  q = Fma(q, r, 0x1.5554dcp-3f);
  return Fma(q, r, 0.5f);
}

// exp(x) within 1.25 ulp.
UM_DEVICE float ExpExact(float x) {
  if (x < kExpLow) return 0.0f;
  if (x > kExpHigh) return Infinity();
  const float n = Rint(x * kLog2E), r = ExpRest(x, n);
  return Scale(1.0f + Fma(r * r, ExpPolynomial(r), r), n);
}
// exp(x + x_low) * (y + y_low) within 1.25 ulp; the low parts are what the rounding of x and y left behind. x <= 0.
UM_DEVICE float ExpTimes(float x, float x_low, float y, float y_low) {
  if (x < kExpLow) return 0.0f;
  const float n = Rint(x * kLog2E), r = ExpRest(x, n);
  const float e = 1.0f + r, rest = Fma(r * r, ExpPolynomial(r), r - (e - 1.0f));
  const float e_low = Fma(e + rest, x_low, rest);
  return Scale(Fma(y, e, Fma(y, e_low, y_low * e)), n);
}

}  // namespace unimax::UM_PORT_NAMESPACE
