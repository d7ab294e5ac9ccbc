// SPDX-License-Identifier: Apache-2.0
#include "text/added_tokens.h"

#include <algorithm>
#include <cstdint>

#include "text/utf8.h"

namespace unimax {
namespace {

// Start of the character before `at` (> 0).
size_t Before(std::string_view text, size_t at) {
  do --at;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xc0) == 0x80);
  return at;
}

bool WordAt(std::string_view text, size_t at) { return at < text.size() && utf8::IsWord(utf8::At(text, at).code); }

// Walks the runs of a TrustRuns forwards.
class TrustWalker {
 public:
  explicit TrustWalker(const TrustRuns& runs) : runs_(runs) {}
  // The end of the trusted run that holds `at`; `at` itself when it is untrusted. `at` must not decrease.
  size_t TrustedEnd(size_t at, size_t size) {
    if (runs_.empty()) return size;
    while (next_ < runs_.size() && runs_[next_] <= at) ++next_;
    if (next_ % 2 != 0) return at;
    return next_ < runs_.size() ? runs_[next_] : size;
  }

 private:
  const TrustRuns& runs_;
  size_t next_ = 0;
};

}  // namespace

int AddedMatcher::FindChild(int node, uint8_t byte) const {
  if (node == 0) return roots_[byte];
  const auto first = [&](int c) { return static_cast<uint8_t>(text_[nodes_[static_cast<size_t>(c)].label]); };
  int c = nodes_[static_cast<size_t>(node)].child;
  while (c >= 0 && first(c) != byte) c = nodes_[static_cast<size_t>(c)].sibling;
  return c;
}

int AddedMatcher::AddChild(int node, std::string_view label) {
  const int child = static_cast<int>(nodes_.size());
  Node fresh;
  fresh.label = static_cast<uint32_t>(text_.size());
  fresh.size = static_cast<uint32_t>(label.size());
  text_ += label;
  if (node == 0) {
    roots_[static_cast<uint8_t>(label[0])] = child;
  } else {
    fresh.sibling = nodes_[static_cast<size_t>(node)].child;
    nodes_[static_cast<size_t>(node)].child = child;
  }
  nodes_.push_back(fresh);
  return child;
}

// Leaves `node` the first `size` bytes of its label; a new child has the rest and all that came after it.
void AddedMatcher::Split(int node, size_t size) {
  Node rest = nodes_[static_cast<size_t>(node)];
  rest.sibling = -1;
  rest.label += static_cast<uint32_t>(size);
  rest.size -= static_cast<uint32_t>(size);
  Node& n = nodes_[static_cast<size_t>(node)];
  n.size = static_cast<uint32_t>(size);
  n.child = static_cast<int>(nodes_.size());
  n.token = -1;
  nodes_.push_back(rest);
}

void AddedMatcher::Add(const AddedToken& token, std::string_view spelling) {
  if (spelling.empty()) return;
  int node = 0;
  while (!spelling.empty()) {
    const int child = FindChild(node, static_cast<uint8_t>(spelling[0]));
    if (child < 0) {
      node = AddChild(node, spelling);
      break;
    }
    const std::string_view label = Label(nodes_[static_cast<size_t>(child)]);
    const auto differ = std::mismatch(label.begin(), label.end(), spelling.begin(), spelling.end()).first;
    const auto common = static_cast<size_t>(differ - label.begin());
    if (common < label.size()) Split(child, common);
    spelling.remove_prefix(common);
    node = child;
  }
  // Of two tokens with one spelling the first is matched.
  if (nodes_[static_cast<size_t>(node)].token >= 0) return;
  nodes_[static_cast<size_t>(node)].token = static_cast<int>(tokens_.size());
  tokens_.push_back({token.id, token.single_word, token.left_strip, token.right_strip, token.special});
}

std::vector<Cutting> AddedMatcher::Cut(std::string_view text, const TrustRuns& trust) const {
  std::vector<Cutting> out;
  TrustWalker walker(trust);
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    int node = roots_[static_cast<uint8_t>(text[at])];
    if (node < 0) {
      ++at;
      continue;
    }
    const size_t trusted_end = walker.TrustedEnd(at, text.size());
    int best = -1;
    size_t best_end = at;
    for (size_t i = at; node >= 0;) {
      const Node& n = nodes_[static_cast<size_t>(node)];
      if (!text.substr(i).starts_with(Label(n))) break;
      i += n.size;
      if (n.token >= 0 && (!tokens_[static_cast<size_t>(n.token)].special || i <= trusted_end)) {
        best = n.token;
        best_end = i;
      }
      node = i < text.size() ? FindChild(node, static_cast<uint8_t>(text[i])) : -1;
    }
    if (best < 0) {
      ++at;
      continue;
    }
    const Token& token = tokens_[static_cast<size_t>(best)];
    size_t begin = at;
    size_t end = best_end;
    at = best_end;
    if (token.single_word && ((begin > 0 && WordAt(text, Before(text, begin))) || WordAt(text, end))) continue;
    if (token.left_strip) {
      while (begin > done) {
        const size_t previous = Before(text, begin);
        if (!utf8::IsWhite(utf8::At(text, previous).code)) break;
        begin = previous;
      }
    }
    if (token.right_strip) {
      while (end < text.size() && utf8::IsWhite(utf8::At(text, end).code)) {
        end += static_cast<size_t>(utf8::At(text, end).length);
      }
    }
    if (token.left_strip) begin = std::max(begin, done);  // the token before may have taken that space, and this one
    if (begin >= end) continue;
    if (done < begin) out.push_back({done, begin, -1});
    out.push_back({begin, end, token.id});
    done = end;  // less than before where a token lies in the space that the one before took; the rest is text then
  }
  if (done < text.size()) out.push_back({done, text.size(), -1});
  return out;
}

}  // namespace unimax
