// SPDX-License-Identifier: Apache-2.0
// A fixed set of byte strings, walked byte by byte: which of them start a text. A path on which nothing branches or
// ends is one node with a label (Morrison 1968), so that memory is bound by the strings, whatever they share.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace unimax {

class Trie {
 public:
  // Where a walk is: in front of the byte `next` of the labels, on the way to `node` or there.
  struct Place {
    int node = 0;
    uint32_t next = 0;
  };
  Trie() = default;
  // The pieces with these ids, each with its id as its value; of equal ones the largest id counts.
  Trie(const Vocabulary& vocabulary, const std::vector<int>& ids);
  // Goes on by one byte; false: no string goes on like this, and `place` has no meaning any more.
  bool Step(Place& place, uint8_t byte) const {
    if (place.next < End(place.node)) return static_cast<uint8_t>(labels_[place.next++]) == byte;
    const int child = Child(place.node, byte);
    if (child < 0) return false;
    place = {child, nodes_[static_cast<size_t>(child)].label};
    return true;
  }
  int Value(const Place& place) const {  // -1: no string ends here
    return place.next < End(place.node) ? -1 : nodes_[static_cast<size_t>(place.node)].value;
  }

 private:
  // The children of a node lie side by side, by their first byte, which `bytes_` holds; labels are what follows it.
  // Children and label of a node end where those of the next node begin; one node more than there are ends the list.
  struct Node {
    int first_child = 1, value = -1;
    uint32_t label = 0;
  };
  uint32_t End(int node) const { return nodes_[static_cast<size_t>(node) + 1].label; }
  int Child(int node, uint8_t byte) const {
    if (node == 0) return root_[byte];
    const int from = nodes_[static_cast<size_t>(node)].first_child;
    const int to = nodes_[static_cast<size_t>(node) + 1].first_child;
    const auto* begin = bytes_.data() + from;
    const auto* end = bytes_.data() + to;
    const auto* found = to - from > 8 ? std::lower_bound(begin, end, byte) : std::find(begin, end, byte);
    return found != end && *found == byte ? static_cast<int>(found - bytes_.data()) : -1;
  }

  std::vector<Node> nodes_ = std::vector<Node>(2);
  std::vector<uint8_t> bytes_ = std::vector<uint8_t>(1);
  std::string labels_;
  std::array<int, 256> root_ = [] {
    std::array<int, 256> none;
    none.fill(-1);
    return none;
  }();
};

}  // namespace unimax
