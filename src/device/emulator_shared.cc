// SPDX-License-Identifier: Apache-2.0
#include "device/emulator_shared.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

namespace unimax::emulator {
namespace {

const char* Act(Touch touch) { return touch == Touch::kRead ? "reads" : touch == Touch::kWrite ? "writes" : "adds to"; }

}  // namespace

void SharedMemory::Reset(int bytes, bool check_races) {
  constexpr uint64_t kAlign = 128;
  bytes_ = static_cast<uint64_t>(bytes);
  check_races_ = check_races;
  fast_bytes_ = check_races ? 0 : bytes_;
  if (capacity_ < bytes_ || data_ == nullptr) {
    capacity_ = bytes_;
    storage_ = std::make_unique<std::byte[]>(capacity_ + kAlign);
    const uint64_t misaligned = reinterpret_cast<uintptr_t>(storage_.get()) % kAlign;
    data_ = storage_.get() + (kAlign - misaligned) % kAlign;
  }
  std::memset(data_, 0xA5, bytes_);
  if (check_races) words_.assign((bytes_ + kWordBytes - 1) / kWordBytes, Word());
}

std::string SharedMemory::Check(uint64_t offset, uint64_t bytes, Touch touch, const Toucher& who, const Order& order) {
  if (offset >= bytes_ || bytes > bytes_ - offset) {
    return fmt::format("thread {} {} {} bytes at shared offset {} of {}", who.thread, Act(touch), bytes,
                       static_cast<int64_t>(offset), bytes_);
  }
  if (!check_races_) return {};
  for (uint64_t w = offset / kWordBytes; w <= (offset + bytes - 1) / kWordBytes; ++w) {
    const std::string wrong = CheckWord(words_[w], touch, who, order);
    if (!wrong.empty()) return fmt::format("{} at shared offset {}", wrong, w * kWordBytes);
  }
  return {};
}

void SharedMemory::MarkCopied(uint64_t offset, uint64_t bytes) {
  if (!check_races_) return;
  Word copied;
  copied.writer = kCopied;
  std::fill_n(words_.begin() + static_cast<std::ptrdiff_t>(offset / kWordBytes), bytes / kWordBytes, copied);
}

std::string SharedMemory::CheckWord(Word& word, Touch touch, const Toucher& who, const Order& order) {
  const bool add = touch == Touch::kAdd;
  if (word.writer < 0 && touch != Touch::kWrite) return fmt::format("thread {} reads what nobody wrote", who.thread);
  const bool others = word.writer != who.thread || word.added;
  const bool wrote = word.writer >= 0 && word.writer != kCopied;
  const bool ordered = !wrote || order.Before(word.writer_group, word.write_epoch, who.group);
  if (!ordered && others && !(word.added && add)) {
    return fmt::format("race: thread {} wrote and thread {} {} without a barrier between", word.writer, who.thread,
                       Act(touch));
  }
  if (touch == Touch::kRead) {
    NoteReader(word, who, order);
    return {};
  }
  for (Readers& r : word.readers) {
    if (r.thread >= 0 && !order.Before(r.group, r.epoch, who.group)) {
      const int reader = r.thread != who.thread ? r.thread : r.other;
      if (reader >= 0) {
        return fmt::format("race: thread {} read and thread {} {} without a barrier between", reader, who.thread,
                           Act(touch));
      }
    }
    r = {};
  }
  // Its own addition does not hide what this thread wrote just before.
  word.added = add && (word.added || ordered);
  word.writer = static_cast<int16_t>(who.thread);
  word.writer_group = static_cast<int16_t>(who.group);
  word.write_epoch = order.Epoch(who.group);
  return {};
}

void SharedMemory::NoteReader(Word& word, const Toucher& who, const Order& order) {
  const uint32_t epoch = order.Epoch(who.group);
  for (Readers& r : word.readers) {
    if (r.thread >= 0 && r.group == who.group && r.epoch == epoch) {
      if (r.thread != who.thread) r.other = static_cast<int16_t>(who.thread);
      return;
    }
    if (r.thread >= 0 && !order.Before(r.group, r.epoch, who.group)) continue;
    r = {static_cast<int16_t>(who.thread), -1, static_cast<int16_t>(who.group), epoch};
    return;
  }
}

}  // namespace unimax::emulator
