// SPDX-License-Identifier: Apache-2.0
// How well a model foretells a text: exp of the mean of -ln p(token | those before it in its window).
// The text's ids are cut into windows; the first half of a window is context only, so every scored token has at least
// that much before it. Where the tokenizer begins a text with special ids, each window begins with them, in place of
// its own first ids. What is left at the end is not scored. Source: the measure of Jelinek et al. (1977); windows and
// scored half as in llama.cpp's perplexity tool.
#pragma once

#include <functional>
#include <span>

#include "engine/model.h"

namespace unimax {

struct Perplexity {
  double value = 0;
  double log_loss = 0;        // mean of -ln p: ln of the value
  double standard_error = 0;  // of log_loss
  int64_t tokens = 0;         // scored
  int windows = 0;
  double seconds = 0;
};

// `progress` hears (windows done, all windows, so far) after each window. The model must have been loaded for `window`
// tokens of context; `begin` are the special ids. Errors: kUsage where the text is shorter than a window; of the
// executor; kInternal where a logit is not finite.
Result<Perplexity> MeasurePerplexity(Model& model, std::span<const int> ids, std::span<const int> begin, int window,
                                     const std::function<void(int, int, const Perplexity&)>& progress);

}  // namespace unimax
