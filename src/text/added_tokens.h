// SPDX-License-Identifier: Apache-2.0
// Added tokens: pieces that are matched in the text before any model sees it (control tokens, user-defined symbols).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace unimax {

struct AddedToken {
  int id = -1;
  std::string content;
  bool single_word = false;  // only between characters that are not word characters
  bool left_strip = false;   // takes the white space before it
  bool right_strip = false;  // takes the white space after it
  bool normalized = false;   // is matched in the normalized text
  bool special = false;      // a control token: never matched in untrusted text
};

// Which bytes of a text are trusted: ascending ends of runs that alternate, starting with a trusted run (its end may be
// 0). An empty list: all of it is.
using TrustRuns = std::vector<size_t>;

// One piece of a cut text: an added token, or the text between two.
struct Cutting {
  size_t begin, end;
  int id;  // -1: plain text
};

// Finds the leftmost, then longest token at every place.
class AddedMatcher {
 public:
  void Add(const AddedToken& token, std::string_view spelling);
  bool empty() const { return tokens_.empty(); }
  // Pieces that cover `text`, in order. Special tokens match only in trusted bytes.
  std::vector<Cutting> Cut(std::string_view text, const TrustRuns& trust) const;

 private:
  // A stretch on which nothing branches or ends is one node, so that there are at most two nodes a token.
  struct Node {
    int child = -1, sibling = -1;  // first child, next child of the same parent
    int token = -1;                // that ends behind the label
    uint32_t label = 0, size = 0;  // where in `text_`
  };
  struct Token {
    int id;
    bool single_word, left_strip, right_strip, special;
  };
  int FindChild(int node, uint8_t byte) const;
  int AddChild(int node, std::string_view label);
  void Split(int node, size_t size);
  std::string_view Label(const Node& n) const { return std::string_view(text_).substr(n.label, n.size); }
  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::string text_;
  std::vector<int> roots_ = std::vector<int>(256, -1);  // the children of the first node by their first byte
  std::vector<Token> tokens_;
};

}  // namespace unimax
