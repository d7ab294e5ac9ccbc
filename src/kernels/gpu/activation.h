// SPDX-License-Identifier: Apache-2.0
// activation: the activation functions and the soft cap, in words that every target has.
// Who calls: the epilogue of Linear (linear_flat.h), ActMul, Attention.
// Work:      one lane a value.
// Bound:     none of its own: at most one Exp and two divisions a value.
// Launch:    the caller's. All lanes take the same branch, since act and cap are arguments of the launch.
// Reference: RefAct, RefCap.
// Source:    SiLU and GELU: Hendrycks & Gimpel 2016; soft caps: Bello et al. 2017; the form t * P(t) * exp(-z^2) of
//            erfc: Hastings 1955. Coefficients are this project's own fits (Lawson 1961) against 40 digits.
//            Errors, over 400,000 floats in [-12, 12] with an Exp of 1 ulp, relative to the value:
//            Gelu 4.4e-7 above -1, 1.2e-6 down to -6; Tanh 2.5e-7.
#pragma once

#include "base/activation.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

UM_DEVICE float Silu(float x) { return x / (1.0f + Exp(-x)); }

// x * Phi(x), where Phi(-|x|) = erfc(z) / 2 with z = |x| / sqrt(2): no cancellation on either side.
UM_DEVICE float Gelu(float x) {
  const float magnitude = x < 0.0f ? -x : x;
  const float t = 1.0f / (1.0f + 0.5f * 0.70710678f * magnitude);
  float p = -0.05884704738855362f;  // erfc(z) * exp(z^2) = t * p(t)
  p = p * t + 0.28348737955093384f;
  p = p * t - 0.48493635654449463f;
  p = p * t + 0.27546241879463196f;
  p = p * t - 0.024819184094667435f;
  p = p * t + 0.20191654562950134f;
  p = p * t + 0.24330022931098938f;
  p = p * t + 0.28234800696372986f;
  p = p * t + 0.2820879817008972f;
  const float tail = 0.5f * (p * t) * Exp(-0.5f * x * x);
  return x * (x < 0.0f ? tail : 1.0f - tail);
}

// x * (1 + tanh(u)) / 2 with u = sqrt(2 / pi) * (x + 0.044715 x^3), by (1 + tanh(u)) / 2 = 1 / (1 + exp(-2 u)).
UM_DEVICE float GeluTanh(float x) { return x / (1.0f + Exp(-1.5957691216f * (x + 0.044715f * x * x * x))); }

UM_DEVICE float Relu(float x) { return x < 0.0f ? 0.0f : x; }  // NaN stays

// By the odd polynomial near zero, where 1 - exp(-2 x) cancels.
UM_DEVICE float Tanh(float x) {
  const float magnitude = x < 0.0f ? -x : x, square = x * x;
  const float e = Exp(-2.0f * magnitude);
  const float far = (1.0f - e) / (1.0f + e);
  float p = 0.01724149100482464f;  // tanh(x) = x + x^3 * p(x^2)
  p = p * square - 0.05304549261927605f;
  p = p * square + 0.13325878977775574f;
  p = p * square - 0.333331435918808f;
  return magnitude < 0.5f ? x + x * (square * p) : x < 0.0f ? -far : far;
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
