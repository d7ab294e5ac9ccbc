// SPDX-License-Identifier: Apache-2.0
// What a client asks of the engine, and what it hears back.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/sampler.h"
#include "engine/scheduler.h"

namespace unimax {

// A new token. Spans are valid during the call.
struct TokenEvent {
  uint64_t request = 0;
  int index = 0;  // among the new tokens, from 0
  int id = 0;
  bool ends = false;                  // an end id: its text is not part of the answer
  double raw_logprob = 0;             // where asked for
  double processed_logprob = 0;       // where asked for
  int rank = 0;                       // where raw log-probabilities were asked for
  std::span<const TokenLogprob> top;  // where asked for
  Time at = 0;
};

// A prompt token's log-probability given those before it. Of the first token there is none.
struct PromptEvent {
  uint64_t request = 0;
  int position = 0;
  int id = 0;
  double logprob = 0;
  int rank = 0;
  std::span<const TokenLogprob> top;
};

struct EndEvent {
  uint64_t request = 0;
  EndReason reason = EndReason::kStop;
  std::string error;  // kFailed, kPoisoned: one sentence
  int prompt_tokens = 0, cached_tokens = 0, new_tokens = 0;
  Time arrived = 0, started = 0, first_token = 0, ended = 0;  // 0: never came to it
};

// Hears what becomes of a request, on the engine's thread: token by token, then exactly one end.
class EventSink {
 public:
  virtual ~EventSink() = default;
  // True: the answer ends here (a stop string, a loop). Only asked where the request says `sink_stops`.
  virtual bool OnToken(const TokenEvent& event) = 0;
  virtual void OnPromptToken(const PromptEvent&) {}
  virtual void OnEnd(const EndEvent& event) = 0;
};

struct Request {
  uint64_t id = 0;  // of an EngineLoop the caller's own; an Engine gives each its number
  std::vector<int> prompt;
  int max_new = 1;
  SamplingParams sampling;       // end_ids: where the answer ends; n and best_of are requests that differ in `choice`
  bool ignore_end = false;       // goes on after an end id (benches)
  bool sink_stops = false;       // OnToken may end the answer: each token is looked at before the next is planned
  bool prompt_logprobs = false;  // OnPromptToken for all but the first prompt token; does not read the prefix cache
  int priority = 0;              // smaller goes first
  Time start_by = kNever, finish_by = kNever;
  std::string name_space;              // of the prefix cache: an Engine makes root and scope of it
  PageKey root;                        // of the prefix scope: model, adapter, name space
  uint32_t scope = 1;                  // its number
  std::unique_ptr<MaskProvider> mask;  // null: every id is allowed
  EventSink* sink = nullptr;           // outlives the request
};

}  // namespace unimax
