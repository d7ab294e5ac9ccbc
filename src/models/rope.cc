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
double YarnPair(double turns, const RopeConfig& r, int head_dim) {
  return head_dim * std::log(r.original_context / (turns * kTurn)) / (2 * std::log(r.theta));
}

}  // namespace

Rope MakeRope(const ModelConfig& config) {
  const RopeConfig& r = config.rope;
  const int half = config.head_dim / 2;
  Rope rope;
  rope.interleaved = r.interleaved;
  double low = 0, high = 0;
  if (r.kind == RopeKind::kYarn) {
    low = std::max(std::floor(YarnPair(r.beta_fast, r, config.head_dim)), 0.0);
    high = std::min(std::ceil(YarnPair(r.beta_slow, r, config.head_dim)), config.head_dim - 1.0);
    if (high == low) high += 0.001;  // keeps the ramp finite
    rope.magnitude = r.attention_factor > 0 ? r.attention_factor : 0.1 * std::log(r.factor) + 1.0;
  }
  for (int i = 0; i < half; ++i) {
    double f = std::pow(r.theta, -2.0 * i / config.head_dim);
    if (!r.divisors.empty()) f /= r.divisors[static_cast<size_t>(i)];
    switch (r.kind) {
      case RopeKind::kDefault:
        break;
      case RopeKind::kLinear:
        f /= r.factor;
        break;
      case RopeKind::kLlama3:
        f = Llama3Frequency(f, r);
        break;
      case RopeKind::kYarn: {
        const double ramp = std::clamp((i - low) / (high - low), 0.0, 1.0);  // 0: keep, 1: stretch
        f = f * (1 - ramp) + f / r.factor * ramp;
        break;
      }
    }
    rope.inv_freq.push_back(f);
  }
  return rope;
}

}  // namespace unimax
