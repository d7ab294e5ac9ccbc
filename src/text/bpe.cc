// SPDX-License-Identifier: Apache-2.0
#include "text/bpe.h"

#include <algorithm>
#include <queue>

#include "text/utf8.h"

namespace unimax {

void MergeTable::Reserve(size_t n) {
  size_t size = 2;
  while (size < n * 2) size *= 2;
  if (size <= table_.size()) return;
  std::vector<Entry> old(size);
  old.swap(table_);
  mask_ = size - 1;
  used_ = 0;
  for (const Entry& e : old) {
    if (e.left >= 0) Add(e.left, e.right, e.merge.rank, e.merge.result);
  }
}

void MergeTable::Add(int left, int right, int rank, int result) {
  if ((used_ + 1) * 2 > table_.size()) Reserve(table_.size());
  size_t slot = Slot(left, right);
  while (table_[slot].left >= 0 && (table_[slot].left != left || table_[slot].right != right)) {
    slot = (slot + 1) & mask_;
  }
  if (table_[slot].left < 0) ++used_;
  table_[slot] = {left, right, {rank, result}};
}

Result<std::unique_ptr<BpeModel>> BpeModel::Make(const Vocabulary& vocabulary, const std::vector<PieceView>& merges,
                                                 BpeOptions options) {
  auto model = std::make_unique<BpeModel>(vocabulary);
  model->merges_.Reserve(merges.size());
  std::string joined;
  for (size_t i = 0; i < merges.size(); ++i) {
    auto [left, right] = merges[i];
    const int a = vocabulary.Find(left);
    const int b = vocabulary.Find(right);
    if (a < 0 || b < 0) {
      return BadModel("merge {} of the tokenizer joins '{}', which is not in the vocabulary", i, a < 0 ? left : right);
    }
    if (right.starts_with(options.continuing_prefix)) right.remove_prefix(options.continuing_prefix.size());
    joined.assign(left).append(right);
    const int result = vocabulary.Find(joined);
    if (result < 0) return BadModel("merge {} of the tokenizer makes '{}', which is not in the vocabulary", i, joined);
    model->merges_.Add(a, b, static_cast<int>(i), result);
  }
  model->options_ = std::move(options);
  for (char32_t c = 0; c < model->short_ids_.size(); ++c) {
    std::string spelling;
    utf8::Append(spelling, c);
    model->short_ids_[c] = vocabulary.Find(spelling);
  }
  for (int b = 0; b < 256; ++b) {
    model->byte_ids_[static_cast<size_t>(b)] = vocabulary.Find(fmt::format("<0x{:02X}>", b));
  }
  return model;
}

int BpeModel::CharId(std::string_view spelling) const {
  if (spelling.size() > 2) return vocabulary_.Find(spelling);
  return short_ids_[utf8::At(spelling, 0).code];
}

void BpeModel::Split(std::string_view word, std::vector<Symbol>& symbols) const {
  const bool plain = options_.continuing_prefix.empty() && options_.word_suffix.empty();
  std::string dressed;
  bool last_unknown = false;
  const auto add = [&](int id) {
    const int at = static_cast<int>(symbols.size());
    symbols.push_back({id, at - 1, at + 1, true});
  };
  for (size_t i = 0; i < word.size();) {
    const auto length = static_cast<size_t>(utf8::At(word, i).length);
    const std::string_view spelling = word.substr(i, length);
    int id;
    if (plain) {
      id = CharId(spelling);
    } else {
      dressed = i > 0 ? options_.continuing_prefix : std::string();
      dressed += spelling;
      if (i + length == word.size()) dressed += options_.word_suffix;
      id = vocabulary_.Find(dressed);
    }
    i += length;
    if (id >= 0) {
      add(id);
      last_unknown = false;
      continue;
    }
    if (options_.byte_fallback) {
      const std::string_view bytes = plain ? spelling : std::string_view(dressed);
      const auto byte_id = [&](char b) { return byte_ids_[static_cast<uint8_t>(b)]; };
      if (std::all_of(bytes.begin(), bytes.end(), [&](char b) { return byte_id(b) >= 0; })) {
        for (char b : bytes) add(byte_id(b));
        last_unknown = false;
        continue;
      }
    }
    if (options_.unknown >= 0 && !(options_.fuse_unknown && last_unknown)) add(options_.unknown);
    last_unknown = true;
  }
  if (!symbols.empty()) symbols.back().next = -1;
}

void BpeModel::MergeAll(std::vector<Symbol>& symbols) const {
  struct Candidate {
    int rank, left, result;
    bool operator>(const Candidate& o) const { return rank != o.rank ? rank > o.rank : left > o.left; }
  };
  std::vector<Candidate> start;
  const auto candidate = [&](int left, auto& sink) {
    const int right = left < 0 ? -1 : symbols[static_cast<size_t>(left)].next;
    if (right < 0) return;
    const auto merge = merges_.Find(symbols[static_cast<size_t>(left)].id, symbols[static_cast<size_t>(right)].id);
    if (merge.rank >= 0) sink.push_back({merge.rank, left, merge.result});
  };
  for (int i = 0; i + 1 < static_cast<int>(symbols.size()); ++i) candidate(i, start);
  // A heap with stale entries: one that no longer describes its place is dropped when it comes up.
  std::make_heap(start.begin(), start.end(), std::greater<>());
  const auto push_all = [&](size_t from) {
    for (size_t n = from + 1; n <= start.size(); ++n) {
      std::push_heap(start.begin(), start.begin() + static_cast<ptrdiff_t>(n), std::greater<>());
    }
  };
  while (!start.empty()) {
    std::pop_heap(start.begin(), start.end(), std::greater<>());
    const Candidate c = start.back();
    start.pop_back();
    Symbol& left = symbols[static_cast<size_t>(c.left)];
    if (!left.live || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    const auto merge = merges_.Find(left.id, right.id);
    if (merge.rank < 0 || merge.result != c.result) continue;
    left.id = c.result;
    left.next = right.next;
    right.live = false;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = c.left;
    const size_t before = start.size();
    candidate(left.previous, start);
    candidate(c.left, start);
    push_all(before);
  }
}

void BpeModel::Encode(std::string_view word, std::vector<int>& out) const {
  if (word.empty()) return;
  if (options_.ignore_merges) {
    const int id = vocabulary_.Find(word);
    if (id >= 0) {
      out.push_back(id);
      return;
    }
  }
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  Split(word, symbols);
  MergeAll(symbols);
  for (const Symbol& s : symbols) {
    if (s.live) out.push_back(s.id);
  }
}

}  // namespace unimax
