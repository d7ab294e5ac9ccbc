// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler_params.h"

#include <array>
#include <cmath>
#include <span>

namespace unimax {
namespace {

using Kind = SamplingStep::Kind;

constexpr Kind kVllmOrder[] = {Kind::kMask,        Kind::kBadWords,  Kind::kMinNew,   Kind::kBias,
                               Kind::kRepetition,  Kind::kFrequency, Kind::kPresence, Kind::kNoRepeatNgram,
                               Kind::kTemperature, Kind::kMinP,      Kind::kTopK,     Kind::kTopP,
                               Kind::kTypical,     Kind::kEpsilon,   Kind::kEta};
constexpr Kind kTgiOrder[] = {
    Kind::kBias,     Kind::kRepetition, Kind::kFrequencyShare, Kind::kPresence,    Kind::kNoRepeatNgram,
    Kind::kBadWords, Kind::kMinNew,     Kind::kMask,           Kind::kTemperature, Kind::kTopK,
    Kind::kTopP,     Kind::kTypical,    Kind::kMinP,           Kind::kEpsilon,     Kind::kEta};
constexpr Kind kTransformersOrder[] = {Kind::kBias,          Kind::kRepetition, Kind::kFrequency, Kind::kPresence,
                                       Kind::kNoRepeatNgram, Kind::kBadWords,   Kind::kMinNew,    Kind::kMask,
                                       Kind::kTemperature,   Kind::kTopK,       Kind::kTopP,      Kind::kMinP,
                                       Kind::kTypical,       Kind::kEpsilon,    Kind::kEta};

std::span<const Kind> OrderOf(SamplingParams::Order order) {
  if (order == SamplingParams::Order::kTgi) return kTgiOrder;
  if (order == SamplingParams::Order::kTransformers) return kTransformersOrder;
  return kVllmOrder;
}

// The step's value, and whether it does anything.
struct Setting {
  double value;
  bool active;
};

Setting Of(Kind kind, const SamplingParams& p) {
  const auto unless = [](double value, double neutral) { return Setting{value, value != neutral}; };
  const bool draws = p.temperature > 0;
  switch (kind) {
    case Kind::kMask:
      return {0, true};  // the call may bring one
    case Kind::kBadWords:
      return {0, !p.bad_words.empty()};
    case Kind::kMinNew:
      return {static_cast<double>(p.min_new), p.min_new > 0 && !p.end_ids.empty()};
    case Kind::kBias:
      return {0, !p.bias.empty()};
    case Kind::kRepetition:
      return unless(p.repetition_penalty, 1);
    case Kind::kFrequency:
    case Kind::kFrequencyShare:
    case Kind::kFrequencySigned:
      return unless(p.frequency_penalty, 0);
    case Kind::kPresence:
      return unless(p.presence_penalty, 0);
    case Kind::kNoRepeatNgram:
      return unless(p.no_repeat_ngram, 0);
    case Kind::kTemperature:
      return {p.temperature, draws && p.temperature != 1};
    case Kind::kTopK:
      return {static_cast<double>(p.top_k), draws && p.top_k > 0};
    case Kind::kTopP:
      return {p.top_p, draws && p.top_p < 1};
    case Kind::kMinP:
      return {p.min_p, draws && p.min_p > 0};
    case Kind::kTypical:
      return {p.typical_p, draws && p.typical_p < 1};
    case Kind::kEpsilon:
      return {p.epsilon_cutoff, draws && p.epsilon_cutoff > 0};
    case Kind::kEta:
      return {p.eta_cutoff, draws && p.eta_cutoff > 0};
  }
  return {0, false};
}

}  // namespace

std::vector<SamplingStep> StepsOf(const SamplingParams& params) {
  std::vector<SamplingStep> steps;
  for (const Kind kind : OrderOf(params.order)) {
    const Setting setting = Of(kind, params);
    if (setting.active) steps.push_back({kind, setting.value});
  }
  return steps;
}

Status CheckSampling(const SamplingParams& p, int vocabulary) {
  struct Range {
    const char* name;
    double value, least, most;
    bool above_least;  // the least itself is out
  };
  const Range ranges[] = {{"temperature", p.temperature, 0, 1e6, false},
                          {"top_k", static_cast<double>(p.top_k), 0, 2147483647, false},
                          {"top_p", p.top_p, 0, 1, true},
                          {"min_p", p.min_p, 0, 1, false},
                          {"typical_p", p.typical_p, 0, 1, true},
                          {"epsilon_cutoff", p.epsilon_cutoff, 0, 1, false},
                          {"eta_cutoff", p.eta_cutoff, 0, 1, false},
                          {"repetition_penalty", p.repetition_penalty, 0, 1e6, true},
                          {"frequency_penalty", p.frequency_penalty, -1e6, 1e6, false},
                          {"presence_penalty", p.presence_penalty, -1e6, 1e6, false},
                          {"no_repeat_ngram", static_cast<double>(p.no_repeat_ngram), 0, 2147483647, false},
                          {"min_new", static_cast<double>(p.min_new), 0, 2147483647, false},
                          {"top_logprobs", static_cast<double>(p.top_logprobs), 0, kMaxTopLogprobs, false}};
  for (const Range& r : ranges) {
    const bool inside = r.value >= r.least && r.value <= r.most && !(r.above_least && r.value == r.least);
    if (!inside)
      return UsageError("{} is {}, it must be {} {} and at most {}", r.name, r.value,
                        r.above_least ? "above" : "at least", r.least, r.most);
  }
  const auto known = [vocabulary](int id) { return id >= 0 && id < vocabulary; };
  for (const auto& [id, value] : p.bias) {
    if (!known(id)) return UsageError("logit_bias names id {}, the vocabulary has {}", id, vocabulary);
    if (!std::isfinite(value)) return UsageError("logit_bias of id {} is not a finite number", id);
  }
  for (const int id : p.end_ids) {
    if (!known(id)) return UsageError("end id {} is not in the vocabulary of {}", id, vocabulary);
  }
  for (const std::vector<int>& word : p.bad_words) {
    if (word.empty()) return UsageError("a bad word is empty: remove it");
    for (const int id : word) {
      if (!known(id)) return UsageError("a bad word holds id {}, the vocabulary has {}", id, vocabulary);
    }
  }
  return {};
}

}  // namespace unimax
