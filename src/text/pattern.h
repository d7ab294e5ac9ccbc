// SPDX-License-Identifier: Apache-2.0
// Regular expressions of tokenizer files (Oniguruma syntax) and plain strings, matched with PCRE2.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace unimax {

struct Span {
  size_t begin, end;
  bool match;
};

class Pattern {
 public:
  // \s, \S and \w are rewritten to the sets that Oniguruma gives them, where PCRE2's differ. Errors: kBadModel.
  static Result<Pattern> Regex(std::string_view source);
  static Pattern Literal(std::string text);

  // Cuts valid UTF-8 into alternating matches and gaps that cover it. An expression that exceeds the match limits
  // leaves the rest of the text as one gap.
  std::vector<Span> Cut(std::string_view text) const;

 private:
  struct Code;
  struct Freer {
    void operator()(Code* code) const;
  };
  std::string literal_;
  std::unique_ptr<Code, Freer> code_;  // none: literal
};

}  // namespace unimax
