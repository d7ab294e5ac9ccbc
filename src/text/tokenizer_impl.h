// SPDX-License-Identifier: Apache-2.0
// The parts of a Tokenizer, put together by tokenizer_vocab.cc (GGUF) and tokenizer_json.cc (Hugging Face).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"
#include "text/token_table.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"
#include "text/word_cache.h"

namespace unimax {

struct Tokenizer::Impl {
  Vocabulary model_vocabulary;              // pieces that the model may give
  TokenTable vocabulary{model_vocabulary};  // those and the added tokens
  std::vector<bool> special;                // by id
  std::vector<bool> hidden;                 // by id: what decoding with skip_special leaves out
  AddedMatcher raw_added;                   // matched in the text as it came
  AddedMatcher normal_added;                // matched in the normalized text
  AddedMatcher special_normal_added;        // special ones of normal_added, matched in text as it came when mixed
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<SubwordModel> model;
  std::vector<int> frame{-1};  // what add_special writes; -1 stands for the text
  Decoder decoder;
  int bos = -1, eos = -1;

  // Fills the matchers and `vocabulary`, once model_vocabulary and normalizer are there. Errors: kBadModel when the
  // normalizer makes the tokens much longer.
  Status IndexAdded(const std::vector<AddedToken>& added);
  bool IsSpecial(int id) const {
    return id >= 0 && static_cast<size_t>(id) < special.size() && special[static_cast<size_t>(id)];
  }
  bool IsHidden(int id) const {
    return id >= 0 && static_cast<size_t>(id) < hidden.size() && hidden[static_cast<size_t>(id)];
  }
  // What one call of Encode needs.
  struct Encoding {
    Encoding(size_t bytes, bool wanted) : cache(bytes), tracked(wanted) {}
    std::vector<int> ids;
    SubwordScratch scratch;
    WordCache cache;
    Words words;
    std::string normal;           // the segment being encoded, normalized
    bool tracked;                 // the rest is kept:
    std::vector<Origin> origins;  // by id, in bytes of the text
    std::vector<int> widths;
    SourceMap map;                  // from `normal` to the segment
    size_t segment = 0, piece = 0;  // where the segment begins in the text, and the piece in `normal`
    void Add(int id, size_t begin, size_t end);
    Origin InText(Origin in_normal) const;
  };
  void EncodeText(std::string_view text, const TrustRuns& trust, Encoding& to) const;
  std::string DecodePieces(std::span<const int> ids, bool skip_special) const;

 private:
  void EncodeSegment(std::string_view text, bool mixed, Encoding& to) const;
  void EncodePiece(std::string_view text, Encoding& to) const;
  void EncodeWord(std::string_view word, Encoding& to) const;
  void TraceWord(const Word& word, Encoding& to) const;
};

}  // namespace unimax
