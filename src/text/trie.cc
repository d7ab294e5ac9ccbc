// SPDX-License-Identifier: Apache-2.0
#include "text/trie.h"

#include <deque>

namespace unimax {
namespace {

// A string by its id; the first bytes settle most comparisons.
struct Entry {
  uint32_t first_bytes;
  int id;
};

std::vector<Entry> Sorted(const Vocabulary& vocabulary, const std::vector<int>& ids) {
  std::vector<Entry> entries;
  entries.reserve(ids.size());
  for (const int id : ids) {
    const std::string_view text = vocabulary.Piece(id);
    uint32_t first = 0;
    for (size_t i = 0; i < 4; ++i) first = (first << 8) | (i < text.size() ? static_cast<uint8_t>(text[i]) : 0u);
    entries.push_back({first, id});
  }
  std::sort(entries.begin(), entries.end(), [&](const Entry& a, const Entry& b) {
    if (a.first_bytes != b.first_bytes) return a.first_bytes < b.first_bytes;
    const int order = vocabulary.Piece(a.id).compare(vocabulary.Piece(b.id));
    return order != 0 ? order < 0 : a.id < b.id;
  });
  return entries;
}

size_t CommonLength(std::string_view a, std::string_view b, size_t from) {
  size_t n = from;
  while (n < a.size() && n < b.size() && a[n] == b[n]) ++n;
  return n;
}

struct Counts {
  size_t nodes = 1, bytes = 0;  // of all labels, first bytes included
};

// Each string adds a node where it ends and, unless there is one, a node where it leaves the string before it.
Counts Count(const Vocabulary& vocabulary, const std::vector<Entry>& entries) {
  Counts counts;
  std::vector<size_t> depths{0};  // of the nodes from the root to the string before
  std::string_view before;
  for (const Entry& e : entries) {
    const std::string_view text = vocabulary.Piece(e.id);
    const size_t common = CommonLength(before, text, 0);
    while (depths.back() > common) depths.pop_back();
    if (depths.back() < common) depths.push_back(common), ++counts.nodes;
    if (text.size() > common) depths.push_back(text.size()), ++counts.nodes;
    counts.bytes += text.size() - common;
    before = text;
  }
  return counts;
}

}  // namespace

Trie::Trie(const Vocabulary& vocabulary, const std::vector<int>& ids) {
  const std::vector<Entry> entries = Sorted(vocabulary, ids);
  const Counts counts = Count(vocabulary, entries);
  nodes_.clear();
  nodes_.reserve(counts.nodes + 1);
  bytes_.reserve(counts.nodes);
  labels_.reserve(counts.bytes - (counts.nodes - 1));
  // Level by level: a node is a range of strings that share its prefix. Those of nodes with children wait in a queue.
  struct Range {
    uint32_t begin, end, depth;
  };
  std::deque<Range> waiting{{0, static_cast<uint32_t>(entries.size()), 0}};
  nodes_.push_back({-1, -1, 0});
  const auto text = [&](size_t i) { return vocabulary.Piece(entries[i].id); };
  for (size_t node = 0; node < nodes_.size(); ++node) {
    const bool inner = nodes_[node].first_child < 0;
    nodes_[node].first_child = static_cast<int>(nodes_.size());
    if (!inner) continue;
    auto [begin, end, depth] = waiting.front();
    waiting.pop_front();
    while (begin < end && text(begin).size() == depth) nodes_[node].value = entries[begin++].id;
    while (begin < end) {
      const char byte = text(begin)[depth];
      uint32_t stop = begin + 1;
      while (stop < end && text(stop)[depth] == byte) ++stop;
      const std::string_view first = text(begin);
      const size_t common = stop - begin > 1 ? CommonLength(first, text(stop - 1), depth + 1) : first.size();
      if (node == 0) root_[static_cast<uint8_t>(byte)] = static_cast<int>(nodes_.size());
      const bool leaf = text(stop - 1).size() == common;
      nodes_.push_back({leaf ? 0 : -1, leaf ? entries[stop - 1].id : -1, static_cast<uint32_t>(labels_.size())});
      bytes_.push_back(static_cast<uint8_t>(byte));
      labels_ += first.substr(depth + 1, common - depth - 1);
      if (!leaf) waiting.push_back({begin, stop, static_cast<uint32_t>(common)});
      begin = stop;
    }
  }
  nodes_.push_back({static_cast<int>(nodes_.size()), -1, static_cast<uint32_t>(labels_.size())});
}

}  // namespace unimax
