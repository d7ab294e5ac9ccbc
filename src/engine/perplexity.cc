// SPDX-License-Identifier: Apache-2.0
#include "engine/perplexity.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/clock.h"

namespace unimax {
namespace {

// -ln softmax(logits)[id], in double.
double Loss(std::span<const float> logits, int id) {
  const double top = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - top);
  return top + std::log(sum) - static_cast<double>(logits[static_cast<size_t>(id)]);
}

// Calls `score` with the loss of each token of [first, window) given those before it.
template <class Score>
Status RunWindow(Model& model, std::span<const int> ids, int first, std::span<const int> pages, const Score& score) {
  const auto window = static_cast<int>(ids.size());
  for (int at = 0; at < window - 1;) {
    // Rows whose logits are wanted come in steps of as many as the executor gives out.
    const bool scored = at >= first - 1;
    const int most = scored ? model.limits().max_outputs : first - 1 - at;
    const int count = std::min({most, window - 1 - at, model.limits().max_tokens});
    std::vector<int> positions(static_cast<size_t>(count)), rows(positions.size(), 0), rope_rows, outputs;
    std::iota(positions.begin(), positions.end(), at);
    for (const int p : positions) rope_rows.push_back(RopeRow(model.program(), model.limits(), p, window));
    for (int i = 0; scored && i < count; ++i) outputs.push_back(i);
    const auto part = ids.subspan(static_cast<size_t>(at), static_cast<size_t>(count));
    UM_RETURN_IF_ERROR(model.executor().Run({part, positions, rows, pages, outputs, rope_rows}));
    for (const int row : outputs) {
      UM_ASSIGN_OR_RETURN(const std::span<const float> logits, model.executor().Logits(row));
      const double loss = Loss(logits, ids[static_cast<size_t>(at + row + 1)]);
      if (!std::isfinite(loss)) return Internal("a logit is not finite at position {} of a window", at + row);
      score(loss);
    }
    at += count;
  }
  return {};
}

}  // namespace

Result<Perplexity> MeasurePerplexity(Model& model, std::span<const int> ids, std::span<const int> begin, int window,
                                     const std::function<void(int, int, const Perplexity&)>& progress) {
  const int windows = static_cast<int>(std::ssize(ids) / window);
  if (windows == 0) {
    return UsageError("the text has {} tokens, a window {}: give a longer text or a smaller --window", ids.size(),
                      window);
  }
  if (std::ssize(begin) > window / 2)
    return UsageError("a window of {} has no room for {} ids before the text", window, begin.size());
  std::vector<int> pages(static_cast<size_t>(model.limits().max_pages));
  std::iota(pages.begin(), pages.end(), 0);
  Perplexity result;
  double sum = 0, squares = 0;
  const double start = NowMilliseconds();
  for (int w = 0; w < windows; ++w) {
    const auto part = ids.subspan(static_cast<size_t>(w) * static_cast<size_t>(window), static_cast<size_t>(window));
    std::vector<int> of_window(part.begin(), part.end());
    std::ranges::copy(begin, of_window.begin());
    UM_RETURN_IF_ERROR(RunWindow(model, of_window, std::max(window / 2, 1), pages, [&](double loss) {
      sum += loss;
      squares += loss * loss;
      ++result.tokens;
    }));
    const auto n = static_cast<double>(result.tokens);
    result.log_loss = sum / n;
    result.value = std::exp(result.log_loss);
    result.standard_error = std::sqrt(std::max(squares / n - result.log_loss * result.log_loss, 0.0) / n);
    result.windows = w + 1;
    result.seconds = (NowMilliseconds() - start) * 1e-3;
    if (progress) progress(w + 1, windows, result);
  }
  return result;
}

}  // namespace unimax
