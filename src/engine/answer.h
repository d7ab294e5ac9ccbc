// SPDX-License-Identifier: Apache-2.0
// A sink for those who wait: collects an answer, passes its text on as it comes, and wakes the waiting thread.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "engine/answer_text.h"
#include "engine/request.h"

namespace unimax {

class Answer : public EventSink {
 public:
  struct Token {
    int id = 0;
    double raw_logprob = 0, processed_logprob = 0;  // where asked for, as all below
    int rank = 0;
    std::vector<TokenLogprob> top;
  };

  // `on_text` hears pieces of text on the engine's thread; may be null. `tokenizer` may be null: ids alone.
  Answer(const Tokenizer* tokenizer, std::vector<std::string> stops, std::function<void(std::string_view)> on_text);

  bool OnToken(const TokenEvent& event) override;
  void OnEnd(const EndEvent& event) override;

  // True: it has ended. False: not within this time.
  bool WaitFor(int milliseconds);
  void Wait();

  // After the end:
  const std::vector<int>& ids() const { return ids_; }  // with the end id, if there was one
  const std::vector<Token>& tokens() const { return tokens_; }
  const std::string& text() const { return text_; }
  const EndEvent& end() const { return end_; }
  // "stop" or "length" as OpenAI names them, "cancelled", "expired" or "error".
  const char* finish() const;
  // kNoDevice for a failed executor, kInternal for a poisoned row; ok for all ends that are none.
  Status status() const;
  // Of its tokens, the end id included; raw or processed, whichever was asked for. 0: there are no tokens.
  double mean_logprob(bool processed = false) const;
  Time first_token() const { return first_token_; }  // 0: there is none
  Time last_token() const { return last_token_; }

 private:
  void Show(std::string piece);

  AnswerText decoded_;
  std::function<void(std::string_view)> on_text_;
  std::vector<int> ids_;
  std::vector<Token> tokens_;
  std::string text_;
  Time first_token_ = 0, last_token_ = 0;
  EndEvent end_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;  // under mutex_
};

// best_of: the answers with the highest mean log-probability come first, the earlier choice of equal ones.
void SortBestFirst(std::vector<std::unique_ptr<Answer>>* answers, bool processed = false);

}  // namespace unimax
