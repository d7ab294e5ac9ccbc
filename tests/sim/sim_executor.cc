// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_executor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <thread>
#include <utility>

#include "base/clock.h"

namespace unimax::sim {
namespace {

constexpr uint64_t kStart = 0x9e3779b97f4a7c15;

uint64_t Mix(uint64_t h, uint64_t value) {
  h = (h ^ value) * 0xff51afd7ed558ccd;
  h ^= h >> 32;
  h *= 0xc4ceb9fe1a85ec53;
  return h ^ h >> 29;
}

int Choice(uint64_t hash, int vocab) { return static_cast<int>(Mix(hash, 7) % static_cast<uint64_t>(vocab)); }

}  // namespace

Program SimProgram(int vocab) {
  Program program;
  program.vocab = vocab;
  return program;
}

SimExecutor::SimExecutor(const ExecutorOptions& options, int vocab)
    : options_(options),
      pool_(static_cast<size_t>(options.pages) * static_cast<size_t>(options.page_tokens)),
      logits_(static_cast<size_t>(vocab)) {
  outputs_.reserve(static_cast<size_t>(options.max_outputs));
  ids_.reserve(outputs_.capacity());
  previous_ids_.reserve(outputs_.capacity());
}

int SimExecutor::NextOf(std::span<const int> ids, int vocab) {
  uint64_t hash = kStart;
  for (const int id : ids) hash = Mix(hash, static_cast<uint64_t>(id));
  return Choice(hash, vocab);
}

Status SimExecutor::Call() {
  const int call = calls++;
  if (script.fail_call < 0 || call < script.fail_call) return {};
  int64_t none = 0;
  fault_at.compare_exchange_strong(none, NowMicroseconds());
  return NoDevice("the simulated device was lost at call {}", script.fail_call);
}

Status SimExecutor::ReadPage(int page, std::span<std::byte> to) {
  std::memcpy(to.data(), pool_.data() + page * options_.page_tokens, page_bytes());
  return {};
}

Status SimExecutor::WritePage(int page, std::span<const std::byte> from) {
  std::memcpy(pool_.data() + page * options_.page_tokens, from.data(), page_bytes());
  return {};
}

void SimExecutor::Release() {
  const std::lock_guard lock(mutex_);
  go_on_ = true;
  released_.notify_all();
}

Status SimExecutor::Run(const Step& step) {
  UM_RETURN_IF_ERROR(Call());
  const int run = runs++;
  if (run == script.hang_run) {
    std::unique_lock lock(mutex_);
    released_.wait(lock, [this] { return go_on_; });
  }
  if (script.cost.count() > 0) std::this_thread::sleep_for(script.cost);
  if (std::ssize(step.ids) > options_.max_tokens || std::ssize(step.outputs) > options_.max_outputs) {
    return Internal("a step of {} tokens and {} outputs", step.ids.size(), step.outputs.size());
  }
  const auto slot = [&](size_t t, int position) -> uint64_t* {
    const int index = step.sequences[t] * options_.max_pages + position / options_.page_tokens;
    if (index < 0 || index >= std::ssize(step.page_table)) return nullptr;
    const int page = step.page_table[static_cast<size_t>(index)];
    if (page < 0 || page >= options_.pages) return nullptr;
    return &pool_[static_cast<size_t>(page * options_.page_tokens + position % options_.page_tokens)];
  };
  const auto vocab = static_cast<int>(logits_.size());
  std::swap(ids_, previous_ids_);
  for (size_t t = 0; t < step.ids.size(); ++t) {
    if (step.ids[t] < -std::ssize(previous_ids_)) return Internal("token {} names output {}", t, -1 - step.ids[t]);
    const int position = step.positions[t], id = StepId(step.ids[t], previous_ids_);
    if (id < 0 || id >= vocab || position < 0) return Internal("token {} has id {}, position {}", t, id, position);
    uint64_t* here = slot(t, position);
    const uint64_t* before = position > 0 ? slot(t, position - 1) : &kStart;
    if (here == nullptr || before == nullptr) return Internal("token {} has no page at position {}", t, position);
    *here = Mix(*before, static_cast<uint64_t>(id));
  }
  outputs_.clear();
  ids_.clear();
  poisoned_ = run == script.poison_run ? script.poison_row : -1;
  for (const int row : step.outputs) {
    outputs_.push_back(*slot(static_cast<size_t>(row), step.positions[static_cast<size_t>(row)]));
    ids_.push_back(std::ssize(ids_) == poisoned_ ? -1 : Choice(outputs_.back(), vocab));
  }
  return {};
}

Result<std::span<const int>> SimExecutor::Ids() {
  UM_RETURN_IF_ERROR(Call());
  return std::span<const int>(ids_);
}

Result<std::span<const int>> SimExecutor::PreviousIds() {
  UM_RETURN_IF_ERROR(Call());
  return std::span<const int>(previous_ids_);
}

Result<std::span<const float>> SimExecutor::Logits(int row) {
  UM_RETURN_IF_ERROR(Call());
  const uint64_t hash = outputs_.at(static_cast<size_t>(row));
  const auto vocab = static_cast<int>(logits_.size());
  for (int i = 0; i < vocab; ++i) {
    logits_[static_cast<size_t>(i)] = static_cast<float>(Mix(hash, static_cast<uint64_t>(i) + 100) >> 40) * 0x1p-22f;
  }
  logits_[static_cast<size_t>(Choice(hash, vocab))] = 5.0f;  // the others lie below 4
  if (row == poisoned_) logits_[0] = std::numeric_limits<float>::quiet_NaN();
  return std::span<const float>(logits_);
}

}  // namespace unimax::sim
