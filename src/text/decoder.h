// SPDX-License-Identifier: Apache-2.0
// The `decoder` of a tokenizer.json: joins the pieces of ids to text. Kinds and meanings are those of the package
// `tokenizers` 0.23.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/pattern.h"

namespace unimax {

class Decoder {
 public:
  enum class Kind {
    kByteLevel,
    kMetaspace,
    kByteFallback,
    kFuse,
    kStrip,
    kReplace,
    kWordPiece,
    kBpe,
    kCtc,
    kSentencePiece
  };
  struct Step {
    Kind kind = Kind::kFuse;
    std::string text;  // Metaspace: replacement; WordPiece: prefix; Strip, Replace: content; Bpe: suffix; Ctc: pad;
                       // SentencePiece: the unknown piece
    std::string delimiter;    // Ctc; SentencePiece: what the unknown piece becomes
    bool cleanup = false;     // WordPiece, Ctc; SentencePiece: all spaces before the text go
    bool drop_first = false;  // Metaspace: the first piece loses its replacements; SentencePiece: a space
    int start = 0, stop = 0;  // Strip
    Pattern pattern;          // Replace
  };

  // Errors: kBadModel, naming the kind that is not known. null: pieces are joined by spaces.
  static Result<Decoder> FromJson(const nlohmann::json& spec);
  void AddStep(Step step) { steps_.push_back(std::move(step)); }
  void AddByteLevel();

  // The text may hold bytes that are not UTF-8 only when byte_level().
  std::string Apply(std::vector<std::string> pieces) const;
  // Whether this is the ByteLevel decoder alone: then text is the concatenation of AppendBytes of the pieces.
  bool byte_level() const { return steps_.size() == 1 && steps_[0].kind == Kind::kByteLevel; }
  static void AppendBytes(std::string_view piece, std::string& out);

 private:
  Status Append(const nlohmann::json& spec, int depth);
  std::vector<Step> steps_;
};

// Whether `piece` is <0xAB>, and which byte.
int ByteOfPiece(std::string_view piece);  // -1: it is not

}  // namespace unimax
