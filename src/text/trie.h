// SPDX-License-Identifier: Apache-2.0
// A fixed set of byte strings, walked byte by byte: which of them start a text.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace unimax {

class Trie {
 public:
  static constexpr int kRoot = 0;
  Trie() = default;
  // `strings`: with the value of each, which is not negative; of equal strings the last one counts.
  explicit Trie(std::vector<std::pair<std::string_view, int>> strings);
  // -1: no string goes on like this.
  int Next(int node, uint8_t byte) const {
    if (node == kRoot) return root_[byte];
    const Node& n = nodes_[static_cast<size_t>(node)];
    const auto* begin = bytes_.data() + n.first_child;
    const auto* end = begin + n.children;
    const auto* found = n.children > 8 ? std::lower_bound(begin, end, byte) : std::find(begin, end, byte);
    return found != end && *found == byte ? static_cast<int>(found - bytes_.data()) : -1;
  }
  int Walk(int node, std::string_view text) const {
    for (size_t i = 0; i < text.size() && node >= 0; ++i) node = Next(node, static_cast<uint8_t>(text[i]));
    return node;
  }
  int Value(int node) const { return nodes_[static_cast<size_t>(node)].value; }  // -1: no string ends here

 private:
  // The children of a node lie side by side, by byte; `bytes_` holds the byte that leads to each node.
  struct Node {
    int first_child = 0, children = 0, value = -1;
  };
  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::vector<uint8_t> bytes_ = std::vector<uint8_t>(1);
  std::array<int, 256> root_ = [] {
    std::array<int, 256> none;
    none.fill(-1);
    return none;
  }();
};

}  // namespace unimax
