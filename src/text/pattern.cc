// SPDX-License-Identifier: Apache-2.0
#include "text/pattern.h"

#include <pcre2.h>

#include <algorithm>

#include "base/json_walk.h"
#include "text/scripts.h"
#include "text/unicode_ages.h"

namespace unimax {
namespace {

constexpr uint32_t kMatchLimit = 20'000'000;
constexpr uint32_t kHeapLimitKib = 64 * 1024;
constexpr size_t kMaxSourceBytes = 16384;  // PCRE2 takes 64 KiB of compiled code

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

// Bracketed names that PCRE2 gives fewer or more characters than Oniguruma does.
struct Named {
  std::string_view name, set;
};
constexpr Named kNamed[] = {
    {"[:punct:]", R"(\p{P}\p{S})"},
    {"[:space:]", kWhite},
    {"[:upper:]",
     R"(\p{Lu}\x{2160}-\x{216f}\x{24b6}-\x{24cf}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})"}};

// `scripts`: what PCRE2 writes before the name of a script that means just its own characters.
std::string Rewrite(std::string_view source, std::string_view scripts) {
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
      } else if (n == 'h' || (n == 'H' && !in_class)) {  // hexadecimal digits
        if (!in_class) out += n == 'h' ? "[" : "[^";
        out += "0-9A-Fa-f";
        if (!in_class) out += ']';
      } else if ((n == 'p' || n == 'P') && i + 1 < source.size() && source[i + 1] == '{') {
        const size_t end = std::min(source.find('}', i), source.size());
        std::string_view name = source.substr(i + 2, end - i - 2);
        const bool no = name.starts_with('^');
        if (no) name.remove_prefix(1);
        out.append({c, n, '{'}).append(no ? "^" : "").append(IsScript(name) ? scripts : "").append(name);
        i = end - 1;
      } else {
        out += c;
        out += n;
      }
      continue;
    }
    const auto* named = std::find_if(std::begin(kNamed), std::end(kNamed),
                                     [&](const Named& row) { return source.substr(i).starts_with(row.name); });
    if (in_class && named != std::end(kNamed)) {
      out += named->set;
      i += named->name.size() - 1;
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

Result<Pattern> Pattern::Regex(std::string_view source, bool scan) {
  if (source.size() > kMaxSourceBytes) {
    return BadModel("a regex pattern of the tokenizer has {} bytes; at most {} are read", source.size(),
                    kMaxSourceBytes);
  }
  const std::unique_ptr<pcre2_compile_context, CompileContextFree> context(pcre2_compile_context_create(nullptr));
  if (context == nullptr) return IoError("no memory for a regular expression");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 64);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = nullptr;
  for (const char* scripts : {"sc:", ""}) {  // before PCRE2 10.40 a bare name means the same; later it means more
    const std::string rewritten = Rewrite(source, scripts);
    code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(rewritten.data()), rewritten.size(),
                         PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                         context.get());
    const bool unknown =
        error == PCRE2_ERROR_UNKNOWN_UNICODE_PROPERTY || error == PCRE2_ERROR_MALFORMED_UNICODE_PROPERTY;
    if (code != nullptr || !unknown) break;
  }
  if (code == nullptr) {
    PCRE2_UCHAR reason[256] = {};
    pcre2_get_error_message(error, reason, sizeof(reason));
    return BadModel("regex pattern '{}' of the tokenizer: {}", Printable(source),
                    reinterpret_cast<const char*>(reason));
  }
  Pattern p;
  uint32_t matches_empty = 0;
  pcre2_pattern_info(code, PCRE2_INFO_MATCHEMPTY, &matches_empty);
  p.matches_empty_ = matches_empty != 0;
  p.jit_ = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0;  // without it matching is slower, not different
  p.code_.reset(reinterpret_cast<Code*>(code));
  for (size_t c = 0; c < p.alone_.size(); ++c) {
    const char text = static_cast<char>(c);
    const auto spans = p.Cut({&text, 1});
    if (spans.size() == 1) p.alone_[c] = spans[0].match ? Alone::kMatch : Alone::kGap;
  }
  if (scan) p.scan_ = FindScanner(source);
  return p;
}

Pattern Pattern::Literal(std::string text) {
  Pattern p;
  p.literal_ = std::move(text);
  return p;
}

std::vector<Span> Pattern::Cut(std::string_view text) const {
  std::vector<Span> spans;
  Cutter(*this).Cut(text, spans);
  return spans;
}

struct Cutter::Matcher {
  std::unique_ptr<pcre2_match_data, MatchDataFree> data{pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, MatchContextFree> context{pcre2_match_context_create(nullptr)};
};

Cutter::Cutter(const Pattern& pattern) : pattern_(pattern) {
  if (pattern.code_ == nullptr || pattern.scan_ != nullptr) return;
  matcher_ = std::make_unique<Matcher>();
  if (matcher_->context == nullptr) return;
  pcre2_set_match_limit(matcher_->context.get(), kMatchLimit);
  pcre2_set_heap_limit(matcher_->context.get(), kHeapLimitKib);
}

Cutter::~Cutter() = default;

// Returns where the last match ends.
size_t Cutter::CutByCode(std::string_view text, std::vector<Span>& spans) {
  if (text.size() == 1 && static_cast<uint8_t>(text[0]) < 0x80) {  // most words of some texts, after a first cut
    const Pattern::Alone alone = pattern_.alone_[static_cast<uint8_t>(text[0])];
    if (alone == Pattern::Alone::kMatch) spans.push_back(MakeSpan(0, 1, true));
    if (alone != Pattern::Alone::kAsk) return alone == Pattern::Alone::kMatch ? 1 : 0;
  }
  if (matcher_->data == nullptr || matcher_->context == nullptr) return 0;
  const auto* code = reinterpret_cast<const pcre2_code*>(pattern_.code_.get());
  size_t done = 0;
  for (size_t from = 0; from < text.size() + (pattern_.matches_empty_ ? 1 : 0);) {
    const auto match = [&](uint32_t options) {
      return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                         options | PCRE2_NO_UTF_CHECK, matcher_->data.get(), matcher_->context.get());
    };
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (pattern_.jit_) {
      rc = pcre2_jit_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from, 0, matcher_->data.get(),
                           matcher_->context.get());
    }
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = match(PCRE2_NO_JIT);
    if (rc < 0) break;
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(matcher_->data.get());
    if (done < range[0]) spans.push_back(MakeSpan(done, range[0], false));
    spans.push_back(MakeSpan(range[0], range[1], true));
    done = from = range[1];
    if (range[1] == range[0]) {  // an empty match only parts the text; the next one lies behind
      do ++from;
      while (from < text.size() && (static_cast<uint8_t>(text[from]) & 0xc0) == 0x80);
    }
  }
  return done;
}

void Cutter::Cut(std::string_view text, std::vector<Span>& spans) {
  size_t done = 0;
  if (pattern_.scan_ != nullptr) {
    while (done < text.size()) {
      const size_t end = pattern_.scan_(text, done);
      spans.push_back(MakeSpan(done, end, true));
      done = end;
    }
  } else if (pattern_.code_ != nullptr) {
    // PCRE2 may not know the characters of Unicode 15 and 16, which Oniguruma does. (An expression that spells one of
    // them out does not find it.)
    const std::optional<std::string> elders = utf8::WithElders(text);
    done = CutByCode(elders ? std::string_view(*elders) : text, spans);
  } else if (const std::string& literal = pattern_.literal_; !literal.empty()) {
    for (size_t at = text.find(literal); at != text.npos; at = text.find(literal, done)) {
      if (done < at) spans.push_back(MakeSpan(done, at, false));
      done = at + literal.size();
      spans.push_back(MakeSpan(at, done, true));
    }
  }
  if (done < text.size()) spans.push_back(MakeSpan(done, text.size(), false));
}

}  // namespace unimax
