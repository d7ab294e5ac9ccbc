// SPDX-License-Identifier: Apache-2.0
// The `normalizer` of a tokenizer.json: rewrites text before it is cut. Kinds and meanings are those of the package
// `tokenizers` 0.23.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/charsmap.h"
#include "text/pattern.h"
#include "text/sentencepiece.h"
#include "text/source_map.h"

namespace unimax {

class Normalizer {
 public:
  enum class Kind {
    kNfc,
    kNfd,
    kNfkc,
    kNfkd,
    kLowercase,
    kStrip,
    kStripAccents,
    kReplace,
    kPrepend,
    kBert,
    kNmt,
    kPrecompiled,
    kByteLevel,
    kSentencePiece
  };
  struct Step {
    Kind kind;
    bool left = true, right = true;                                   // Strip
    bool clean = true, chinese = true, accents = true, lower = true;  // Bert
    std::string text;                                                 // Replace: what to write; Prepend
    Pattern pattern;                                                  // Replace
    CharsMap charsmap;                                                // Precompiled
    SentencePieceRules rules;                                         // SentencePiece
  };

  // Errors: kBadModel, naming the kind that is not known.
  static Result<Normalizer> FromJson(const nlohmann::json& spec);
  void AddStep(Step step) { steps_.push_back(std::move(step)); }
  bool empty() const { return steps_.empty(); }
  // `map`: when wanted, what each byte of the result came from.
  std::string Apply(std::string_view text, SourceMap* map = nullptr) const;
  // None when the result, or what a step makes on the way to it, is longer than `limit`.
  std::optional<std::string> ApplyWithin(size_t limit, std::string_view text) const;

 private:
  Status Append(const nlohmann::json& spec, int depth);
  std::optional<std::string> Run(std::string_view text, size_t limit, SourceMap* map) const;
  std::vector<Step> steps_;
};

}  // namespace unimax
