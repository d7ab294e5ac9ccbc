// SPDX-License-Identifier: Apache-2.0
#include "text/trie.h"

namespace unimax {

Trie::Trie(std::vector<std::pair<std::string_view, int>> strings) {
  std::stable_sort(strings.begin(), strings.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  // Level by level: a node is the range of strings that share its prefix.
  struct Range {
    size_t begin, end, depth;
  };
  std::vector<Range> ranges{{0, strings.size(), 0}};
  for (size_t node = 0; node < ranges.size(); ++node) {
    auto [begin, end, depth] = ranges[node];
    while (begin < end && strings[begin].first.size() == depth) nodes_[node].value = strings[begin++].second;
    nodes_[node].first_child = static_cast<int>(nodes_.size());
    while (begin < end) {
      const char byte = strings[begin].first[depth];
      size_t stop = begin + 1;
      while (stop < end && strings[stop].first[depth] == byte) ++stop;
      if (node == 0) root_[static_cast<uint8_t>(byte)] = static_cast<int>(nodes_.size());
      nodes_.emplace_back();
      bytes_.push_back(static_cast<uint8_t>(byte));
      ranges.push_back({begin, stop, depth + 1});
      ++nodes_[node].children;
      begin = stop;
    }
  }
}

}  // namespace unimax
