// SPDX-License-Identifier: Apache-2.0
// The shared memory of one emulated block: bounds, and a record a word of who touched it last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device/emulator_order.h"

namespace unimax::emulator {

// Atomic additions of several threads do not race with each other, but with reads and writes.
enum class Touch : uint8_t { kRead, kWrite, kAdd };

struct Toucher {
  int thread, group;
};

class SharedMemory {
 public:
  // Poisons `bytes` bytes and forgets what happened to them.
  void Reset(int bytes, bool check_races);

  std::byte* data() const { return data_; }
  // Below this offset a view may touch without asking Check: all bytes, or none when races are looked for.
  uint64_t fast_bytes() const { return fast_bytes_; }
  // A copy of the hardware has written here, in an order that its barrier keeps.
  void MarkCopied(uint64_t offset, uint64_t bytes);
  // What is wrong with this access; "" when it may proceed. An access out of bounds is always wrong.
  std::string Check(uint64_t offset, uint64_t bytes, Touch touch, const Toucher& who, const Order& order);

 private:
  // A race needs two threads with no synchronisation between them. Two groups' last readers are enough to find one: a
  // third group's write collides with either.
  struct Readers {
    int16_t thread = -1, other = -1;  // two different threads of one group in one group epoch, when there are
    int16_t group = -1;
    uint32_t epoch = 0;
  };
  struct Word {
    int16_t writer = -1, writer_group = -1;
    bool added = false;  // the last write was an atomic addition
    uint32_t write_epoch = 0;
    Readers readers[2];  // since the last write
  };
  static constexpr int16_t kCopied = INT16_MAX;  // no thread: the copy's barrier orders it
  static constexpr unsigned kWordBytes = 2;      // a bf16: neighbours may be written by different threads

  static std::string CheckWord(Word& word, Touch touch, const Toucher& who, const Order& order);
  static void NoteReader(Word& word, const Toucher& who, const Order& order);

  std::unique_ptr<std::byte[]> storage_;
  std::byte* data_ = nullptr;  // aligned into storage_
  uint64_t capacity_ = 0, bytes_ = 0, fast_bytes_ = 0;
  bool check_races_ = false;
  std::vector<Word> words_;
};

}  // namespace unimax::emulator
