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

std::string SharedMemory::Check(uint64_t offset, unsigned bytes, Touch touch, const Toucher& who) {
  if (offset >= bytes_ || bytes > bytes_ - offset) {
    return fmt::format("thread {} {} {} bytes at shared offset {} of {}", who.thread, Act(touch), bytes,
                       static_cast<int64_t>(offset), bytes_);
  }
  if (!check_races_) return {};
  for (uint64_t w = offset / kWordBytes; w <= (offset + bytes - 1) / kWordBytes; ++w) {
    const std::string wrong = CheckWord(words_[w], touch, who);
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

std::string SharedMemory::CheckWord(Word& word, Touch touch, const Toucher& who) {
  const bool add = touch == Touch::kAdd;
  if (word.writer < 0 && touch != Touch::kWrite) return fmt::format("thread {} reads what nobody wrote", who.thread);
  // Unordered with the last write: same block epoch, and not separated by a GroupSync of one common group.
  const bool others = word.writer != who.thread || word.added;
  if (word.writer >= 0 && word.writer != kCopied && others && !(word.added && add) &&
      word.write_epoch == who.block_epoch &&
      (word.writer_group != who.group || word.write_group_epoch == who.group_epoch)) {
    return fmt::format("race: thread {} wrote and thread {} {} without a barrier between", word.writer, who.thread,
                       Act(touch));
  }
  if (word.read_epoch != who.block_epoch) {
    word.read_epoch = who.block_epoch;
    word.readers[0] = word.readers[1] = Readers();
  }
  if (touch != Touch::kRead) {
    for (const Readers& r : word.readers) {
      if (r.thread < 0 || (r.group == who.group && r.group_epoch != who.group_epoch)) continue;
      const int reader = r.thread != who.thread ? r.thread : r.other;
      if (reader < 0) continue;
      return fmt::format("race: thread {} read and thread {} {} without a barrier between", reader, who.thread,
                         Act(touch));
    }
    word.writer = static_cast<int16_t>(who.thread);
    // Its own addition does not hide what this thread wrote just before.
    word.added = add && (word.added || word.write_epoch != who.block_epoch);
    word.writer_group = static_cast<int16_t>(who.group);
    word.write_epoch = who.block_epoch;
    word.write_group_epoch = who.group_epoch;
    return {};
  }
  for (Readers& r : word.readers) {
    if (r.thread >= 0 && r.group != who.group) continue;
    if (r.thread >= 0 && r.group_epoch == who.group_epoch) {
      if (r.thread != who.thread) r.other = static_cast<int16_t>(who.thread);
    } else {
      r = {static_cast<int16_t>(who.thread), -1, static_cast<int16_t>(who.group), who.group_epoch};
    }
    break;
  }
  return {};
}

}  // namespace unimax::emulator
