// SPDX-License-Identifier: Apache-2.0
// Rewriting text while remembering, when wanted, what each byte of the new text came from.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace unimax {

struct Origin {
  uint32_t begin, end;
};
// By byte of the new text. Empty: the text is the old one.
using SourceMap = std::vector<Origin>;

// What [begin, end) of a text came from.
inline Origin OriginOf(const SourceMap& map, size_t begin, size_t end) {
  if (map.empty()) return {static_cast<uint32_t>(begin), static_cast<uint32_t>(end)};
  if (begin >= map.size()) return {map.back().end, map.back().end};
  return {map[begin].begin, end > begin ? map[end - 1].end : map[begin].begin};
}

// Writes a new text from front to back.
class Rewriter {
 public:
  // What would make the text longer than `limit` is left out, and `overflow` is set.
  explicit Rewriter(bool tracked, size_t limit = SIZE_MAX) : limit_(limit), tracked_(tracked) {}
  // The old text's [begin, end) as it is.
  void Copy(std::string_view old, size_t begin, size_t end) {
    text.append(old.substr(begin, end - begin));
    for (size_t i = begin; tracked_ && i < end; ++i) {
      map.push_back({static_cast<uint32_t>(i), static_cast<uint32_t>(i + 1)});
    }
  }
  // `fresh` stands for [begin, end) of the old text.
  void Put(std::string_view fresh, size_t begin, size_t end) {
    overflow |= text.size() + fresh.size() > limit_;
    if (overflow) return;
    text += fresh;
    if (tracked_) map.insert(map.end(), fresh.size(), {static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
  }
  bool tracked() const { return tracked_; }
  std::string text;
  SourceMap map;
  bool overflow = false;

 private:
  size_t limit_;
  bool tracked_;
};

// Makes `map`, which leads to a text with the map `before`, lead to what that one came from.
inline void Compose(const SourceMap& before, SourceMap& map) {
  if (before.empty()) return;
  for (Origin& o : map) o = OriginOf(before, o.begin, o.end);
}

}  // namespace unimax
