// SPDX-License-Identifier: Apache-2.0
// Chooses a token on the CPU from one row of logits, and reports log-probabilities. One per thread; takes its memory
// when made, so a choice allocates nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/sampler_candidates.h"
#include "engine/sampler_params.h"

namespace unimax {

struct SampleInput {
  std::span<const float> logits;        // [vocabulary]
  const SamplingParams& params;         // CheckSampling found nothing
  std::span<const SamplingStep> steps;  // StepsOf(params)
  std::span<const int> history;         // prompt and generated ids, each in the vocabulary
  int prompt = 0;                       // ids of the prompt in it
  std::span<const uint64_t> mask;       // of a MaskProvider; empty: all are allowed
};

struct TokenLogprob {
  int id = -1;
  double logprob = 0;  // natural logarithm, <= 0
};

struct Sampled {
  // kNotFinite: a logit was NaN or infinite, so nothing was drawn. kNothingLeft: every id was masked or penalised away.
  enum Outcome : uint8_t { kToken, kNotFinite, kNothingLeft };
  Outcome outcome = kToken;
  int id = -1;
  double raw_logprob = 0;             // where params.raw_logprobs
  double processed_logprob = 0;       // where params.processed_logprobs
  int rank = 0;                       // where params.raw_logprobs: 1 + the number of ids with a larger logit
  std::span<const TokenLogprob> top;  // best first, the lowest id of equal ones first; valid until the next call
};

// Says for each position which ids a grammar allows. The engine asks it before, and tells it after, each token; so its
// sequences run at lag 0.
class MaskProvider {
 public:
  virtual ~MaskProvider() = default;
  // Sets bit id % 64 of word id / 64 of each allowed id and clears the others. At least one is allowed.
  virtual void Fill(std::span<uint64_t> allowed) = 0;
  virtual void Accept(int id) = 0;
};

class Sampler {
 public:
  explicit Sampler(int vocabulary);
  int vocabulary() const { return static_cast<int>(raw_.size()); }

  // The token for position history.size(): the draw is Philox(seed, that position, choice).
  Sampled Choose(const SampleInput& input);
  // Log-probabilities of a prompt token that is already known: raw, with the top of the raw logits.
  Sampled Score(std::span<const float> logits, int id, const SamplingParams& params);
  // Raw log-probability of any id of the row that Choose or Score saw last with raw_logprobs.
  double RawLogprob(int id) const;

 private:
  void Raw(std::span<const float> logits);
  void Top(std::span<const double> x, double log_sum, bool with_ties, int count, Sampled* sampled);
  int RankOf(int id) const;

  Candidates candidates_;
  std::vector<double> raw_;  // [vocabulary] the model's logits
  double raw_log_sum_ = 0;
  std::vector<TokenLogprob> top_;
};

}  // namespace unimax
