// SPDX-License-Identifier: Apache-2.0
// Text to token ids and back, for the vocabularies that model files carry. Results are those of the Python packages
// `tokenizers` (Hugging Face tokenizer.json) and `sentencepiece`; GGUF vocabularies give what the model's published
// tokenizer gives. A Tokenizer is immutable after it is made: any number of threads may use one.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/vocab.h"

namespace unimax {

// A run of text and who wrote it. Trusted text (a template's own words) may spell control tokens; untrusted text (the
// content of messages) may not: there "<|im_end|>" is ten plain characters.
struct TextPiece {
  std::string_view text;
  bool trusted = false;
};

// An id and the bytes [begin, end) of the text that it stands for; both are 0 for what `add_special` adds.
struct Token {
  int id;
  size_t begin, end;
};

// What a tokenizer.model does not say itself.
struct SentencePieceOptions {
  bool add_bos = true, add_eos = false;  // what `add_special` adds
  bool match_control = true;             // text may spell control tokens; the package `sentencepiece` says no
};

class Tokenizer {
 public:
  // Errors: kBadModel, naming the kind that is not known or the part of the data that contradicts itself.
  static Result<std::unique_ptr<Tokenizer>> FromVocab(const VocabData& vocab);
  // `json` is the content of a Hugging Face tokenizer.json (at most 64 MiB, nested at most 64 deep).
  static Result<std::unique_ptr<Tokenizer>> FromJson(std::string_view json);
  // `bytes` is the content of a SentencePiece tokenizer.model (BPE or unigram; at most 64 MiB).
  static Result<std::unique_ptr<Tokenizer>> FromSentencePiece(std::string_view bytes,
                                                              const SentencePieceOptions& options);
  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);  // use FromVocab or FromJson
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Ids of a raw text, in which control tokens are matched. `add_special` adds what the model wants around a text (BOS,
  // EOS, [CLS], ...). Bytes that are not UTF-8 are read as U+FFFD. A text has less than 4 GiB. Time is
  // O(n log n) in its length.
  std::vector<int> Encode(std::string_view text, bool add_special) const;
  // Ids of the joined text. Control tokens are matched only where every byte is trusted; other added tokens match
  // everywhere; normalising, pre-tokenising and merging do not see the borders of pieces.
  std::vector<int> EncodeParts(std::span<const TextPiece> parts, bool add_special) const;

  // Encode with the place of every id. An id for a part of a character stands for all of it.
  std::vector<Token> EncodeOffsets(std::string_view text, bool add_special) const;

  // Text of the ids; always valid UTF-8 (bytes that do not form characters become U+FFFD). Ids outside
  // [0, vocab_size) count as nothing. `skip_special` leaves control tokens out.
  std::string Decode(std::span<const int> ids, bool skip_special) const;

  // One more than the largest id.
  int vocab_size() const;
  int bos_id() const;  // -1: none, or (tokenizer.json) not said by this file
  int eos_id() const;
  // Whether `id` is a control token (special); false outside [0, vocab_size).
  bool IsControl(int id) const;
  // The id of a piece in the vocabulary's own spelling ("<|im_end|>", "Ġthe").
  std::optional<int> Find(std::string_view piece) const;
  // The piece of an id in the vocabulary's own spelling; "" for an unused id or one outside [0, vocab_size).
  std::string_view PieceOf(int id) const;

 private:
  friend class StreamDecoder;
  std::unique_ptr<const Impl> impl_;
};

// Decodes one id at a time. The concatenation of everything Add and Flush return is Decode of all the ids; no delta
// ends inside a character. One stream, one thread; `tokenizer` must outlive it.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special);
  // The text that `id` makes certain; "" while a character is incomplete.
  std::string Add(int id);
  // What is still held back, with U+FFFD for an incomplete character. The stream is then as new.
  std::string Flush();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string pending_;      // byte-level vocabularies: bytes of an incomplete character
  std::vector<int> window_;  // other vocabularies: ids whose text is not settled, with those before that shape it
  size_t fresh_ = 0;         // how many ids at the end of the window are not settled
  size_t window_given_ = 0;  // how many bytes of the window's text were returned
};

}  // namespace unimax
