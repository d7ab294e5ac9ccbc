// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"

namespace unimax {

Time Engine::Now() { return NowMicroseconds(); }

Result<std::unique_ptr<Engine>> Engine::Start(Executor& executor, const ExecutorOptions& limits, const Program& program,
                                              const EngineOptions& options) {
  std::unique_ptr<PageHasher> hasher = MakeSha256Hasher();
  UM_ASSIGN_OR_RETURN(std::unique_ptr<EngineLoop> loop,
                      EngineLoop::Make(executor, limits, options.scheduler, program, *hasher));
  loop->set_clock(&Engine::Now);
  return std::make_unique<Engine>(options, std::move(hasher), std::move(loop));
}

Result<std::unique_ptr<Engine>> Engine::Start(Model& model) {
  EngineOptions options;
  options.scheduler = SchedulerOptionsFor(model.limits());
  options.scope = model.prefix_scope();
  return Start(model.executor(), model.limits(), model.program(), options);
}

Engine::Engine(const EngineOptions& options, std::unique_ptr<PageHasher> hasher, std::unique_ptr<EngineLoop> loop)
    : options_(options.scheduler), scope_(options.scope), hasher_(std::move(hasher)), loop_(std::move(loop)) {
  scope_.page_tokens = options_.page_tokens;
  thread_ = std::thread([this] { Run(); });
}

Engine::~Engine() { Stop(); }

// ---- any thread ----

Result<uint64_t> Engine::Submit(Request request) {
  UM_CHECK(request.sink != nullptr);
  UM_RETURN_IF_ERROR(loop_->Check(request));
  const std::lock_guard lock(mutex_);
  if (!state_.failure.ok()) return state_.failure;
  if (!state_.accepts) return IoError("the engine is stopping: it takes no more requests");
  const int taken = state_.mail + state_.counts.waiting + state_.counts.running;
  if (taken >= options_.max_sequences) {
    return IoError("all {} places for requests are taken: try again later", options_.max_sequences);
  }
  const uint64_t id = next_id_++;
  request.id = id;
  mail_.push_back({0, nullptr, std::move(request)});
  ++state_.mail;
  busy_ = true;
  arrived_.notify_one();
  return id;
}

void Engine::Cancel(uint64_t id) {
  const std::lock_guard lock(mutex_);
  mail_.push_back({id, nullptr, {}});
  arrived_.notify_one();
}

void Engine::Drain() {
  std::unique_lock lock(mutex_);
  state_.accepts = false;
  idle_.wait(lock, [this] { return !busy_; });
}

void Engine::Stop() {
  {
    const std::lock_guard lock(mutex_);
    state_.accepts = false;
    stop_ = true;
    arrived_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

Result<int> Engine::ReadPrefix(std::span<const int> prompt, int max_new, const EngineLoop::TakePage& take) {
  return OnThread([&] {
    const Scope scope = ScopeOf("");
    return loop_->ReadPrefix({prompt, max_new, scope.root, scope.number}, take);
  });
}

Result<int> Engine::WritePrefix(std::span<const int> prompt, int max_new, int pages, const EngineLoop::FillPage& fill) {
  return OnThread([&] {
    const Scope scope = ScopeOf("");
    return loop_->WritePrefix({prompt, max_new, scope.root, scope.number}, pages, fill);
  });
}

Result<int> Engine::OnThread(std::function<Result<int>()> act) {
  Work work;
  work.act = std::move(act);
  std::unique_lock lock(mutex_);
  if (!state_.failure.ok()) return state_.failure;
  if (ended_) return IoError("the engine has stopped");
  mail_.push_back({0, &work, {}});
  arrived_.notify_one();
  worked_.wait(lock, [&work] { return work.done; });
  return std::move(work.result);
}

EngineState Engine::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

// ---- the engine's thread ----

void Engine::Run() {
  while (TakeMail()) {
    const Status status = loop_->Step(Now());
    if (!status.ok()) Fail(status);
    Note();
  }
  // Also what came while it ended: each sink hears one end.
  const std::string error(state().failure.text());
  loop_->EndAll(error, Now());
  for (;;) {
    std::vector<Mail> left;
    {
      const std::lock_guard lock(mutex_);
      state_.accepts = false;
      left.swap(mail_);
      ended_ = left.empty();
    }
    if (left.empty()) break;
    for (const Mail& mail : left) {
      if (mail.work != nullptr)
        Finish(*mail.work, error.empty() ? IoError("the engine has stopped") : NoDevice("{}", error));
      if (mail.is_request()) Refuse(mail.request, error.empty() ? EndReason::kCancelled : EndReason::kFailed, error);
    }
  }
  Note();
}

bool Engine::TakeMail() {
  opened_.clear();
  {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [this] { return stop_ || !mail_.empty() || !loop_->idle() || !state_.failure.ok(); });
    if (stop_ || !state_.failure.ok()) return false;
    opened_.swap(mail_);
    state_.stepping_since = Now();
  }
  for (Mail& mail : opened_) Deliver(std::move(mail));
  return true;
}

void Engine::Finish(Work& work, Result<int> result) {
  const std::lock_guard lock(mutex_);
  work.result = std::move(result);
  work.done = true;
  worked_.notify_all();
}

void Engine::Deliver(Mail mail) {
  if (mail.cancel != 0) {
    loop_->Cancel(mail.cancel, Now());
    return;
  }
  if (mail.work != nullptr) {
    // A disk may be slow: whoever watches for a silent device need not see that.
    const auto stamp = [this](Time since) {
      const std::lock_guard lock(mutex_);
      state_.stepping_since = since;
    };
    stamp(0);
    Finish(*mail.work, mail.work->act());
    stamp(Now());
    return;
  }
  const Scope scope = ScopeOf(mail.request.name_space);
  mail.request.root = scope.root;
  mail.request.scope = scope.number;
  // What remains of it where the loop refuses: enough for an end.
  Request told;
  told.id = mail.request.id;
  told.sink = mail.request.sink;
  const auto ticket = loop_->Submit(std::move(mail.request), Now());
  if (!ticket.ok()) Refuse(told, EndReason::kFailed, std::string(ticket.status().text()));
}

void Engine::Refuse(const Request& request, EndReason reason, const std::string& error) {
  EndEvent event;
  event.request = request.id;
  event.reason = reason;
  event.error = error;
  event.prompt_tokens = static_cast<int>(request.prompt.size());
  event.arrived = event.ended = Now();
  request.sink->OnEnd(event);
}

void Engine::Fail(const Status& failure) {
  {
    const std::lock_guard lock(mutex_);
    state_.failure = failure;
    state_.accepts = false;
  }
  loop_->EndAll(std::string(failure.text()), Now());
}

void Engine::Note() {
  const PageCounts pages = loop_->scheduler().pages().counts();
  const std::lock_guard lock(mutex_);
  state_.counts = loop_->scheduler().counts();
  state_.pages = pages;
  state_.mail = static_cast<int>(std::ranges::count_if(mail_, &Mail::is_request));
  state_.stepping_since = 0;
  busy_ = state_.mail > 0 || !loop_->idle();
  if (!busy_) idle_.notify_all();
}

Engine::Scope Engine::ScopeOf(const std::string& name_space) {
  const auto found = scopes_.find(name_space);
  if (found != scopes_.end()) return found->second;
  PrefixScope scope = scope_;
  scope.name_space = name_space;
  const Scope made{hasher_->Root(scope), static_cast<uint32_t>(scopes_.size()) + 1};
  scopes_.emplace(name_space, made);
  return made;
}

}  // namespace unimax
