// SPDX-License-Identifier: Apache-2.0
// Joins neighbouring symbols, lowest rank first and equal ranks from left to right, until no pair of them joins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace unimax {

struct Symbol {
  int id;
  int width;  // bytes of text
};

// A pair of symbols and the symbol they make; lower ranks merge first.
class MergeTable {
 public:
  struct Merge {
    int rank;  // -1: no such merge
    int result;
  };
  void Reserve(size_t n);                               // makes room for exactly `n` pairs
  void Add(int left, int right, int rank, int result);  // a repeated pair takes the later rank
  Merge Find(int left, int right) const {
    size_t slot = Slot(left, right);
    while (table_[slot].left >= 0) {
      if (table_[slot].left == left && table_[slot].right == right) return table_[slot].merge;
      slot = After(slot);
    }
    return {-1, -1};
  }
  int ranks() const { return ranks_; }  // one more than the largest

 private:
  struct Entry {
    int left = -1, right = -1;
    Merge merge{-1, -1};
  };
  size_t Slot(int left, int right) const {
    uint64_t h = (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
    h *= 0x9e3779b97f4a7c15u;
    return static_cast<size_t>(((h >> 32) * table_.size()) >> 32);
  }
  size_t After(size_t slot) const { return slot + 1 == table_.size() ? 0 : slot + 1; }
  std::vector<Entry> table_ = std::vector<Entry>(2);
  size_t used_ = 0;
  int ranks_ = 0;
};

// A set of small numbers with a fast minimum: a bit a number, and above each 64 words one word that tells which of
// them are not zero.
class RankSet {
 public:
  void Resize(size_t n);
  size_t size() const { return levels_.empty() ? 0 : levels_[0].size() * 64; }
  void Insert(size_t n);
  void Erase(size_t n);
  bool empty() const { return levels_.empty() || levels_.back()[0] == 0; }
  size_t Min() const;  // of a set that is not empty

 private:
  std::vector<std::vector<uint64_t>> levels_;
};

// Time is O(n log n) in the number of symbols, and close to linear. Reusable; one thread at a time.
//
// Long runs are cut into windows, so that what is worked on stays in the processor's nearest cache. That is exact: a
// sequence of results is the result of the whole if, and only if, each two neighbours are the result of their own
// symbols alone. (Until a merge reaches across the border of a stretch, the stretch goes through the same merges as it
// would by itself; so the first one that reaches across a border would do so between the two neighbours, too.)
class Merger {
 public:
  void Run(const MergeTable& table, std::vector<Symbol>& symbols);

 private:
  // The places whose pair has one rank. Places that come while it is being worked off go to a heap.
  struct Bucket {
    std::vector<int> list, late;
    size_t next = 0;
    bool started = false, sorted = true;
  };
  struct Pair {
    int rank, result, previous, next;
  };
  static constexpr size_t kShort = 48;  // up to here looking at every pair is faster than keeping them in order

  static constexpr size_t kWindow = 1024;  // symbols
  static constexpr size_t kMargin = 8;     // how many results at the end of a window are not kept

  static void RunShort(const MergeTable& table, std::vector<Symbol>& symbols);
  void RunLong(const MergeTable& table, std::vector<Symbol>& symbols);
  void RunWhole(const MergeTable& table, std::vector<Symbol>& symbols);
  bool RunWindows(const MergeTable& table, const std::vector<Symbol>& symbols);
  bool Stands(const MergeTable& table, std::span<const Symbol> both, const Symbol& left, const Symbol& right);
  void Push(int rank, int place);
  int Pop(Bucket& bucket);  // the leftmost place; -1: none
  void Look(const MergeTable& table, const std::vector<Symbol>& symbols, int place);

  struct Looked {
    int left = -1, right = -1;
    MergeTable::Merge merge{-1, -1};
  };

  std::vector<Pair> pairs_;
  Looked looked_;                                // the pair that was asked for last: runs ask for one again and again
  std::vector<int> seen_;                        // ranks that have a bucket
  std::vector<Symbol> window_, couple_, whole_;  // what one window becomes, two of its symbols, all windows
  std::vector<size_t> counts_;                   // how many symbols each of window_ is made of
  std::vector<int> bucket_of_;                   // by rank; -1: none
  std::vector<Bucket> buckets_;
  size_t used_ = 0;
  RankSet ranks_;
};

}  // namespace unimax
