// SPDX-License-Identifier: Apache-2.0
#include "text/pattern.h"

#include <pcre2.h>

#include <algorithm>

namespace unimax {
namespace {

constexpr uint32_t kMatchLimit = 20'000'000;
constexpr uint32_t kHeapLimitKib = 64 * 1024;

// Members and non-members of White_Space; PCRE2's \s also holds U+180E. Oniguruma's \w holds six digits of Latin-1
// when it stands alone, and does not within a class.
constexpr std::string_view kWhite =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotWhite =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027})"
    R"(\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
constexpr std::string_view kWord = R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{24b6}-\x{24e9})"
                                   R"(\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";

constexpr std::string_view kLatinDigits = R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";

std::string Rewrite(std::string_view source) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < source.size(); ++i) {
    const char c = source[i];
    if (c == '\\' && i + 1 < source.size()) {
      const char n = source[++i];
      if (n == 's' || n == 'S') {
        const std::string_view set = n == 's' ? kWhite : kNotWhite;
        if (!in_class) out += '[';
        out += set;
        if (!in_class) out += ']';
      } else if (n == 'w' || (n == 'W' && !in_class)) {
        if (!in_class) out += n == 'w' ? "[" : "[^";
        out += kWord;
        if (!in_class) out += kLatinDigits;
        if (!in_class) out += ']';
      } else {
        out += c;
        out += n;
      }
      continue;
    }
    if (in_class && c == '[' && (i + 1 >= source.size() || source[i + 1] != ':')) {
      out += "\\[";  // a nested set is not supported; a bare bracket is a member
      continue;
    }
    if (!in_class && c == '[') {
      in_class = true;
      out += c;
      if (i + 1 < source.size() && source[i + 1] == '^') out += source[++i];
      if (i + 1 < source.size() && source[i + 1] == ']') {
        out += "\\]";
        ++i;
      }
      continue;
    }
    if (c == ']') in_class = false;
    out += c;
  }
  return out;
}

struct MatchDataFree {
  void operator()(pcre2_match_data* d) const { pcre2_match_data_free(d); }
};
struct MatchContextFree {
  void operator()(pcre2_match_context* c) const { pcre2_match_context_free(c); }
};
struct CompileContextFree {
  void operator()(pcre2_compile_context* c) const { pcre2_compile_context_free(c); }
};

}  // namespace

struct Pattern::Code {};  // stands for pcre2_code, whose name is a macro

void Pattern::Freer::operator()(Code* code) const { pcre2_code_free(reinterpret_cast<pcre2_code*>(code)); }

Result<Pattern> Pattern::Regex(std::string_view source) {
  const std::string rewritten = Rewrite(source);
  const std::unique_ptr<pcre2_compile_context, CompileContextFree> context(pcre2_compile_context_create(nullptr));
  if (context == nullptr) return IoError("no memory for a regular expression");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 64);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(rewritten.data()), rewritten.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context.get());
  if (code == nullptr) {
    PCRE2_UCHAR reason[256] = {};
    pcre2_get_error_message(error, reason, sizeof(reason));
    return BadModel("regex pattern '{}' of the tokenizer: {}", source, reinterpret_cast<const char*>(reason));
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without it matching is slower, not different
  Pattern p;
  p.code_.reset(reinterpret_cast<Code*>(code));
  return p;
}

Pattern Pattern::Literal(std::string text) {
  Pattern p;
  p.literal_ = std::move(text);
  return p;
}

std::vector<Span> Pattern::Cut(std::string_view text) const {
  std::vector<Span> spans;
  size_t done = 0;
  const auto add = [&](size_t begin, size_t end) {
    if (done < begin) spans.push_back({done, begin, false});
    spans.push_back({begin, end, true});
    done = end;
  };
  if (code_ == nullptr) {
    if (!literal_.empty()) {
      for (size_t at = text.find(literal_); at != text.npos; at = text.find(literal_, done)) {
        add(at, at + literal_.size());
      }
    }
  } else {
    auto* code = reinterpret_cast<pcre2_code*>(code_.get());
    const std::unique_ptr<pcre2_match_data, MatchDataFree> data(pcre2_match_data_create(1, nullptr));
    const std::unique_ptr<pcre2_match_context, MatchContextFree> context(pcre2_match_context_create(nullptr));
    if (data != nullptr && context != nullptr) {
      pcre2_set_match_limit(context.get(), kMatchLimit);
      pcre2_set_heap_limit(context.get(), kHeapLimitKib);
      size_t from = 0;
      while (from <= text.size()) {
        const auto match = [&](uint32_t options) {
          return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                             options | PCRE2_NO_UTF_CHECK, data.get(), context.get());
        };
        int rc = match(0);
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = match(PCRE2_NO_JIT);
        if (rc < 0) break;
        const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
        add(range[0], range[1]);
        from = range[1];
        if (range[1] == range[0]) {  // an empty match only parts the text; the next one lies behind
          do ++from;
          while (from < text.size() && (static_cast<uint8_t>(text[from]) & 0xc0) == 0x80);
        }
      }
    }
  }
  if (done < text.size()) spans.push_back({done, text.size(), false});
  return spans;
}

}  // namespace unimax
