// SPDX-License-Identifier: Apache-2.0
#include "engine/answer_text.h"

#include <algorithm>
#include <utility>

namespace unimax {
namespace {

// The length of the longest end of `text` that is a beginning of `stop`, but not all of it.
size_t Overlap(std::string_view text, std::string_view stop) {
  for (size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
    if (text.substr(text.size() - n) == stop.substr(0, n)) return n;
  }
  return 0;
}

}  // namespace

AnswerText::AnswerText(const Tokenizer* tokenizer, std::vector<std::string> stops, bool skip_special)
    : stops_(std::move(stops)) {
  if (tokenizer != nullptr) decoder_.emplace(*tokenizer, skip_special);
  std::erase(stops_, "");
}

std::string AnswerText::Add(int id) { return stopped_ || !decoder_ ? "" : Take(decoder_->Add(id)); }

std::string AnswerText::Flush() {
  if (stopped_ || !decoder_) return "";
  std::string rest = Take(decoder_->Flush());
  return rest + std::exchange(held_, "");
}

// The earliest stop string ends the text, the longest of those that begin at one place.
std::string AnswerText::Take(std::string fresh) {
  if (stops_.empty()) return fresh;
  held_ += fresh;
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos || at > first || (at == first && stop.size() < stop_.size())) continue;
    first = at;
    stop_ = stop;
  }
  stopped_ = first != std::string::npos;
  if (stopped_) return std::exchange(held_, "").substr(0, first);
  size_t keep = 0;
  for (const std::string& stop : stops_) keep = std::max(keep, Overlap(held_, stop));
  std::string given = held_.substr(0, held_.size() - keep);
  held_.erase(0, given.size());
  return given;
}

}  // namespace unimax
