// SPDX-License-Identifier: Apache-2.0
#include "text/token_table.h"

#include <algorithm>
#include <limits>

namespace unimax {

void TokenTable::Add(std::string_view spelling, std::string_view shown, int id) {
  const int number = static_cast<int>(ids_.size());
  own_.Add(spelling, number, true);
  if (shown != spelling) own_.Respell(number, shown);
  ids_.push_back(id);
  size_ = std::max(size_, id + 1);
}

void TokenTable::Index() {
  own_ids_.assign(static_cast<size_t>(size_), false);
  by_id_.reserve(ids_.size());
  for (size_t i = 0; i < ids_.size(); ++i) {
    by_id_.emplace_back(ids_[i], static_cast<int>(i));
    own_ids_[static_cast<size_t>(ids_[i])] = true;
  }
  std::sort(by_id_.begin(), by_id_.end());
}

int TokenTable::Find(std::string_view piece) const {
  const int own = own_.Find(piece);
  return own >= 0 ? ids_[static_cast<size_t>(own)] : model_.Find(piece);
}

std::string_view TokenTable::Piece(int id) const {
  if (!IsOwn(id)) return model_.Piece(id);
  const auto after = std::upper_bound(by_id_.begin(), by_id_.end(), std::pair(id, std::numeric_limits<int>::max()));
  return own_.Piece(std::prev(after)->second);
}

}  // namespace unimax
