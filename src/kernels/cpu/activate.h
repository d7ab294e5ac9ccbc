// SPDX-License-Identifier: Apache-2.0
// Activation functions and caps in the words of vec.h. Absolute errors over [-30, 30], held by cpu_test: tanh 2e-7,
// GELU 5e-7 in both forms.
#pragma once

#include "base/activation.h"
#include "kernels/args.h"
#include "kernels/cpu/vec.h"

namespace unimax::UM_ISA {

inline F Tanh(F x) { return Set(1.0f) - Set(2.0f) / (Exp(x + x) + Set(1.0f)); }

// x * Phi(x) = max(x, 0) - |x| * erfc(|x| / sqrt 2) / 2, erfc by Abramowitz & Stegun 7.1.26.
inline F Gelu(F x) {
  const F a = Abs(x), z = a * Set(0.70710678f);
  const F t = Set(1.0f) / Fma(z, Set(0.3275911f), Set(1.0f));
  F q = Set(1.061405429f);
  q = Fma(q, t, Set(-1.453152027f));
  q = Fma(q, t, Set(1.421413741f));
  q = Fma(q, t, Set(-0.284496736f));
  q = Fma(q, t, Set(0.254829592f));
  return Max(Set(0.0f), x) - a * Set(0.5f) * q * t * Exp(Set(0.0f) - z * z);
}

inline F GeluTanh(F x) {
  const F inner = x * Fma(x * x, Set(0.044715f * 0.79788456f), Set(0.79788456f));
  return x * Set(0.5f) * (Set(1.0f) + Tanh(inner));
}

template <Activation kAct>
inline F Act(F x) {
  if constexpr (kAct == Activation::kSilu) return x / (Set(1.0f) + Exp(Set(0.0f) - x));
  if constexpr (kAct == Activation::kGelu) return Gelu(x);
  if constexpr (kAct == Activation::kGeluTanh) return GeluTanh(x);
  if constexpr (kAct == Activation::kRelu) return Max(Set(0.0f), x);  // this way round a NaN stays
  return x;
}

inline F ActOf(Activation act, F x) {
  switch (act) {
    case Activation::kNone:
      return x;
    case Activation::kSilu:
      return Act<Activation::kSilu>(x);
    case Activation::kGelu:
      return Gelu(x);
    case Activation::kGeluTanh:
      return GeluTanh(x);
    case Activation::kRelu:
      return Act<Activation::kRelu>(x);
  }
  return x;
}

// Whether a Linear does more than add a bias and a residual.
inline bool HasTraits(const LinearArgs& a) { return a.act != Activation::kNone || a.scale != 1.0f || a.cap > 0.0f; }

inline F Cap(F y, float cap) { return Set(cap) * Tanh(y * Set(1.0f / cap)); }

}  // namespace unimax::UM_ISA
