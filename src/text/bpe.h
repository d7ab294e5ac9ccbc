// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding: joins neighbouring pieces, best merge first, until no merge applies (Sennrich et al. 2016; the
// order of equal merges is left to right).
#pragma once

#include <array>
#include <memory>
#include <utility>

#include "text/vocabulary.h"

namespace unimax {

struct BpeOptions {
  int unknown = -1;            // id for a character that the vocabulary lacks; -1: such characters vanish
  bool fuse_unknown = false;   // one unknown id for a run of them
  bool byte_fallback = false;  // a missing character becomes its bytes <0x00> to <0xFF>, if all are there
  bool ignore_merges = false;  // a word that is a piece is taken whole
  std::string continuing_prefix, word_suffix;
};

// A pair of pieces and the piece they make; lower ranks merge first.
class MergeTable {
 public:
  struct Merge {
    int rank;  // -1: no such merge
    int result;
  };
  void Reserve(size_t n);
  void Add(int left, int right, int rank, int result);  // a repeated pair takes the later rank
  Merge Find(int left, int right) const {
    size_t slot = Slot(left, right);
    while (table_[slot].left >= 0) {
      if (table_[slot].left == left && table_[slot].right == right) return table_[slot].merge;
      slot = (slot + 1) & mask_;
    }
    return {-1, -1};
  }

 private:
  struct Entry {
    int left = -1, right = -1;
    Merge merge{-1, -1};
  };
  size_t Slot(int left, int right) const {
    uint64_t h = (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
    h *= 0x9e3779b97f4a7c15u;
    h ^= h >> 29;
    return static_cast<size_t>(h) & mask_;
  }
  std::vector<Entry> table_ = std::vector<Entry>(2);
  size_t mask_ = 1, used_ = 0;
};

class BpeModel final : public SubwordModel {
 public:
  using PieceView = std::pair<std::string_view, std::string_view>;
  explicit BpeModel(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}  // use Make
  // `merges`: best first. Errors: kBadModel for a merge whose parts or result are not in the vocabulary.
  static Result<std::unique_ptr<BpeModel>> Make(const Vocabulary& vocabulary, const std::vector<PieceView>& merges,
                                                BpeOptions options);
  void Encode(std::string_view word, std::vector<int>& out) const override;

 private:
  struct Symbol {
    int id, previous, next;
    bool live;
  };
  void Split(std::string_view word, std::vector<Symbol>& symbols) const;
  void MergeAll(std::vector<Symbol>& symbols) const;
  int CharId(std::string_view spelling) const;

  const Vocabulary& vocabulary_;
  BpeOptions options_;
  MergeTable merges_;
  std::array<int, 0x800> short_ids_{};  // ids of the characters of one or two bytes
  std::array<int, 256> byte_ids_{};     // ids of <0x00> to <0xFF>
};

}  // namespace unimax
