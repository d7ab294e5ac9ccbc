// SPDX-License-Identifier: Apache-2.0
// The flags that say how tokens are chosen, for run and chat. What is not given is as the model's
// generation_config.json says, and greedy where it says nothing.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/model.h"
#include "engine/sampler_params.h"

namespace unimax {

struct SamplingFlags {
  std::optional<double> temperature, top_p, min_p, typical_p;
  std::optional<double> repetition_penalty, frequency_penalty, presence_penalty;
  std::optional<int> top_k, max_new;
  std::optional<uint64_t> seed;
  int no_repeat_ngram = 0, min_new = 0;
  std::vector<std::string> stops;
  std::vector<int> stop_ids;
};

void AddSamplingFlags(CLI::App& app, SamplingFlags& flags);

// The parameters of a request to `model`: flags, else the model's defaults. Where no seed is given, one is drawn; it is
// in the result. Errors: kUsage with the flag's name.
Result<SamplingParams> SamplingOf(const SamplingFlags& flags, const Model& model);

// Tokens of an answer to a prompt of `prompt` tokens: --max-new-tokens, else the model's default, else `fallback`, and
// no more than the context has room for. Errors: kUsage where it has none.
Result<int> MaxNewOf(const SamplingFlags& flags, const Model& model, int prompt, int fallback);

}  // namespace unimax
