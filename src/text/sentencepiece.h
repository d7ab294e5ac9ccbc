// SPDX-License-Identifier: Apache-2.0
// What SentencePiece does to a text before it cuts it, as its `tokenizer.model` files say (google/sentencepiece,
// normalizer.cc).
#pragma once

#include <string_view>

#include "text/charsmap.h"
#include "text/source_map.h"
#include "text/trie.h"

namespace unimax {

struct SentencePieceRules {
  CharsMap charsmap;
  Trie kept;                 // user-defined symbols: not normalized
  bool dummy_prefix = true;  // a space before the text
  bool tidy_spaces = true;   // no space at the ends, and one between words
  bool mark_spaces = true;   // spaces become U+2581
  void Apply(std::string_view text, Rewriter& out) const;
};

}  // namespace unimax
