// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_lexer.h"

#include <algorithm>

#include "text/utf8.h"

namespace unimax::jinja {
namespace {

constexpr size_t kMaxTokens = 1'000'000;

// What \s means in Python: White_Space and the four separators.
bool IsSpace(char32_t c) { return utf8::IsWhite(c) || (c >= 0x1c && c <= 0x1f); }

size_t SkipSpace(std::string_view s, size_t at) {
  while (at < s.size() && IsSpace(utf8::At(s, at).code)) at += static_cast<size_t>(utf8::At(s, at).length);
  return at;
}

std::string_view TrimRight(std::string_view s) {
  while (!s.empty()) {
    size_t at = s.size();
    do --at;
    while (at > 0 && (static_cast<uint8_t>(s[at]) & 0xc0) == 0x80);
    if (!IsSpace(utf8::At(s, at).code)) break;
    s = s.substr(0, at);
  }
  return s;
}

std::string OneKindOfNewline(std::string_view source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      out += '\n';
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  Result<std::vector<Token>> Run() {
    while (at_ < source_.size() || first_) {
      first_ = false;
      UM_RETURN_IF_ERROR(Data());
      if (tokens_.size() > kMaxTokens) return Fail("the template is too long");
    }
    Push(Tok::kEnd, "");
    return std::move(tokens_);
  }

 private:
  Status Fail(std::string_view reason) const { return ErrorAt(place_, reason); }
  void Push(Tok type, std::string text) { tokens_.push_back({type, std::move(text), place_}); }
  std::string_view Rest() const { return std::string_view(source_).substr(at_); }
  void Advance(size_t to) {
    for (; at_ < to; ++at_) {
      if (source_[at_] == '\n') {
        place_ = {place_.line + 1, 1};
      } else if ((static_cast<uint8_t>(source_[at_]) & 0xc0) != 0x80) {
        ++place_.column;
      }
    }
  }

  // What remains of the text before a tag: `sign` is the character after the tag's opening.
  std::string_view Shorten(std::string_view data, char sign, bool is_variable) const {
    if (sign == '-') return TrimRight(data);
    if (sign == '+' || is_variable) return data;
    const size_t newline = data.rfind('\n');
    const size_t start = newline == data.npos ? 0 : newline + 1;
    if (newline == data.npos && !line_starting_) return data;
    return SkipSpace(data, start) == data.size() ? data.substr(0, start) : data;
  }

  // Moves past a tag's end at `end` and what it swallows; `sign` is the character before it.
  void Leave(size_t end, char sign, bool trims_newline) {
    size_t to = end;
    if (sign == '-') {
      to = SkipSpace(source_, end);
    } else if (sign != '+' && trims_newline && end < source_.size() && source_[end] == '\n') {
      to = end + 1;
    }
    line_starting_ = to > 0 && source_[to - 1] == '\n';
    Advance(to);
  }

  Status Data() {
    size_t tag = at_;
    while (true) {
      tag = source_.find('{', tag);
      if (tag == source_.npos || tag + 1 >= source_.size()) {
        tag = source_.npos;
        break;
      }
      const char next = source_[tag + 1];
      if (next == '{' || next == '%' || next == '#') break;
      ++tag;
    }
    if (tag == source_.npos) {
      if (at_ < source_.size()) Push(Tok::kData, source_.substr(at_));
      Advance(source_.size());
      return {};
    }
    const char kind = source_[tag + 1];
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    const std::string_view data = std::string_view(source_).substr(at_, tag - at_);
    const std::string_view kept = Shorten(data, sign, kind == '{');
    if (!kept.empty()) Push(Tok::kData, std::string(kept));
    Advance(tag);
    const Place opening = place_;
    Advance(tag + 2);
    line_starting_ = false;
    const bool signed_open = sign == '-' || (sign == '+' && kind != '{');
    if (kind == '#') return Comment();
    if (signed_open) Advance(at_ + 1);
    if (kind == '%' && IsRaw()) return Raw();
    Push(kind == '{' ? Tok::kVariableBegin : Tok::kBlockBegin, "");
    tokens_.back().place = opening;
    return Expression(kind == '{');
  }

  Status Comment() {
    const size_t end = source_.find("#}", at_);
    if (end == source_.npos) return Fail("a comment is not closed");
    const char sign = end > at_ ? source_[end - 1] : '\0';
    Leave(end + 2, sign, true);
    return {};
  }

  // Whether the block tag that starts here is "raw", alone.
  bool IsRaw() const {
    size_t i = SkipSpace(source_, at_);
    if (!std::string_view(source_).substr(i).starts_with("raw")) return false;
    i = SkipSpace(source_, i + 3);
    const std::string_view rest = std::string_view(source_).substr(i);
    return rest.starts_with("%}") || rest.starts_with("-%}");
  }

  Status Raw() {
    const size_t close = source_.find("%}", at_);
    Leave(close + 2, source_[close - 1], false);  // a newline after it belongs to the raw text
    size_t tag = at_;
    while (true) {
      tag = source_.find("{%", tag);
      if (tag == source_.npos) return Fail("a raw block is not closed");
      size_t i = tag + 2;
      const char sign = i < source_.size() ? source_[i] : '\0';
      if (sign == '-' || sign == '+') ++i;
      i = SkipSpace(source_, i);
      if (std::string_view(source_).substr(i).starts_with("endraw")) {
        i = SkipSpace(source_, i + 6);
        const char end_sign = i < source_.size() ? source_[i] : '\0';
        if (end_sign == '-' || end_sign == '+') ++i;
        if (std::string_view(source_).substr(i).starts_with("%}")) {
          const std::string_view data = std::string_view(source_).substr(at_, tag - at_);
          const std::string_view kept = Shorten(data, sign, false);
          if (!kept.empty()) Push(Tok::kData, std::string(kept));
          Leave(i + 2, end_sign, true);
          return {};
        }
      }
      tag += 2;
    }
  }

  Status Expression(bool is_variable) {
    const std::string_view end = is_variable ? "}}" : "%}";
    std::string open;  // closing brackets that are awaited, innermost last
    while (true) {
      Advance(SkipSpace(source_, at_));
      if (at_ >= source_.size()) return Fail("a tag is not closed");
      if (open.empty()) {
        const bool minus = source_[at_] == '-';
        const bool plus = source_[at_] == '+' && !is_variable;
        const size_t skip = minus || plus ? 1 : 0;
        if (Rest().substr(skip).starts_with(end)) {
          Push(is_variable ? Tok::kVariableEnd : Tok::kBlockEnd, "");
          Leave(at_ + skip + 2, minus ? '-' : plus ? '+' : '\0', !is_variable);
          return {};
        }
      }
      UM_RETURN_IF_ERROR(OneToken(open));
      if (tokens_.size() > kMaxTokens) return Fail("the template is too long");
    }
  }

  Status OneToken(std::string& open) {
    const char c = source_[at_];
    if (c >= '0' && c <= '9') return Number();
    if (c == '"' || c == '\'') return Quoted(c);
    const utf8::Char wide = utf8::At(source_, at_);
    if (c == '_' || utf8::IsAlphabetic(wide.code)) {
      size_t end = at_;
      while (end < source_.size()) {
        const utf8::Char n = utf8::At(source_, end);
        if (n.code != '_' && !utf8::IsWord(n.code)) break;
        end += static_cast<size_t>(n.length);
      }
      Push(Tok::kName, source_.substr(at_, end - at_));
      Advance(end);
      return {};
    }
    constexpr std::string_view kSigns[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                           "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (std::string_view sign : kSigns) {
      if (!Rest().starts_with(sign)) continue;
      if (c == '(' || c == '[' || c == '{') {
        open += c == '(' ? ')' : c == '[' ? ']' : '}';
      } else if (c == ')' || c == ']' || c == '}') {
        if (open.empty() || open.back() != c) return Fail(fmt::format("unexpected '{}'", c));
        open.pop_back();
      }
      Push(Tok::kSign, std::string(sign));
      Advance(at_ + sign.size());
      return {};
    }
    return Fail(fmt::format("unexpected character '{}'", source_.substr(at_, static_cast<size_t>(wide.length))));
  }

  Status Number() {
    const auto digits = [&](size_t i, auto is) {
      while (i < source_.size() &&
             (is(source_[i]) || (source_[i] == '_' && i + 1 < source_.size() && is(source_[i + 1]))))
        ++i;
      return i;
    };
    const auto decimal = [](char d) { return d >= '0' && d <= '9'; };
    size_t end = at_;
    Tok type = Tok::kInteger;
    const char mark = at_ + 1 < source_.size() ? static_cast<char>(source_[at_ + 1] | 0x20) : '\0';
    if (source_[at_] == '0' && (mark == 'x' || mark == 'o' || mark == 'b')) {
      end = digits(at_ + 2, [](char d) { return HexValue(d) >= 0; });
    } else {
      end = digits(at_, decimal);
      if (end + 1 < source_.size() && source_[end] == '.' && decimal(source_[end + 1]) && !AfterDot()) {
        end = digits(end + 1, decimal);
        type = Tok::kFloat;
      }
      size_t e = end;
      if (e < source_.size() && (source_[e] | 0x20) == 'e') {
        ++e;
        if (e < source_.size() && (source_[e] == '+' || source_[e] == '-')) ++e;
        if (e < source_.size() && decimal(source_[e])) {
          end = digits(e, decimal);
          type = Tok::kFloat;
        }
      }
    }
    std::string text = source_.substr(at_, end - at_);
    std::erase(text, '_');
    Push(type, std::move(text));
    Advance(end);
    return {};
  }

  // "a.0.1" counts indexes; it holds no fraction.
  bool AfterDot() const { return !tokens_.empty() && tokens_.back().type == Tok::kSign && tokens_.back().text == "."; }

  Status Quoted(char quote) {
    std::string value;
    for (size_t i = at_ + 1; i < source_.size(); ++i) {
      const char c = source_[i];
      if (c == quote) {
        Push(Tok::kString, std::move(value));
        Advance(i + 1);
        return {};
      }
      if (c != '\\' || i + 1 >= source_.size()) {
        value += c;
        continue;
      }
      UM_RETURN_IF_ERROR(Escape(++i, value));
    }
    return Fail("a string is not closed");
  }

  // Appends what the escape at `i` (after the backslash) means; leaves `i` on its last character.
  Status Escape(size_t& i, std::string& value) {
    constexpr std::string_view kFrom = "nrtabfv\\'\"";
    constexpr std::string_view kTo = "\n\r\t\a\b\f\v\\'\"";
    const char c = source_[i];
    const size_t simple = kFrom.find(c);
    if (simple != kFrom.npos) {
      value += kTo[simple];
      return {};
    }
    if (c == '\n') return {};
    const auto hex = [&](size_t n, char32_t* out) {
      *out = 0;
      for (size_t k = 1; k <= n; ++k) {
        const int h = i + k < source_.size() ? HexValue(source_[i + k]) : -1;
        if (h < 0) return false;
        *out = *out * 16 + static_cast<char32_t>(h);
      }
      return true;
    };
    if (c == 'x' || c == 'u' || c == 'U') {
      const size_t n = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      char32_t code = 0;
      if (!hex(n, &code) || code > 0x10ffff) return Fail("a string holds a broken escape");
      i += n;
      utf8::Append(value, code >= 0xd800 && code < 0xe000 ? char32_t{0xfffd} : code);
      return {};
    }
    if (c >= '0' && c <= '7') {
      char32_t code = 0;
      size_t k = 0;
      while (k < 3 && i + k < source_.size() && source_[i + k] >= '0' && source_[i + k] <= '7') {
        code = code * 8 + static_cast<char32_t>(source_[i + k] - '0');
        ++k;
      }
      i += k - 1;
      utf8::Append(value, code);
      return {};
    }
    value += '\\';
    value += c;
    return {};
  }

  std::string source_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  Place place_;
  bool line_starting_ = true;  // the text at `at_` starts a line
  bool first_ = true;
};

}  // namespace

Result<std::vector<Token>> Tokenize(std::string_view source) {
  return Lexer(OneKindOfNewline(utf8::Sanitize(source))).Run();
}

}  // namespace unimax::jinja
