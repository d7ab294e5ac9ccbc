// SPDX-License-Identifier: Apache-2.0
// activation: the activation functions and the soft cap, in words that every target has.
// Who calls: the epilogue of Linear (linear_flat.h), ActMul, Attention.
// Work:      one lane a value.
// Bound:     none of its own: at most one Exp and two divisions a value.
// Launch:    the caller's. All lanes take the same branch, since act and cap are arguments of the launch.
// Reference: RefAct, RefCap.
// Source:    SiLU and GELU: Hendrycks & Gimpel 2016; soft caps: Bello et al. 2017; that (1 + kz) exp(z^2) erfc(z) is
//            nearly a constant in (z - c) / (z + c): Shepherd & Laframboise 1981. Coefficients are this project's own
//            fits (interpolation at Chebyshev nodes) against 64 bits. Errors, measured by port_math_test.cc over all
//            floats, in units of the last place: Tanh and Phi at most 2.
#pragma once

#include "base/activation.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

UM_DEVICE float Silu(float x) { return x / (1.0f + Exp(-x)); }

// The distribution of the normal, (1 + erf(x / sqrt 2)) / 2. Near 0 by the odd polynomial; else by its tail
// Phi(-z) = exp(-z^2 / 2) * F(q) / (1 + z) with q = (z - 3) / (z + 3): no cancellation on either side.
UM_DEVICE float Phi(float x) {
  const float z = Min(x < 0.0f ? -x : x, 14.0f);  // the tail is 0 from 13.3 on
  if (z < 1.15f) {
    const float s = x * x;
    float p = 0x1.188372p-21f;  // (Phi(x) - 1/2) / x = 1 / sqrt(2 pi) + s * p(s)
    p = Fma(p, s, -0x1.360ca4p-17f);
    p = Fma(p, s, 0x1.e39764p-14f);
    p = Fma(p, s, -0x1.373d6ap-10f);
    p = Fma(p, s, 0x1.46d038p-7f);
    p = Fma(p, s, -0x1.105838p-4f);
    return Fma(x, 0x1.988454p-2f, 0.5f) + x * Fma(p, s, -0x1.857936p-27f);  // the factor of x in two parts
  }
  const float q = (z - 3.0f) / (z + 3.0f);
  float f = -0x1.a3764ap-12f;
  f = Fma(f, q, -0x1.720bc8p-12f);
  f = Fma(f, q, 0x1.852c24p-9f);
  f = Fma(f, q, 0x1.30839cp-10f);
  f = Fma(f, q, -0x1.745148p-6f);
  f = Fma(f, q, 0x1.71fb5ep-5f);
  f = Fma(f, q, -0x1.0d3a8p-6f);
  f = Fma(f, q, -0x1.8b5fa4p-4f);
  // F, F / (1 + z) and z^2, each with what its rounding left behind.
  const float top = Fma(f, q, 0x1.f1b89cp-2f), top_low = Fma(f, q, 0x1.f1b89cp-2f - top);
  const float d = 1.0f + z, d_low = z - (d - 1.0f), inverse = 1.0f / d;
  const float quotient = top * inverse;
  const float quotient_low = (Fma(-quotient, d, top) + (top_low - quotient * d_low)) * inverse;
  const float square = z * z, square_low = Fma(z, z, -square);
  const float tail = ExpTimes(-0.5f * square, -0.5f * square_low, quotient, quotient_low);
  return x < 0.0f ? tail : 1.0f - tail;
}
UM_DEVICE float Gelu(float x) { return x * Phi(x); }

// x * (1 + tanh(u)) / 2 with u = sqrt(2 / pi) * (x + 0.044715 x^3), by (1 + tanh(u)) / 2 = 1 / (1 + exp(-2 u)).
UM_DEVICE float GeluTanh(float x) { return x / (1.0f + Exp(-1.5957691216f * (x + 0.044715f * x * x * x))); }

UM_DEVICE float Relu(float x) { return x < 0.0f ? 0.0f : x; }  // NaN stays

// By the odd polynomial near zero, where 1 - 2 / (exp(2 x) + 1) cancels.
UM_DEVICE float Tanh(float x) {
  const float magnitude = x < 0.0f ? -x : x, s = x * x;
  if (magnitude < 0.5625f) {
    float p = -0x1.ab9d8ap-8f;  // tanh(x) = x + x^3 * p(x^2)
    p = Fma(p, s, 0x1.5c5f62p-6f);
    p = Fma(p, s, -0x1.b99008p-5f);
    p = Fma(p, s, 0x1.110fb4p-3f);
    p = Fma(p, s, -0x1.555554p-2f);
    return Fma(x * s, p, x);
  }
  const float far = 1.0f - 2.0f / (Exp(2.0f * magnitude) + 1.0f);
  return x < 0.0f ? -far : far;
}

// v[i] = act(v[i]); one branch for all of them.
template <int kCount>
UM_DEVICE void Activate(Activation act, float (&v)[kCount]) {
  if (act == Activation::kNone) return;
  if (act == Activation::kSilu) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] = Silu(v[i]);
  } else if (act == Activation::kGelu) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] = Gelu(v[i]);
  } else if (act == Activation::kGeluTanh) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] = GeluTanh(v[i]);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] = Relu(v[i]);
  }
}

// v[i] = cap * tanh(v[i] / cap); nothing where there is no cap.
template <int kCount>
UM_DEVICE void Cap(float cap, float (&v)[kCount]) {
  if (!(cap > 0.0f)) return;
#pragma unroll
  for (int i = 0; i < kCount; ++i) v[i] = cap * Tanh(v[i] / cap);
}

}  // namespace unimax::UM_PORT_NAMESPACE
