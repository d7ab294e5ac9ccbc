// SPDX-License-Identifier: Apache-2.0
#include "text/charsmap.h"

#include <utf8proc.h>

#include "text/utf8.h"

namespace unimax {

Result<CharsMap> CharsMap::Parse(std::string_view blob) {
  const auto word = [&](size_t at) {
    uint32_t v = 0;
    for (size_t i = 0; i < 4; ++i) v |= static_cast<uint32_t>(static_cast<uint8_t>(blob[at + i])) << (8 * i);
    return v;
  };
  CharsMap map;
  if (blob.empty()) return map;
  if (blob.size() < 4) return BadModel("the tokenizer's charsmap is shorter than its header");
  const size_t trie = word(0);
  if (trie % 4 != 0 || trie == 0 || trie > blob.size() - 4) {
    return BadModel("the tokenizer's charsmap has a trie of {} bytes in {} bytes", trie, blob.size());
  }
  for (size_t at = 4; at < 4 + trie; at += 4) map.units_.push_back(word(at));
  map.texts_.assign(blob.substr(4 + trie));
  if (map.texts_.empty() || map.texts_.back() != '\0') return BadModel("the tokenizer's charsmap is cut short");
  return map;
}

// Units of a Darts clone: bit 31 marks a value, bit 8 a node with a value, bits 10 to 30 the offset, bit 9 its scale.
template <class F>
void CharsMap::Walk(std::string_view key, F found) const {
  if (units_.empty()) return;
  const auto offset = [](uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); };
  size_t at = offset(units_[0]);
  for (size_t i = 0; i < key.size(); ++i) {
    const auto byte = static_cast<uint8_t>(key[i]);
    if (byte == 0) return;
    at ^= byte;
    if (at >= units_.size()) return;
    const uint32_t unit = units_[at];
    if ((unit & ((1u << 31) | 0xffu)) != byte) return;
    at ^= offset(unit);
    if (at >= units_.size()) return;
    if ((unit >> 8) & 1u) {
      if (!found(i + 1, units_[at] & 0x7fffffffu)) return;
    }
  }
}

std::string_view CharsMap::TextAt(uint32_t offset) const {
  return offset < texts_.size() ? std::string_view(texts_.c_str() + offset) : std::string_view();
}

bool CharsMap::First(std::string_view key, std::string_view* replacement) const {
  bool any = false;
  Walk(key, [&](size_t, uint32_t value) {
    *replacement = TextAt(value);
    any = true;
    return false;
  });
  return any;
}

size_t CharsMap::Longest(std::string_view text, std::string_view* replacement) const {
  size_t longest = 0;
  Walk(text, [&](size_t length, uint32_t value) {
    *replacement = TextAt(value);
    longest = length;
    return true;
  });
  return longest;
}

namespace {

// Writes what stands for one part of a text after the other, and what each character came from as the package has it:
// the characters of a part one by one, more of them from its last one. What is left out at the text's begin is not
// left out of that count, so that all that follows seems to come from what stood before it.
class PartWriter {
 public:
  PartWriter(std::string_view text, Rewriter* out) : text_(text), out_(*out) {}
  void Put(std::string_view fresh, std::string_view old) {
    if (!out_.tracked()) {
      out_.text += fresh;
      return;
    }
    size_t left = utf8::Length(old);
    for (size_t i = 0; i < fresh.size();) {
      const auto length = static_cast<size_t>(utf8::At(fresh, i).length);
      if (left > 0) Take();
      left -= std::min<size_t>(left, 1);
      out_.Put(fresh.substr(i, length), last_, at_);
      i += length;
    }
    const size_t last = last_;
    for (; left > 0 && !out_.text.empty(); --left) Take();
    if (!fresh.empty()) last_ = last;
  }

 private:
  void Take() {
    last_ = at_;
    at_ += static_cast<size_t>(utf8::At(text_, at_).length);
  }
  std::string_view text_;
  Rewriter& out_;
  size_t last_ = 0, at_ = 0;  // the old character that was taken last, and where the next one begins
};

}  // namespace

void CharsMap::ApplyByGrapheme(std::string_view text, Rewriter& out) const {
  out.text.reserve(text.size());
  PartWriter parts(text, &out);
  const auto flush = [&](std::string_view grapheme) {
    std::string_view replacement;
    if (grapheme.size() < 6 && First(grapheme, &replacement)) return parts.Put(replacement, grapheme);
    for (size_t i = 0; i < grapheme.size();) {
      const auto length = static_cast<size_t>(utf8::At(grapheme, i).length);
      const std::string_view one = grapheme.substr(i, length);
      parts.Put(First(one, &replacement) ? replacement : one, one);
      i += length;
    }
  };
  size_t begin = 0;
  utf8proc_int32_t previous = 0, state = 0;
  for (size_t i = 0; i < text.size();) {
    const utf8::Char c = utf8::At(text, i);
    const auto code = static_cast<utf8proc_int32_t>(c.code);
    if (i > 0 && utf8proc_grapheme_break_stateful(previous, code, &state)) {
      flush(text.substr(begin, i - begin));
      begin = i;
    }
    previous = code;
    i += static_cast<size_t>(c.length);
  }
  if (begin < text.size()) flush(text.substr(begin));
}

}  // namespace unimax
