// SPDX-License-Identifier: Apache-2.0
// Regular expressions of tokenizer files (Oniguruma syntax) and plain strings, matched with PCRE2.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/scanners.h"

namespace unimax {

struct Span {
  uint32_t begin, end;
  bool match;
};
inline Span MakeSpan(size_t begin, size_t end, bool match) {
  return {static_cast<uint32_t>(begin), static_cast<uint32_t>(end), match};
}

class Pattern {
 public:
  // \s, \S and \w are rewritten to the sets that Oniguruma gives them, where PCRE2's differ. Expressions that have a
  // hand-written equal use it unless `scan` is false. Errors: kBadModel.
  static Result<Pattern> Regex(std::string_view source, bool scan = true);
  static Pattern Literal(std::string text);

  std::vector<Span> Cut(std::string_view text) const;

 private:
  friend class Cutter;
  struct Code;
  struct Freer {
    void operator()(Code* code) const;
  };
  std::string literal_;
  Scanner scan_ = nullptr;
  bool jit_ = false;
  bool matches_empty_ = true;
  enum class Alone : uint8_t { kAsk, kGap, kMatch };
  std::array<Alone, 128> alone_{};     // what an ASCII character by itself is
  std::unique_ptr<Code, Freer> code_;  // none: literal
};

// Cuts many texts by one pattern, which must outlive it. One thread.
class Cutter {
 public:
  explicit Cutter(const Pattern& pattern);
  ~Cutter();
  Cutter(const Cutter&) = delete;
  Cutter& operator=(const Cutter&) = delete;
  // Cuts valid UTF-8 into alternating matches and gaps that cover it, and appends them to `spans`. An expression that
  // exceeds the match limits leaves the rest of the text as one gap.
  void Cut(std::string_view text, std::vector<Span>& spans);

 private:
  struct Matcher;
  size_t CutByCode(std::string_view text, std::vector<Span>& spans);
  const Pattern& pattern_;
  std::unique_ptr<Matcher> matcher_;
};

}  // namespace unimax
