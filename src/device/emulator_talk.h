// SPDX-License-Identifier: Apache-2.0
// How the blocks of an emulated grid that runs as one talk: copies into shared memory that arrive some time after they
// were begun, the barriers that count them, and words that become visible to others some time after they were stored.
// A shuffled device lets copies and words arrive in any order, as hardware may; else they arrive at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "device/device.h"
#include "device/emulator_order.h"

namespace unimax::emulator {

// Barriers in a block's shared memory, by their offset, each 8 bytes. A phase ends when its arrivals have come and all
// announced bytes have been copied (PTX ISA, mbarrier).
class CopyBars {
 public:
  void Reset() { bars_.clear(); }
  void Init(int at, int arrivals);
  // By a thread of the group: who sees the phase's end knows what it did before.
  void Arrive(int at, int group, const Order& order);
  void Expect(int at, int bytes, int group, const Order& order);  // arrives, too
  void Copied(int at, int bytes);
  // Whether the phase with this parity has ended.
  bool Passed(int at, int parity) const { return (bars_[Index(at)].phase & 1) != parity; }
  // What those knew that arrived in phases that have ended.
  const Order::Clock& Known(int at) const { return bars_[Index(at)].ended; }

 private:
  struct Bar {
    int arrivals = 0, arrived = 0, phase = 0;
    int64_t bytes = 0;
    Order::Clock arriving, ended;
  };
  static size_t Index(int at) { return static_cast<size_t>(at) / 8; }
  void Settle(Bar& bar);
  std::vector<Bar> bars_;
};

struct BlockState;

// What is on its way.
class Mail {
 public:
  struct Box {
    static constexpr int kRow = 64, kRowBytes = 2 * kRow, kChunk = 16;  // elements a row; bytes
    static constexpr int kBorder = 1024;                                // where boxes may begin
    unimax::MatrixShape matrix;                                         // `first` is null: no box
    int row, column;
  };
  struct Copy {
    BlockState* block;
    int bar, to, bytes;
    const void* from;
    Box box;
  };
  bool empty() const { return copies_.empty() && words_.empty(); }
  void Add(const Copy& copy) { copies_.push_back(copy); }
  // A word for an address to which one is on its way already lets that one arrive first.
  void Add(void* address, uint64_t word);
  // Lets one of them arrive: number `any` of all, counted round.
  void Deliver(size_t any);
  void DeliverAll() {
    while (!empty()) Deliver(0);
  }
  void Drop() {
    copies_.clear();
    words_.clear();
  }

 private:
  static void Put(const Copy& copy);

  struct WordOnItsWay {
    void* address;
    uint64_t word;
  };
  std::vector<Copy> copies_;
  std::vector<WordOnItsWay> words_;
};

}  // namespace unimax::emulator
