// SPDX-License-Identifier: Apache-2.0
#include "models/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace unimax {
namespace {

constexpr double kTurn = 2 * std::numbers::pi;

// Long wavelengths are stretched by `factor`, short ones stay, those between are blended.
double Llama3Frequency(double f, const RopeConfig& r) {
  const double turns = r.original_context * f / kTurn;  // turns within the original context
  if (turns < r.low_freq_factor) return f / r.factor;
  if (turns > r.high_freq_factor) return f;
  const double smooth = (turns - r.low_freq_factor) / (r.high_freq_factor - r.low_freq_factor);
  return (1 - smooth) * f / r.factor + smooth * f;
}

// The (fractional) pair whose angle makes `turns` turns within the original context.
double YarnPair(double turns, const RopeConfig& r) {
  return r.rotary * std::log(r.original_context / (turns * kTurn)) / (2 * std::log(r.theta));
}

// The frequency of pair i before its divisor; `low` and `high` bound the ramp of yarn.
double Frequency(int i, const RopeConfig& r, double low, double high) {
  const double f = std::pow(r.theta, -2.0 * i / r.rotary);
  switch (r.kind) {
    case RopeKind::kDefault:
    case RopeKind::kLong:
      return f;
    case RopeKind::kLinear:
      return f / r.factor;
    case RopeKind::kLlama3:
      return Llama3Frequency(f, r);
    case RopeKind::kYarn: {
      const double ramp = std::clamp((i - low) / (high - low), 0.0, 1.0);  // 0: keep, 1: stretch
      return f * (1 - ramp) + f / r.factor * ramp;
    }
  }
  return f;
}

}  // namespace

Rope MakeRope(const RopeConfig& r) {
  Rope rope;
  rope.interleaved = r.interleaved;
  double low = 0, high = 0;
  if (r.kind == RopeKind::kYarn) {
    low = std::max(std::floor(YarnPair(r.beta_fast, r)), 0.0);
    high = std::min(std::ceil(YarnPair(r.beta_slow, r)), r.rotary - 1.0);
    if (high == low) high += 0.001;  // keeps the ramp finite
    rope.magnitude = r.attention_factor > 0 ? r.attention_factor : 0.1 * std::log(r.factor) + 1.0;
  }
  if (r.kind == RopeKind::kLong) {
    const double stretch = r.factor > 1 ? std::sqrt(1.0 + std::log(r.factor) / std::log(r.original_context)) : 1.0;
    rope.magnitude = r.attention_factor > 0 ? r.attention_factor : stretch;
  }
  for (int i = 0; i < r.rotary / 2; ++i) {
    const auto pair = static_cast<size_t>(i);
    const double f = Frequency(i, r, low, high);
    rope.inv_freq.push_back(r.divisors.empty() ? f : f / static_cast<double>(r.divisors[pair]));
    if (!r.long_divisors.empty()) rope.long_inv_freq.push_back(f / static_cast<double>(r.long_divisors[pair]));
  }
  return rope;
}

std::vector<Rope> MakeRopes(const ModelConfig& config) {
  std::vector<Rope> ropes = {MakeRope(config.rope)};
  if (config.window_rope) ropes.push_back(MakeRope(*config.window_rope));
  return ropes;
}

}  // namespace unimax
