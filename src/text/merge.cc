// SPDX-License-Identifier: Apache-2.0
#include "text/merge.h"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <numeric>

namespace unimax {

void MergeTable::Reserve(size_t n) {
  const size_t size = n * 2;
  if (size <= table_.size()) return;
  std::vector<Entry> old(size);
  old.swap(table_);
  used_ = 0;
  for (const Entry& e : old) {
    if (e.left >= 0) Add(e.left, e.right, e.merge.rank, e.merge.result);
  }
}

void MergeTable::Add(int left, int right, int rank, int result) {
  if ((used_ + 1) * 2 > table_.size()) Reserve(table_.size());
  size_t slot = Slot(left, right);
  while (table_[slot].left >= 0 && (table_[slot].left != left || table_[slot].right != right)) {
    slot = After(slot);
  }
  if (table_[slot].left < 0) ++used_;
  table_[slot] = {left, right, {rank, result}};
  ranks_ = std::max(ranks_, rank + 1);
}

void RankSet::Resize(size_t n) {
  levels_.clear();
  do {
    n = (n + 63) / 64;
    levels_.emplace_back(std::max<size_t>(n, 1));
  } while (n > 1);
}

void RankSet::Insert(size_t n) {
  for (auto& level : levels_) {
    uint64_t& word = level[n / 64];
    const bool was = word != 0;
    word |= uint64_t{1} << (n % 64);
    if (was) return;
    n /= 64;
  }
}

void RankSet::Erase(size_t n) {
  for (auto& level : levels_) {
    uint64_t& word = level[n / 64];
    word &= ~(uint64_t{1} << (n % 64));
    if (word != 0) return;
    n /= 64;
  }
}

size_t RankSet::Min() const {
  size_t n = 0;
  for (auto level = levels_.rbegin(); level != levels_.rend(); ++level) {
    n = n * 64 + static_cast<size_t>(std::countr_zero((*level)[n]));
  }
  return n;
}

void Merger::RunShort(const MergeTable& table, std::vector<Symbol>& symbols) {
  constexpr int kNever = 0x7fffffff;
  std::array<int, kShort> ranks, results;  // ranks[i]: of symbols i and i + 1
  size_t n = symbols.size();
  const auto look = [&](size_t i) {
    const MergeTable::Merge merge = table.Find(symbols[i].id, symbols[i + 1].id);
    ranks[i] = merge.rank < 0 ? kNever : merge.rank;
    results[i] = merge.result;
  };
  for (size_t i = 0; i + 1 < n; ++i) look(i);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (ranks[i] < ranks[best]) best = i;
    }
    if (ranks[best] == kNever) break;
    symbols[best] = {results[best], symbols[best].width + symbols[best + 1].width};
    for (size_t i = best + 1; i + 1 < n; ++i) {
      symbols[i] = symbols[i + 1];
      ranks[i] = ranks[i + 1];
      results[i] = results[i + 1];
    }
    --n;
    if (best > 0) look(best - 1);
    if (best + 1 < n) look(best);
  }
  symbols.resize(n);
}

void Merger::Push(int rank, int place) {
  int& index = bucket_of_[static_cast<size_t>(rank)];
  if (index < 0) {
    index = static_cast<int>(used_++);
    if (used_ > buckets_.size()) buckets_.emplace_back();
  }
  Bucket& bucket = buckets_[static_cast<size_t>(index)];
  if (bucket.started) {
    bucket.late.push_back(place);
    std::push_heap(bucket.late.begin(), bucket.late.end(), std::greater<>());
    return;
  }
  if (bucket.list.empty()) ranks_.Insert(static_cast<size_t>(rank));
  bucket.sorted = bucket.sorted && (bucket.list.empty() || bucket.list.back() <= place);
  bucket.list.push_back(place);
}

int Merger::Pop(Bucket& bucket) {
  if (!bucket.started) {
    if (!bucket.sorted) std::sort(bucket.list.begin(), bucket.list.end());
    bucket.started = true;
    bucket.next = 0;
  }
  const bool listed = bucket.next < bucket.list.size();
  if (!bucket.late.empty() && (!listed || bucket.late.front() < bucket.list[bucket.next])) {
    std::pop_heap(bucket.late.begin(), bucket.late.end(), std::greater<>());
    const int place = bucket.late.back();
    bucket.late.pop_back();
    return place;
  }
  if (listed) return bucket.list[bucket.next++];
  bucket.list.clear();
  bucket.started = false;
  bucket.sorted = true;
  return -1;
}

void Merger::Look(const MergeTable& table, const std::vector<Symbol>& symbols, int place) {
  Pair& pair = pairs_[static_cast<size_t>(place)];
  pair.rank = -1;
  if (pair.next < 0) return;
  const int left = symbols[static_cast<size_t>(place)].id, right = symbols[static_cast<size_t>(pair.next)].id;
  if (left != looked_.left || right != looked_.right) looked_ = {left, right, table.Find(left, right)};
  const MergeTable::Merge merge = looked_.merge;
  if (merge.rank < 0) return;
  pair.rank = merge.rank;
  pair.result = merge.result;
  Push(merge.rank, place);
}

void Merger::RunLong(const MergeTable& table, std::vector<Symbol>& symbols) {
  const auto ranks = static_cast<size_t>(table.ranks());
  if (ranks_.size() < ranks || bucket_of_.size() < ranks) {
    ranks_.Resize(ranks);
    bucket_of_.assign(ranks, -1);
  }
  const int n = static_cast<int>(symbols.size());
  pairs_.resize(symbols.size());
  used_ = 0;
  looked_ = {};
  for (int i = 0; i < n; ++i) {
    pairs_[static_cast<size_t>(i)] = {-1, -1, i - 1, i + 1 < n ? i + 1 : -1};
    Look(table, symbols, i);
  }
  seen_.clear();
  while (!ranks_.empty()) {
    const size_t rank = ranks_.Min();
    const int bucket = bucket_of_[rank];
    const int place = Pop(buckets_[static_cast<size_t>(bucket)]);
    if (place < 0) {
      ranks_.Erase(rank);
      seen_.push_back(static_cast<int>(rank));
      continue;
    }
    Pair& left = pairs_[static_cast<size_t>(place)];
    if (left.rank != static_cast<int>(rank)) continue;  // the pair has changed since
    Pair& right = pairs_[static_cast<size_t>(left.next)];
    Symbol& symbol = symbols[static_cast<size_t>(place)];
    symbol.id = left.result;
    symbol.width += symbols[static_cast<size_t>(left.next)].width;
    right.rank = -1;
    left.next = right.next;
    if (left.next >= 0) pairs_[static_cast<size_t>(left.next)].previous = place;
    const int previous = left.previous;
    if (previous >= 0) Look(table, symbols, previous);
    Look(table, symbols, place);
  }
  for (int rank : seen_) bucket_of_[static_cast<size_t>(rank)] = -1;
  size_t kept = 0;
  for (int i = 0; i >= 0; i = pairs_[static_cast<size_t>(i)].next) symbols[kept++] = symbols[static_cast<size_t>(i)];
  symbols.resize(kept);
}

void Merger::RunWhole(const MergeTable& table, std::vector<Symbol>& symbols) {
  if (symbols.size() < 2) return;
  if (symbols.size() <= kShort) return RunShort(table, symbols);
  RunLong(table, symbols);
}

// Whether the symbols of two results, merged by themselves, are these two again.
bool Merger::Stands(const MergeTable& table, std::span<const Symbol> both, const Symbol& left, const Symbol& right) {
  couple_.assign(both.begin(), both.end());
  RunWhole(table, couple_);
  return couple_.size() == 2 && couple_[0].id == left.id && couple_[0].width == left.width && couple_[1].id == right.id;
}

// Fills whole_. False: the windows do not fit together.
bool Merger::RunWindows(const MergeTable& table, const std::vector<Symbol>& symbols) {
  whole_.clear();
  size_t begin = 0, size = kWindow, last = 0;  // `last`: symbols of the last result kept
  while (begin < symbols.size()) {
    const size_t end = std::min(begin + size, symbols.size());
    const auto from = symbols.begin() + static_cast<ptrdiff_t>(begin);
    window_.assign(from, symbols.begin() + static_cast<ptrdiff_t>(end));
    RunWhole(table, window_);
    // Every symbol has a width, so widths tell how many symbols a result is made of.
    counts_.clear();
    for (size_t at = begin; const Symbol& result : window_) {
      const size_t first = at;
      for (int left = result.width; left > 0 && at < end; ++at) left -= symbols[at].width;
      counts_.push_back(at - first);
    }
    if (begin > 0 && !Stands(table, {symbols.data() + begin - last, last + counts_[0]}, whole_.back(), window_[0])) {
      return false;
    }
    const size_t margin = end < symbols.size() ? kMargin : 0;
    const size_t kept = window_.size() - std::min(window_.size(), margin);
    const size_t next = std::accumulate(counts_.begin(), counts_.begin() + static_cast<ptrdiff_t>(kept), begin);
    if (next - begin < size / 4 * 3 && margin > 0) {  // long results: a wider window
      size *= 2;
      continue;
    }
    begin = next;
    last = counts_[kept - 1];
    whole_.insert(whole_.end(), window_.begin(), window_.begin() + static_cast<ptrdiff_t>(kept));
  }
  return true;
}

void Merger::Run(const MergeTable& table, std::vector<Symbol>& symbols) {
  if (table.ranks() == 0) return;
  if (symbols.size() > 2 * kWindow && RunWindows(table, symbols)) return symbols.swap(whole_);
  RunWhole(table, symbols);
}

}  // namespace unimax
