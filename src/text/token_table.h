// SPDX-License-Identifier: Apache-2.0
// The tokens of a tokenizer by id and by spelling: the pieces of its model and, above them, tokens of its own.
#pragma once

#include <utility>
#include <vector>

#include "text/vocabulary.h"

namespace unimax {

class TokenTable {
 public:
  explicit TokenTable(const Vocabulary& model) : model_(model) {}
  // Find knows the token by `spelling`, Piece gives `shown`. Later tokens stand above earlier ones and the model's.
  void Add(std::string_view spelling, std::string_view shown, int id);
  void Index();                            // once, after the last Add
  int Find(std::string_view piece) const;  // -1: not there
  std::string_view Piece(int id) const;    // "" when there is none
  bool Has(int id) const { return IsOwn(id) || model_.Has(id); }
  int size() const { return std::max(size_, model_.size()); }

 private:
  bool IsOwn(int id) const { return id >= 0 && id < size_ && own_ids_[static_cast<size_t>(id)]; }
  const Vocabulary& model_;
  Vocabulary own_;                          // numbers the own tokens from 0 on
  std::vector<int> ids_;                    // by that number
  std::vector<std::pair<int, int>> by_id_;  // id and number, ascending
  std::vector<bool> own_ids_;
  int size_ = 0;
};

}  // namespace unimax
