// SPDX-License-Identifier: Apache-2.0
#include "engine/load.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "engine/philox.h"

namespace unimax {
namespace {

// How many requests are under way, for those who wait for one to end.
class Gate {
 public:
  void Enter() {
    const std::lock_guard lock(mutex_);
    most_ = std::max(most_, ++inside_);
  }
  void Leave() {
    const std::lock_guard lock(mutex_);
    --inside_;
    left_.notify_all();
  }
  // Waits until fewer than `bound` are inside, or until `deadline`; says whether they are.
  bool WaitBelow(int bound, Time deadline) {
    std::unique_lock lock(mutex_);
    const auto left = std::chrono::microseconds(std::max<Time>(deadline - Engine::Now(), 0));
    return left_.wait_for(lock, left, [&] { return inside_ < bound; });
  }
  int inside() const {
    const std::lock_guard lock(mutex_);
    return inside_;
  }
  int most() const { return most_; }  // once nobody is inside

 private:
  mutable std::mutex mutex_;
  std::condition_variable left_;
  int inside_ = 0, most_ = 0;
};

class Client : public EventSink {
 public:
  Client(Gate& gate, int new_tokens) : gate_(gate) {
    at_.reserve(static_cast<size_t>(new_tokens));
    ids_.reserve(static_cast<size_t>(new_tokens));
  }
  bool OnToken(const TokenEvent& event) override {
    at_.push_back(event.at);
    ids_.push_back(event.id);
    return false;
  }
  void OnEnd(const EndEvent& event) override {
    end_ = event;
    gate_.Leave();
  }
  Time sent = 0;
  const std::vector<Time>& at() const { return at_; }
  const std::vector<int>& ids() const { return ids_; }
  const EndEvent& end() const { return end_; }

 private:
  Gate& gate_;
  std::vector<Time> at_;
  std::vector<int> ids_;
  EndEvent end_;
};

// Random numbers by purpose and request, so that one option does not change what another draws.
class Numbers {
 public:
  enum Purpose : uint64_t { kPrefix, kPrompt, kPromptLength, kNewLength, kGap };
  Numbers(uint64_t seed, int vocabulary) : seed_(seed), vocabulary_(vocabulary) {}
  double Uniform(Purpose purpose, int request, int index) const {
    return PhiloxUniform(seed_ * 8 + purpose, static_cast<uint64_t>(request) << 32 | static_cast<uint64_t>(index));
  }
  int Id(Purpose purpose, int request, int index) const {
    return std::min(static_cast<int>(Uniform(purpose, request, index) * vocabulary_), vocabulary_ - 1);
  }
  int Length(Purpose purpose, int request, int mean, double spread) const {
    const double factor = 1 + spread * (2 * Uniform(purpose, request, 0) - 1);
    return std::max(1, static_cast<int>(std::lround(mean * factor)));
  }

 private:
  uint64_t seed_;
  int vocabulary_;
};

Request RequestOf(const LoadOptions& o, const Numbers& numbers, int i) {
  Request r;
  const int length =
      std::max(numbers.Length(Numbers::kPromptLength, i, o.prompt_tokens, o.spread), o.shared_prefix + 1);
  for (int t = 0; t < length; ++t) {
    const bool shared = t < o.shared_prefix;
    r.prompt.push_back(numbers.Id(shared ? Numbers::kPrefix : Numbers::kPrompt, shared ? 0 : i, t));
  }
  r.max_new = numbers.Length(Numbers::kNewLength, i, o.new_tokens, o.spread);
  r.sampling.temperature = o.temperature;
  r.sampling.top_k = o.top_k;
  r.sampling.top_p = o.top_p;
  r.sampling.seed = o.seed + static_cast<uint64_t>(i);
  r.ignore_end = true;
  return r;
}

// `p` in [0, 1] of sorted values, between neighbours in proportion (as numpy.percentile).
double Percentile(const std::vector<double>& sorted, double p) {
  const double at = p * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

LoadResult Collect(const std::vector<std::unique_ptr<Client>>& clients, Time begin) {
  LoadResult result;
  std::vector<double> ttft, tpot, itl, e2el;
  Time last = begin;
  result.ids_hash = 0xcbf29ce484222325;
  for (const auto& client : clients) {
    const EndEvent& end = client->end();
    if (end.reason != EndReason::kLength && end.reason != EndReason::kStop) {
      if (result.failed++ == 0) result.error = end.error;
      continue;
    }
    const auto ms = [](Time from, Time to) { return static_cast<double>(to - from) * 1e-3; };
    const std::vector<Time>& at = client->at();
    ++result.completed;
    result.input_tokens += end.prompt_tokens;
    result.cached_tokens += end.cached_tokens;
    result.output_tokens += std::ssize(at);
    last = std::max(last, at.back());
    ttft.push_back(ms(client->sent, at.front()));
    e2el.push_back(ms(client->sent, at.back()));
    if (at.size() > 1) tpot.push_back(ms(at.front(), at.back()) / static_cast<double>(at.size() - 1));
    for (size_t i = 1; i < at.size(); ++i) itl.push_back(ms(at[i - 1], at[i]));
    for (const int id : client->ids()) result.ids_hash = (result.ids_hash ^ static_cast<uint64_t>(id)) * 0x100000001b3;
  }
  result.seconds = static_cast<double>(last - begin) * 1e-6;
  result.ttft = Summarise(std::move(ttft));
  result.tpot = Summarise(std::move(tpot));
  result.itl = Summarise(std::move(itl));
  result.e2el = Summarise(std::move(e2el));
  return result;
}

}  // namespace

Summary Summarise(std::vector<double> values) {
  Summary s;
  if (values.empty()) return s;
  std::ranges::sort(values);
  for (const double v : values) s.mean += v / static_cast<double>(values.size());
  for (const double v : values) s.std += (v - s.mean) * (v - s.mean) / static_cast<double>(values.size());
  s.std = std::sqrt(s.std);
  s.median = Percentile(values, 0.5);
  s.p90 = Percentile(values, 0.9);
  s.p99 = Percentile(values, 0.99);
  return s;
}

double ArrivalGap(const LoadOptions& options, int i) {
  return -std::log1p(-Numbers(options.seed, 1).Uniform(Numbers::kGap, i, 0)) / options.rate;
}

Result<LoadResult> RunLoad(Engine& engine, int vocabulary, const LoadOptions& o,
                           const std::function<void(int, int)>& progress) {
  const Numbers numbers(o.seed, vocabulary);
  Gate gate;
  std::vector<std::unique_ptr<Client>> clients;
  const int places = engine.options().max_sequences;
  const int bound = std::min(o.concurrency > 0 ? o.concurrency : places, places);
  const Time begin = Engine::Now();
  const auto tell = [&](int inside) {
    if (progress) progress(static_cast<int>(clients.size()) - inside, o.requests);
  };
  Status status;
  double due = static_cast<double>(begin);
  for (int i = 0; i < o.requests && status.ok(); ++i) {
    Request request = RequestOf(o, numbers, i);
    if (o.rate > 0 && i > 0) due += ArrivalGap(o, i) * 1e6;
    while (static_cast<double>(Engine::Now()) < due) {
      const double left = due - static_cast<double>(Engine::Now());
      std::this_thread::sleep_for(std::chrono::microseconds(std::clamp<int64_t>(std::llround(left), 1, 100'000)));
      tell(gate.inside());
    }
    while (!gate.WaitBelow(bound, Engine::Now() + 200'000)) tell(gate.inside());
    clients.push_back(std::make_unique<Client>(gate, request.max_new));
    request.sink = clients.back().get();
    clients.back()->sent = Engine::Now();
    gate.Enter();
    status = engine.Submit(std::move(request)).status();
    if (status.ok()) continue;
    gate.Leave();
    clients.pop_back();
  }
  while (!gate.WaitBelow(1, Engine::Now() + 200'000)) tell(gate.inside());
  UM_RETURN_IF_ERROR(status);
  tell(0);
  LoadResult result = Collect(clients, begin);
  result.max_concurrent = gate.most();
  const Status failure = engine.state().failure;
  UM_RETURN_IF_ERROR(failure);
  return result;
}

}  // namespace unimax
