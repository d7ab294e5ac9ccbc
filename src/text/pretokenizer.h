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
#include "text/source_map.h"

namespace unimax {

struct Word {
  uint32_t begin, end;
};

// A text cut into words. Steps that rewrite the text own the new one.
struct Words {
  std::string_view text;
  std::vector<Word> words;
  size_t start = 0;        // words that begin before this byte stand where the whole text begins
  bool raw_bytes = false;  // the words stand for BytesToChars of them
  bool tracked = false;    // `map` is kept
  SourceMap map;           // from `text` to what was given
  std::string owned;
  std::vector<Word> spare;  // the words before the last step
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
    kFixedLength,
    kScripts
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
    std::string text;   // Metaspace: the replacement
    size_t length = 0;  // FixedLength, in characters
    Pattern pattern;    // Split; ByteLevel with a pattern; what Metaspace writes; the delimiter
    bool has_pattern = false;
  };

  // Errors: kBadModel, naming the kind that is not known.
  static Result<PreTokenizer> FromJson(const nlohmann::json& spec);
  void AddStep(Step step) { steps_.push_back(std::move(step)); }
  // Adds "matches of `regex` stand alone" and "bytes become characters" steps.
  Status AddIsolate(std::string_view regex);
  void AddByteLevel();

  // Cuts `text`, which `words` may refer to afterwards. `start`: how many bytes at its begin came from the first
  // character of the whole text; 0 for a text from elsewhere.
  // `bytes_allowed`: a last ByteLevel step may leave raw bytes.
  void Apply(std::string_view text, size_t start, bool bytes_allowed, Words& words) const;
  bool asks_start() const;  // the result depends on `start`
  bool ends_in_bytes() const { return !steps_.empty() && steps_.back().kind == Kind::kByteLevel; }

 private:
  Status Append(const nlohmann::json& spec, int depth);
  std::vector<Step> steps_;
};

}  // namespace unimax
