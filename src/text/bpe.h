// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding: joins neighbouring pieces, best merge first, until no merge applies (Sennrich et al. 2016; the
// order of equal merges is left to right).
#pragma once

#include <array>
#include <functional>
#include <memory>

#include "text/vocabulary.h"

namespace unimax {

struct BpeOptions {
  int unknown = -1;            // id for a character that the vocabulary lacks; -1: such characters vanish
  bool fuse_unknown = false;   // one unknown id for a run of them
  bool byte_fallback = false;  // a missing character becomes its bytes <0x00> to <0xFF>, if all are there
  bool ignore_merges = false;  // a word that is a piece is taken whole
  bool reads_bytes = false;    // words are raw bytes, each of which stands for a character (BytesToChars)
  std::string continuing_prefix, word_suffix;
};

class BpeModel final : public SubwordModel {
 public:
  struct Merge {
    std::string_view left, right;
  };
  // Gives the next merge, best first; false: there are no more. The texts are valid until the next call.
  using Merges = std::function<bool(Merge*)>;
  explicit BpeModel(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}  // use Make
  // `count`: of the merges. Errors: kBadModel for a merge whose parts or result are not in the vocabulary.
  static Result<std::unique_ptr<BpeModel>> Make(const Vocabulary& vocabulary, size_t count, const Merges& merges,
                                                BpeOptions options);
  void Encode(std::string_view word, SubwordScratch& scratch, std::vector<int>& out) const override;
  bool reads_bytes() const override { return options_.reads_bytes; }
  bool parts_at_marks() const override { return parts_at_marks_; }

 private:
  Status AddMerges(size_t count, const Merges& merges);
  void KeepRawPieces();
  void Split(std::string_view word, std::vector<Symbol>& symbols) const;
  void SplitBytes(std::string_view word, std::vector<Symbol>& symbols) const;
  int CharId(std::string_view spelling) const;

  const Vocabulary& vocabulary_;
  Vocabulary raw_pieces_;  // reads_bytes and ignore_merges: pieces by their bytes
  BpeOptions options_;
  MergeTable merges_;
  bool parts_at_marks_ = false;
  std::array<int, 0x800> short_ids_{};  // ids of the characters of one or two bytes
  std::array<int, 256> byte_ids_{};     // ids of <0x00> to <0xFF>; reads_bytes: of the characters of the bytes
};

}  // namespace unimax
