// SPDX-License-Identifier: Apache-2.0
// SentencePiece's compiled normalisation table (`precompiled_charsmap`): a double-array trie over byte strings (Darts,
// by Taku Kudo) followed by the replacements, each ended by NUL.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/source_map.h"

namespace unimax {

class CharsMap {
 public:
  CharsMap() = default;
  // `blob`: 4 bytes little-endian trie size, the trie, the replacements. Errors: kBadModel.
  static Result<CharsMap> Parse(std::string_view blob);
  bool empty() const { return units_.empty(); }
  // What the package `tokenizers` does: by grapheme cluster, then by character.
  void ApplyByGrapheme(std::string_view text, Rewriter& out) const;
  // The longest entry that starts `text`, as SentencePiece does: bytes it covers (0: none), and its replacement.
  size_t Longest(std::string_view text, std::string_view* replacement) const;

 private:
  // The first (shortest) entry that is a prefix of `key`; false: none.
  bool First(std::string_view key, std::string_view* replacement) const;
  template <class F>
  void Walk(std::string_view key, F found) const;
  std::string_view TextAt(uint32_t offset) const;
  std::vector<uint32_t> units_;
  std::string texts_;
};

}  // namespace unimax
