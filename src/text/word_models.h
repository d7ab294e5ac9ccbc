// SPDX-License-Identifier: Apache-2.0
// Models that are not byte-pair encodings by rank: Unigram (Kudo 2018), SentencePiece's BPE by score, WordPiece, and
// whole words. Results are those of the packages `tokenizers` and `sentencepiece`.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "text/trie.h"
#include "text/vocabulary.h"

namespace unimax {

// The most probable segmentation by piece scores (log-probabilities).
class UnigramModel final : public SubwordModel {
 public:
  struct Options {
    int unknown = -1;  // -1: none. A run of unknown characters is one unknown piece.
    bool byte_fallback = false;
    bool single_precision = false;  // sums are rounded as `sentencepiece` rounds them
    double worst = 0;               // the smallest score
  };
  // The usable pieces of `vocabulary`. `usable`, `scores`: by id.
  UnigramModel(const Vocabulary& vocabulary, const std::vector<bool>& usable, std::vector<double> scores, int unknown,
               bool byte_fallback);
  // Text becomes `pieces`, ids, only; `vocabulary` holds those for bytes, too.
  UnigramModel(const Vocabulary& vocabulary, const std::vector<int>& pieces, std::vector<double> scores,
               const Options& options);
  void Encode(std::string_view word, SubwordScratch& scratch, std::vector<int>& out) const override;

 private:
  std::vector<double> scores_;
  Trie pieces_;
  std::array<int, 256> byte_ids_{};
  Options options_;
  double unknown_score_ = 0;
};

// Joins the neighbours that make the piece with the best score, leftmost first; what is no piece becomes bytes.
class ScoredBpeModel final : public SubwordModel {
 public:
  // `scores`: by id, none NaN. `unknown`: -1 for none. `usable`: by id, whether text may become the piece; empty: all
  // may. Errors: kBadModel for a piece that is too long to be made by joining.
  static Result<std::unique_ptr<ScoredBpeModel>> Make(const Vocabulary& vocabulary, const std::vector<float>& scores,
                                                      const std::vector<bool>& usable, int unknown);
  void Encode(std::string_view word, SubwordScratch& scratch, std::vector<int>& out) const override;
  bool parts_at_marks() const override { return parts_at_marks_; }
  // One unknown id for a run of unknown characters.
  void fuse_unknown() { fuse_unknown_ = true; }

 private:
  void AddPairs(const Vocabulary& vocabulary, int id, int rank);
  Vocabulary symbols_;  // usable pieces by their ids, then the other characters that pieces are made of
  MergeTable merges_;
  std::array<int, 256> byte_ids_{};
  std::array<int, 0x800> short_ids_{};  // symbols of the characters of one or two bytes
  int unknown_ = -1, pieces_ = 0;
  bool parts_at_marks_ = false, fuse_unknown_ = false;
};

// Greedily the longest piece; a word that cannot be cut, or is too long, is unknown.
class WordPieceModel final : public SubwordModel {
 public:
  WordPieceModel(const Vocabulary& vocabulary, int unknown, std::string_view prefix, size_t max_chars);
  void Encode(std::string_view word, SubwordScratch& scratch, std::vector<int>& out) const override;

 private:
  Trie pieces_;
  std::optional<Trie::Place> inner_;  // where pieces begin that go on with a word; none: there are no such
  int unknown_;
  size_t max_chars_;
};

class WordLevelModel final : public SubwordModel {
 public:
  WordLevelModel(const Vocabulary& vocabulary, int unknown) : vocabulary_(vocabulary), unknown_(unknown) {}
  void Encode(std::string_view word, SubwordScratch& scratch, std::vector<int>& out) const override;

 private:
  const Vocabulary& vocabulary_;
  int unknown_;
};

}  // namespace unimax
