// SPDX-License-Identifier: Apache-2.0
#include "device/emulator_talk.h"

#include <algorithm>
#include <cstring>

#include "device/emulator_grid.h"

namespace unimax::emulator {

void CopyBars::Init(int at, int arrivals) {
  if (bars_.size() <= Index(at)) bars_.resize(Index(at) + 1);
  bars_[Index(at)] = Bar();
  bars_[Index(at)].arrivals = arrivals;
}

void CopyBars::Settle(Bar& bar) {
  if (bar.arrived < bar.arrivals || bar.bytes > 0) return;
  bar.arrived = 0;
  ++bar.phase;
  bar.ended = bar.arriving;
}

void CopyBars::Arrive(int at, int group, const Order& order) {
  Bar& bar = bars_[Index(at)];
  order.Leave(group, &bar.arriving);
  ++bar.arrived;
  Settle(bar);
}

void CopyBars::Expect(int at, int bytes, int group, const Order& order) {
  Bar& bar = bars_[Index(at)];
  order.Leave(group, &bar.arriving);
  bar.bytes += bytes;
  ++bar.arrived;
  Settle(bar);
}

void CopyBars::Copied(int at, int bytes) {
  Bar& bar = bars_[Index(at)];
  bar.bytes -= bytes;
  Settle(bar);
}

void Mail::Add(void* address, uint64_t word) {
  const auto older = std::ranges::find(words_, address, &WordOnItsWay::address);
  if (older != words_.end()) {
    std::memcpy(address, &older->word, sizeof(word));
    older->word = word;
    return;
  }
  words_.push_back({address, word});
}

void Mail::Put(const Copy& copy) {
  std::byte* to = copy.block->shared.data() + copy.to;
  const unimax::MatrixShape& m = copy.box.matrix;
  if (m.first == nullptr) {
    std::memcpy(to, copy.from, static_cast<size_t>(copy.bytes));
    return;
  }
  constexpr int kElement = 2, kEach = Box::kChunk / kElement;
  std::memset(to, 0, static_cast<size_t>(copy.bytes));
  for (int r = 0; r < m.box_rows && copy.box.row + r < m.rows; ++r) {
    const std::byte* from =
        static_cast<const std::byte*>(m.first) + (int64_t{copy.box.row + r} * m.stride + copy.box.column) * kElement;
    for (int k = 0; k < Box::kRow && copy.box.column + k < m.cols; ++k) {
      const int chunk = k / kEach ^ r % (Box::kRowBytes / Box::kChunk);
      std::memcpy(to + r * Box::kRowBytes + chunk * Box::kChunk + k % kEach * kElement, from + k * kElement, kElement);
    }
  }
}

void Mail::Deliver(size_t any) {
  any %= copies_.size() + words_.size();
  if (any < copies_.size()) {
    const Copy copy = copies_[any];
    copies_.erase(copies_.begin() + static_cast<std::ptrdiff_t>(any));
    Put(copy);
    copy.block->shared.MarkCopied(static_cast<uint64_t>(copy.to), static_cast<uint64_t>(copy.bytes));
    copy.block->bars.Copied(copy.bar, copy.bytes);
    return;
  }
  any -= copies_.size();
  std::memcpy(words_[any].address, &words_[any].word, sizeof(uint64_t));
  words_[any] = words_.back();
  words_.pop_back();
}

}  // namespace unimax::emulator
