// SPDX-License-Identifier: Apache-2.0
#include "engine/answer.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>

namespace unimax {

Answer::Answer(const Tokenizer* tokenizer, std::vector<std::string> stops,
               std::function<void(std::string_view)> on_text)
    : decoded_(tokenizer, std::move(stops)), on_text_(std::move(on_text)) {}

bool Answer::OnToken(const TokenEvent& event) {
  if (first_token_ == 0) first_token_ = event.at;
  last_token_ = event.at;
  ids_.push_back(event.id);
  tokens_.push_back({event.id, event.raw_logprob, event.processed_logprob, event.rank,
                     std::vector<TokenLogprob>(event.top.begin(), event.top.end())});
  if (!event.ends) Show(decoded_.Add(event.id));
  return decoded_.stopped();
}

void Answer::OnEnd(const EndEvent& event) {
  Show(decoded_.Flush());
  const std::lock_guard lock(mutex_);
  end_ = event;
  ended_ = true;
  changed_.notify_all();  // under the lock: once it is open, the waiting thread may destroy this
}

void Answer::Show(std::string piece) {
  text_ += piece;
  if (on_text_ && !piece.empty()) on_text_(piece);
}

bool Answer::WaitFor(int milliseconds) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::milliseconds(milliseconds), [this] { return ended_; });
}

void Answer::Wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ended_; });
}

const char* Answer::finish() const {
  switch (end_.reason) {
    case EndReason::kStop:
      return "stop";
    case EndReason::kLength:
      return "length";
    case EndReason::kCancelled:
      return "cancelled";
    case EndReason::kExpired:
      return "expired";
    case EndReason::kPoisoned:
    case EndReason::kFailed:
      return "error";
  }
  return "error";
}

Status Answer::status() const {
  if (end_.reason == EndReason::kPoisoned) return Internal("{}", end_.error);
  if (end_.reason == EndReason::kFailed) return NoDevice("{}", end_.error);
  return {};
}

double Answer::mean_logprob(bool processed) const {
  double sum = 0;
  for (const Token& token : tokens_) sum += processed ? token.processed_logprob : token.raw_logprob;
  return tokens_.empty() ? 0 : sum / static_cast<double>(tokens_.size());
}

void SortBestFirst(std::vector<std::unique_ptr<Answer>>* answers, bool processed) {
  std::ranges::stable_sort(*answers, std::greater<>(),
                           [&](const std::unique_ptr<Answer>& answer) { return answer->mean_logprob(processed); });
}

}  // namespace unimax
