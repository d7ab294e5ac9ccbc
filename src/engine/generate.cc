// SPDX-License-Identifier: Apache-2.0
#include "engine/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/clock.h"
#include "engine/philox.h"

namespace unimax {
namespace {

// One sequence over the whole pool, its pages in order; it is planned to be `length` tokens long.
class Runner {
 public:
  Runner(Model& model, int length)
      : model_(model), length_(length), pages_(static_cast<size_t>(model.limits().max_pages)) {
    std::iota(pages_.begin(), pages_.end(), 0);
  }

  Status Step(std::span<const int> ids, bool want_logits) {
    positions_.resize(ids.size());
    std::iota(positions_.begin(), positions_.end(), position_);
    rope_rows_.resize(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) {
      rope_rows_[i] = RopeRow(model_.program(), model_.limits(), positions_[i], length_);
    }
    sequences_.assign(ids.size(), 0);
    outputs_.assign(want_logits ? 1 : 0, static_cast<int>(ids.size()) - 1);
    position_ += static_cast<int>(ids.size());
    return model_.executor().Run({ids, positions_, sequences_, pages_, outputs_, rope_rows_});
  }

  int position() const { return position_; }

 private:
  Model& model_;
  int length_;
  std::vector<int> pages_, positions_, rope_rows_, sequences_, outputs_;
  int position_ = 0;
};

// The id whose share of the cumulative softmax holds `uniform`.
int Draw(std::span<const float> logits, double temperature, double uniform) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (float logit : logits) total += std::exp((logit - top) / temperature);
  double left = uniform * total;
  int last = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double p = std::exp((logits[i] - top) / temperature);
    if (p > 0) last = static_cast<int>(i);
    left -= p;
    if (left < 0) return static_cast<int>(i);
  }
  return last;
}

Result<int> Choose(Model& model, const GenerateOptions& options, int position) {
  UM_ASSIGN_OR_RETURN(const std::span<const int> ids, model.executor().Ids());
  if (ids[0] < 0) return Internal("a logit is not finite at position {}", position);
  if (options.temperature <= 0) return ids[0];
  UM_ASSIGN_OR_RETURN(const std::span<const float> logits, model.executor().Logits(0));
  return Draw(logits, options.temperature, PhiloxUniform(options.seed, static_cast<uint64_t>(position)));
}

}  // namespace

Result<GenerateResult> Generate(Model& model, std::span<const int> prompt, const GenerateOptions& options,
                                const std::function<void(int)>& on_token) {
  const int length = static_cast<int>(prompt.size());
  if (length == 0) return UsageError("the prompt is empty");
  if (length >= model.context()) {
    return UsageError(
        "the prompt has {} tokens, the context {}: shorten the prompt or raise --context (the model's own is {})",
        length, model.context(), model.config().context);
  }
  const int room = std::min(options.max_new, model.context() - length);
  Runner runner(model, length + room);
  GenerateResult result;
  const double start = NowMilliseconds();
  const int chunk = model.limits().max_tokens;
  for (int at = 0; at < length; at += chunk) {
    const int count = std::min(chunk, length - at);
    UM_RETURN_IF_ERROR(
        runner.Step(prompt.subspan(static_cast<size_t>(at), static_cast<size_t>(count)), at + count == length));
  }
  double first = start;
  while (static_cast<int>(result.ids.size()) < room) {
    if (!result.ids.empty()) UM_RETURN_IF_ERROR(runner.Step({&result.ids.back(), 1}, true));
    UM_ASSIGN_OR_RETURN(const int id, Choose(model, options, runner.position()));
    if (result.ids.empty()) first = NowMilliseconds();
    result.ids.push_back(id);
    const bool end = model.EndsAt(id) && !options.ignore_end;
    if (!end) on_token(id);
    if (end) {
      result.finish = "stop";
      break;
    }
  }
  result.prefill_ms = first - start;
  result.decode_ms = NowMilliseconds() - first;
  return result;
}

}  // namespace unimax
