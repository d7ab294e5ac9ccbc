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
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace unimax {

struct Tokenizer::Impl {
  Vocabulary model_vocabulary;  // pieces that the model may give
  Vocabulary vocabulary;        // those and the added tokens
  std::vector<bool> special;    // by id
  std::vector<bool> hidden;     // by id: what decoding with skip_special leaves out
  std::vector<AddedToken> added;
  AddedMatcher raw_added;             // matched in the text as it came
  AddedMatcher normal_added;          // matched in the normalized text
  AddedMatcher special_normal_added;  // special ones of normal_added, matched in text as it came when mixed
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<SubwordModel> model;
  std::vector<int> frame{-1};  // what add_special writes; -1 stands for the text
  Decoder decoder;
  int bos = -1, eos = -1;

  // Fills the matchers and `vocabulary` from `added`, once model_vocabulary and normalizer are there.
  void IndexAdded();
  bool IsSpecial(int id) const {
    return id >= 0 && static_cast<size_t>(id) < special.size() && special[static_cast<size_t>(id)];
  }
  bool IsHidden(int id) const {
    return id >= 0 && static_cast<size_t>(id) < hidden.size() && hidden[static_cast<size_t>(id)];
  }
  void EncodeText(std::string_view text, const TrustRuns& trust, std::vector<int>& out) const;
  std::string DecodePieces(std::span<const int> ids, bool skip_special) const;

 private:
  void EncodeSegment(std::string_view text, bool at_start, bool mixed, std::vector<int>& out) const;
};

}  // namespace unimax
