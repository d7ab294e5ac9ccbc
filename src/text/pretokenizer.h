// SPDX-License-Identifier: Apache-2.0
// The `pre_tokenizer` of a tokenizer.json: cuts text into the words that the model sees one by one. Kinds and meanings
// are those of the package `tokenizers` 0.23.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/pattern.h"

namespace unimax {

// A word, and whether it begins where the whole text begins.
struct Word {
  std::string text;
  bool at_start = false;
};

class PreTokenizer {
 public:
  enum class Kind {
    kByteLevel,
    kSplit,
    kDigits,
    kWhitespace,
    kWhitespaceSplit,
    kPunctuation,
    kBert,
    kDelimiter,
    kMetaspace,
    kFixedLength
  };
  // What becomes of the matches of a Split.
  enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };
  enum class Prepend { kAlways, kFirst, kNever };
  struct Step {
    Kind kind = Kind::kSplit;
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;        // Split: the gaps are the matches
    bool individual = false;    // Digits
    bool prefix_space = false;  // ByteLevel
    bool split = true;          // Metaspace
    Prepend prepend = Prepend::kAlways;
    std::string text;   // Metaspace: the replacement; Delimiter
    size_t length = 0;  // FixedLength, in characters
    Pattern pattern;    // Split; ByteLevel with a pattern
    bool has_pattern = false;
  };

  // Errors: kBadModel, naming the kind that is not known.
  static Result<PreTokenizer> FromJson(const nlohmann::json& spec);
  void AddStep(Step step) { steps_.push_back(std::move(step)); }
  // Adds "matches of `regex` stand alone" and "bytes become characters" steps.
  Status AddIsolate(std::string_view regex);
  void AddByteLevel();

  // `at_start`: `text` begins where the whole text begins.
  std::vector<Word> Apply(std::string_view text, bool at_start) const;

 private:
  Status Append(const nlohmann::json& spec, int depth);
  std::vector<Step> steps_;
};

// The pattern of GPT-2's tokenizer.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace unimax
