// SPDX-License-Identifier: Apache-2.0
// The engine: one thread that owns an EngineLoop, and with it the executor. Other threads reach it through a mailbox
// alone; what becomes of a request is told to its sink, on the engine's thread. A request is refused by Submit, or its
// sink hears exactly one OnEnd.
//
// When the executor fails, every request that lives ends as kFailed with its sentence, and the engine takes no more:
// nothing that was computed on a device after a fault leaves it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine_loop.h"
#include "engine/model.h"

namespace unimax {

struct EngineOptions {
  SchedulerOptions scheduler;  // SchedulerOptionsFor the executor's limits, or less
  PrefixScope scope;           // of the prefix cache; page_tokens is the scheduler's
};

// What the engine is doing, copied at one moment.
struct EngineState {
  SchedulerCounts counts;
  PageCounts pages;
  int mail = 0;             // requests that the loop has not seen yet
  Time stepping_since = 0;  // when the step that runs began; 0: none does
  Status failure;           // not ok: it takes no more requests
  bool accepts = true;
};

class Engine {
 public:
  // `executor` and the `program` it was made from outlive the engine, which alone uses them from now on. Errors: kUsage
  // where the scheduler would use more than the executor has.
  static Result<std::unique_ptr<Engine>> Start(Executor& executor, const ExecutorOptions& limits,
                                               const Program& program, const EngineOptions& options);
  static Result<std::unique_ptr<Engine>> Start(Model& model);
  Engine(const EngineOptions& options, std::unique_ptr<PageHasher> hasher, std::unique_ptr<EngineLoop> loop);  // Start
  ~Engine();                                                                                                   // Stop
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Takes a request from any thread, also from within a sink, and returns its number; `sink` must not be null. Errors,
  // after which the sink hears nothing: kUsage for what can never run; kNoDevice when the engine has failed; kIo when
  // all places are taken or it no longer accepts: try again elsewhere or later.
  Result<uint64_t> Submit(Request request);
  // The sink hears kCancelled within one step, unless the request ended before. From any thread.
  void Cancel(uint64_t id);
  // Takes no more requests and returns when those that live have ended.
  void Drain();
  // Takes no more requests, cancels those that live, and ends the thread. Not from within a sink.
  void Stop();

  // The prefix cache of the empty name space, as EngineLoop says; `take` and `fill` are called on the engine's thread,
  // between two steps, while the caller waits. Not from within a sink. Errors: also kIo when the engine has stopped.
  Result<int> ReadPrefix(std::span<const int> prompt, int max_new, const EngineLoop::TakePage& take);
  Result<int> WritePrefix(std::span<const int> prompt, int max_new, int pages, const EngineLoop::FillPage& fill);

  EngineState state() const;
  const SchedulerOptions& options() const { return options_; }
  static Time Now();  // of all stamps in events: microseconds of a monotonic clock, never 0

 private:
  // What another thread wants done on the engine's, and waits for.
  struct Work {
    std::function<Result<int>()> act;
    Result<int> result = Internal("not done");
    bool done = false;  // under mutex_
  };
  struct Mail {
    uint64_t cancel = 0;   // 0: it is no cancellation
    Work* work = nullptr;  // null: it is no work either, but a request
    Request request;
    bool is_request() const { return cancel == 0 && work == nullptr; }
  };
  // Requests of one name space share pages; the number tells scopes of this process apart.
  struct Scope {
    PageKey root;
    uint32_t number;
  };

  void Run();
  Result<int> OnThread(std::function<Result<int>()> act);
  void Finish(Work& work, Result<int> result);
  bool TakeMail();  // waits while there is nothing to do; false: the thread ends
  void Deliver(Mail mail);
  void Refuse(const Request& request, EndReason reason, const std::string& error);
  void Fail(const Status& failure);
  void Note();  // copies the loop's state for others
  Scope ScopeOf(const std::string& name_space);

  const SchedulerOptions options_;
  PrefixScope scope_;  // of the empty name space
  std::unique_ptr<PageHasher> hasher_;
  std::unique_ptr<EngineLoop> loop_;     // of the engine's thread; others call what is const and says so
  std::map<std::string, Scope> scopes_;  // of the engine's thread
  std::vector<Mail> opened_;             // of the engine's thread: mail being read

  mutable std::mutex mutex_;
  std::condition_variable arrived_, idle_, worked_;
  std::vector<Mail> mail_;  // under mutex_, as all below
  EngineState state_;
  bool stop_ = false, busy_ = false, ended_ = false;
  uint64_t next_id_ = 1;

  std::thread thread_;
};

}  // namespace unimax
