// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.h"

#include <algorithm>

#include "engine/philox.h"

namespace unimax {
namespace {

constexpr size_t kTopCapacity = 1024;  // ties beyond are cut, the lowest ids stay

}  // namespace

Sampler::Sampler(int vocabulary) : candidates_(vocabulary), raw_(static_cast<size_t>(vocabulary)) {
  top_.reserve(kTopCapacity);
}

Sampled Sampler::Choose(const SampleInput& input) {
  const SamplingParams& params = input.params;
  Sampled sampled;
  if (!candidates_.Load(input.logits)) {
    sampled.outcome = Sampled::kNotFinite;
    return sampled;
  }
  if (params.raw_logprobs) Raw(input.logits);
  const Candidates::Context context{params, input.history, static_cast<size_t>(input.prompt), input.mask};
  for (const SamplingStep& step : input.steps) candidates_.Apply(step, context);
  candidates_.DropRemoved();
  if (candidates_.size() == 0) {
    sampled.outcome = Sampled::kNothingLeft;
    return sampled;
  }
  const double uniform = PhiloxUniform(params.seed, input.history.size(), params.choice);
  const size_t chosen = params.temperature > 0 ? candidates_.Draw(uniform) : candidates_.Best();
  sampled.id = candidates_.id(chosen);
  if (params.raw_logprobs) {
    sampled.raw_logprob = RawLogprob(sampled.id);
    sampled.rank = RankOf(sampled.id);
    if (!params.top_of_processed) Top(raw_, raw_log_sum_, params.top_with_ties, params.top_logprobs, &sampled);
  }
  if (params.processed_logprobs) {
    const double log_sum = candidates_.LogSum();
    sampled.processed_logprob = std::min(0.0, candidates_.x()[chosen] - log_sum);
    if (!params.top_of_processed) return sampled;
    Top(candidates_.x(), log_sum, params.top_with_ties, params.top_logprobs, &sampled);
    for (TokenLogprob& entry : top_) entry.id = candidates_.id(static_cast<size_t>(entry.id));
  }
  return sampled;
}

Sampled Sampler::Score(std::span<const float> logits, int id, const SamplingParams& params) {
  Sampled sampled;
  sampled.id = id;
  if (!candidates_.Load(logits)) {
    sampled.outcome = Sampled::kNotFinite;
    return sampled;
  }
  Raw(logits);
  sampled.raw_logprob = RawLogprob(id);
  sampled.rank = RankOf(id);
  Top(raw_, raw_log_sum_, params.top_with_ties, params.top_logprobs, &sampled);
  return sampled;
}

// Called while the candidates still hold the model's logits.
void Sampler::Raw(std::span<const float> logits) {
  std::ranges::copy(logits, raw_.begin());
  raw_log_sum_ = candidates_.LogSum();
}

double Sampler::RawLogprob(int id) const { return std::min(0.0, raw_[static_cast<size_t>(id)] - raw_log_sum_); }

int Sampler::RankOf(int id) const {
  const double mine = raw_[static_cast<size_t>(id)];
  int above = 0;
  for (const double x : raw_) above += x > mine;
  return above + 1;
}

// The `count` largest of x with their indices as ids.
void Sampler::Top(std::span<const double> x, double log_sum, bool with_ties, int count, Sampled* sampled) {
  top_.clear();
  const size_t wanted = std::min(static_cast<size_t>(count), x.size());
  if (wanted == 0) return;
  const double least = candidates_.KthLargest(x, wanted);
  const auto add = [&](size_t i) { top_.push_back({static_cast<int>(i), std::min(0.0, x[i] - log_sum)}); };
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] > least) add(i);
  }
  const size_t most = with_ties ? kTopCapacity : wanted;
  for (size_t i = 0; i < x.size() && top_.size() < most; ++i) {
    if (x[i] == least) add(i);
  }
  std::ranges::sort(top_, [&](const TokenLogprob& a, const TokenLogprob& b) {
    const double xa = x[static_cast<size_t>(a.id)], xb = x[static_cast<size_t>(b.id)];
    return xa > xb || (xa == xb && a.id < b.id);
  });
  sampled->top = top_;
}

}  // namespace unimax
