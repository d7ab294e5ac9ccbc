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
  int c = nodes_[static_cast<size_t>(node)].child;
  while (c >= 0 && nodes_[static_cast<size_t>(c)].byte != byte) c = nodes_[static_cast<size_t>(c)].sibling;
  return c;
}

void AddedMatcher::Add(const AddedToken& token, std::string_view spelling) {
  if (spelling.empty()) return;
  int node = 0;
  for (char b : spelling) {
    const auto byte = static_cast<uint8_t>(b);
    int next = FindChild(node, byte);
    if (next < 0) {
      next = static_cast<int>(nodes_.size());
      Node fresh;
      fresh.byte = byte;
      if (node == 0) {
        roots_[byte] = next;
      } else {
        fresh.sibling = nodes_[static_cast<size_t>(node)].child;
        nodes_[static_cast<size_t>(node)].child = next;
      }
      nodes_.push_back(fresh);
    }
    node = next;
  }
  // Of two tokens with one spelling the first is matched.
  if (nodes_[static_cast<size_t>(node)].token >= 0) return;
  nodes_[static_cast<size_t>(node)].token = static_cast<int>(tokens_.size());
  tokens_.push_back(token);
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
    for (size_t i = at + 1;; ++i) {
      const int token = nodes_[static_cast<size_t>(node)].token;
      if (token >= 0 && (!tokens_[static_cast<size_t>(token)].special || i <= trusted_end)) {
        best = token;
        best_end = i;
      }
      if (i >= text.size()) break;
      node = FindChild(node, static_cast<uint8_t>(text[i]));
      if (node < 0) break;
    }
    if (best < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(best)];
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
    if (done < begin) out.push_back({done, begin, -1});
    out.push_back({begin, end, token.id});
    done = std::max(done, end);
  }
  if (done < text.size()) out.push_back({done, text.size(), -1});
  return out;
}

}  // namespace unimax
