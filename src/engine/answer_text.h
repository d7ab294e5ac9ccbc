// SPDX-License-Identifier: Apache-2.0
// The text of an answer as its tokens come: decoded, and ended by the first stop string. What could be the beginning of
// a stop string is held back until the next tokens decide, so no byte that was given out is ever taken back.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace unimax {

class AnswerText {
 public:
  // `tokenizer` may be null: then there is no text, and no stop string is found. Empty stop strings are ignored.
  AnswerText(const Tokenizer* tokenizer, std::vector<std::string> stops, bool skip_special = true);
  // The text that `id` makes certain; "" once stopped.
  std::string Add(int id);
  // What is still held back: the answer has ended.
  std::string Flush();
  bool stopped() const { return stopped_; }
  const std::string& stop() const { return stop_; }  // the stop string that was found; it is not part of the text

 private:
  std::string Take(std::string fresh);

  std::optional<StreamDecoder> decoder_;
  std::vector<std::string> stops_;
  std::string held_, stop_;
  bool stopped_ = false;
};

}  // namespace unimax
