// SPDX-License-Identifier: Apache-2.0
// Models that are not byte-pair encodings by rank: Unigram (Kudo 2018), SentencePiece's BPE by score, WordPiece, and
// whole words. Results are those of the packages `tokenizers` and `sentencepiece`.
#pragma once

#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "text/vocabulary.h"

namespace unimax {

// The most probable segmentation by piece scores (log-probabilities).
class UnigramModel final : public SubwordModel {
 public:
  // `scores`: by id. `unknown`: -1 for none. A run of unknown characters is one unknown piece.
  UnigramModel(const Vocabulary& vocabulary, std::vector<double> scores, int unknown, bool byte_fallback);
  void Encode(std::string_view word, std::vector<int>& out) const override;

 private:
  const Vocabulary& vocabulary_;
  std::vector<double> scores_;
  std::vector<std::pair<std::string_view, int>> sorted_;  // pieces in byte order, for prefix search
  std::array<int, 256> byte_ids_{};
  bool byte_fallback_ = false;
  int unknown_;
  double unknown_score_ = 0;
};

// Joins the neighbours that make the piece with the best score, leftmost first; what is no piece becomes bytes.
class ScoredBpeModel final : public SubwordModel {
 public:
  // `scores`: by id. `unknown`: -1 for none.
  ScoredBpeModel(const Vocabulary& vocabulary, std::vector<float> scores, int unknown);
  void Encode(std::string_view word, std::vector<int>& out) const override;

 private:
  const Vocabulary& vocabulary_;
  std::vector<float> scores_;
  std::array<int, 256> byte_ids_{};
  int unknown_;
  size_t longest_ = 0;
};

// Greedily the longest piece; a word that cannot be cut, or is too long, is unknown.
class WordPieceModel final : public SubwordModel {
 public:
  WordPieceModel(const Vocabulary& vocabulary, int unknown, std::string prefix, size_t max_chars)
      : vocabulary_(vocabulary), unknown_(unknown), prefix_(std::move(prefix)), max_chars_(max_chars) {}
  void Encode(std::string_view word, std::vector<int>& out) const override;

 private:
  const Vocabulary& vocabulary_;
  int unknown_;
  std::string prefix_;
  size_t max_chars_;
};

class WordLevelModel final : public SubwordModel {
 public:
  WordLevelModel(const Vocabulary& vocabulary, int unknown) : vocabulary_(vocabulary), unknown_(unknown) {}
  void Encode(std::string_view word, std::vector<int>& out) const override;

 private:
  const Vocabulary& vocabulary_;
  int unknown_;
};

}  // namespace unimax
