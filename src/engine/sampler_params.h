// SPDX-License-Identifier: Apache-2.0
// How a request wants its tokens chosen. Parameters become a list of steps once; the sampler walks the list for each
// token, so the order in which a dialect applies its processors is data.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/status.h"

namespace unimax {

// One processor of the logits x. "Generated" are the new ids, "history" the prompt's and the new ones. p is the softmax
// of what the steps before left; where probabilities are equal at a cut, the lowest ids stay.
struct SamplingStep {
  enum Kind : uint8_t {
    kMask,             // only what the call's mask allows
    kBadWords,         // no id that would complete one of `bad_words`
    kMinNew,           // no end id before `value` new ones
    kBias,             // x += bias
    kRepetition,       // x < 0 ? x * value : x / value for each id of the history (arXiv 1909.05858)
    kFrequency,        // x -= value * its count in generated (OpenAI, vLLM)
    kPresence,         // x -= value if it is in generated (OpenAI, vLLM)
    kFrequencyShare,   // x -= value * its share of the history (TGI, batches)
    kFrequencySigned,  // x -= (x < 0 ? x * value : x / value) for each time in the history, but not id 0 (TGI, alone)
    kNoRepeatNgram,    // no id that would repeat an n-gram of the history, n = value
    kTemperature,      // x /= value
    kTopK,             // the `value` largest, ties with the last included
    kTopP,             // drops the least probable as long as their sum is <= 1 - value (arXiv 1904.09751)
    kMinP,             // drops p < value * the largest p (arXiv 2407.01082)
    kTypical,          // keeps those nearest to the entropy until their sum is >= value (arXiv 2202.00666)
    kEpsilon,          // drops p < value, never the best (arXiv 2210.15191)
    kEta,              // drops p < min(value, sqrt(value) * exp(-entropy)), never the best (arXiv 2210.15191)
  };
  Kind kind;
  double value = 0;
};

struct SamplingParams {
  // Whose order of processors, and whose meaning of frequency_penalty (API.md of the dialects):
  //   kVllm          mask, bad words, min_new, bias, penalties by count, temperature, min_p, top_k, top_p, typical
  //   kTgi           bias, repetition, frequency by share, mask, temperature, top_k, top_p, typical, min_p
  //   kTransformers  bias, repetition, n-gram, bad words, min_new, mask, temperature, top_k, top_p, min_p, typical
  enum class Order : uint8_t { kVllm, kTgi, kTransformers };
  Order order = Order::kVllm;

  double temperature = 1;  // 0: greedy, the largest after all processors, the lowest id of equal ones
  int top_k = 0;           // 0: off
  double top_p = 1;        // 1: off
  double min_p = 0;
  double typical_p = 1;  // 1: off
  double epsilon_cutoff = 0, eta_cutoff = 0;
  double repetition_penalty = 1;
  double frequency_penalty = 0, presence_penalty = 0;
  int no_repeat_ngram = 0;                   // 0: off
  std::vector<std::pair<int, double>> bias;  // id, what is added to its logit
  std::vector<std::vector<int>> bad_words;   // sequences of ids that must not appear
  std::vector<int> end_ids;                  // masked before min_new
  int min_new = 0;                           // tokens

  uint64_t seed = 0;    // of the draws: Philox(seed, position, choice)
  uint32_t choice = 0;  // of n or best_of

  bool raw_logprobs = false;        // log-softmax of the model's logits (OpenAI, vLLM)
  bool processed_logprobs = false;  // log-softmax after all steps (TGI)
  int top_logprobs = 0;             // so many best ids with their log-probability, at most kMaxTopLogprobs
  bool top_of_processed = false;    // of which logits
  bool top_with_ties = false;       // all that equal the last (TGI), else the lowest ids
};

constexpr int kMaxTopLogprobs = 128;

// The active processors in their order. Greedy has no step that cannot change the largest.
std::vector<SamplingStep> StepsOf(const SamplingParams& params);

// kUsage with the name of the first parameter that no dialect could mean: out of range, not finite, or an id that is
// not in the vocabulary.
Status CheckSampling(const SamplingParams& params, int vocabulary);

}  // namespace unimax
