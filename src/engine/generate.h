// SPDX-License-Identifier: Apache-2.0
// One answer at a time: the prompt in chunks, then token after token.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/model.h"

namespace unimax {

struct GenerateOptions {
  int max_new = 128;         // tokens
  double temperature = 0.0;  // 0: greedy; else a draw from softmax(logits / temperature)
  uint64_t seed = 0;         // of the draws: Philox(seed, position)
  bool ignore_end = false;   // go on after an end token (benches)
};

struct GenerateResult {
  std::vector<int> ids;           // the new tokens, with the end token if there was one
  const char* finish = "length";  // "stop": an end token; "length": max_new or the context is full
  double prefill_ms = 0;          // from the first step's start to the first token
  double decode_ms = 0;           // of the tokens after the first
};

// Calls `on_token` with every new id. Errors: kUsage when the prompt is empty or does not leave room for one token;
// of the executor; kInternal where a logit is not finite.
Result<GenerateResult> Generate(Model& model, std::span<const int> prompt, const GenerateOptions& options,
                                const std::function<void(int)>& on_token);

}  // namespace unimax
