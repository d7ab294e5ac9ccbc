// SPDX-License-Identifier: Apache-2.0
// Remembers, within one call of Encode, the ids of words that came before: most words of a text come again.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace unimax {

// Holds no text and no ids, only where both lie: words must stay where they are until the next NewText, and `out` may
// only grow.
class WordCache {
 public:
  explicit WordCache(size_t text_bytes) {
    size_t slots = 64;
    while (slots < kMostSlots && slots * 16 < text_bytes) slots *= 2;
    slots_.resize(slots);
  }
  void NewText() { ++text_; }
  // Appends the ids of `word`; `encode` finds them when they are not known.
  template <class F>
  void Append(std::string_view word, std::vector<int>& out, F encode) {
    if (word.size() > kLongest) return encode();
    Slot& slot = slots_[HashBytes(word) & (slots_.size() - 1)];
    if (slot.text == text_ && slot.size == word.size() && std::memcmp(slot.word, word.data(), word.size()) == 0) {
      const size_t before = out.size();
      out.resize(before + slot.count);
      std::copy_n(out.begin() + static_cast<ptrdiff_t>(slot.first), slot.count,
                  out.begin() + static_cast<ptrdiff_t>(before));
      return;
    }
    const size_t first = out.size();
    encode();
    slot = {word.data(), first, static_cast<uint32_t>(out.size() - first), static_cast<uint32_t>(word.size()), text_};
  }

 private:
  static constexpr size_t kMostSlots = 16384;  // 512 KiB: more than that misses the caches of the machine
  static constexpr size_t kLongest = 64;
  struct Slot {
    const char* word = nullptr;
    size_t first = 0;
    uint32_t count = 0, size = 0;
    uint64_t text = 0;
  };
  std::vector<Slot> slots_;
  uint64_t text_ = 1;
};

}  // namespace unimax
