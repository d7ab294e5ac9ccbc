// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.h"

#include <algorithm>
#include <set>

#include "text/tokenizer_impl.h"
#include "text/utf8.h"

namespace unimax {
namespace {

constexpr size_t kAddedBytes = 1 << 18;  // by how much normalizing may make all added tokens longer

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

Status Tokenizer::Impl::IndexAdded(const std::vector<AddedToken>& added) {
  int size = model_vocabulary.size();
  size_t room = kAddedBytes;  // how many bytes normalizing may still make
  for (const AddedToken& token : added) size = std::max(size, token.id + 1);
  special.assign(static_cast<size_t>(size), false);
  hidden = special;
  std::set<std::string_view> specials;
  for (const AddedToken& token : added) {
    if (token.special) specials.insert(token.content);
  }
  for (const AddedToken& token : added) {
    room += token.content.size();
    const auto at = static_cast<size_t>(token.id);
    if (token.special) special[at] = true;
    if (!token.normalized) {
      vocabulary.Add(token.content, token.content, token.id);
      if (token.special) hidden[at] = true;
      raw_added.Add(token, token.content);
    } else {
      const std::optional<std::string> normal = normalizer.ApplyWithin(room, token.content);
      if (!normal) return BadModel("the tokenizer's normalizer makes its added token {} too long", token.id);
      room -= normal->size();
      // The package decodes such a token to its normalized content, and knows special tokens by what they decode to.
      vocabulary.Add(token.content, *normal, token.id);
      if (specials.contains(*normal)) hidden[at] = true;
      normal_added.Add(token, *normal);
      if (token.special) special_normal_added.Add(token, token.content);
    }
  }
  vocabulary.Index();
  return {};
}

// Words of a model whose pieces do not reach across U+2581 are parted there: short words are faster and come again.
void Tokenizer::Impl::EncodeWord(std::string_view word, Encoding& to) const {
  const auto encode = [&](std::string_view part) {
    to.cache.Append(part, to.ids, [&] { model->Encode(part, to.scratch, to.ids); });
  };
  size_t done = 0;
  if (model->parts_at_marks()) {
    for (size_t at = word.find(kSpaceMark, 1); at != word.npos; at = word.find(kSpaceMark, at + kSpaceMark.size())) {
      if (word.substr(done, at - done).ends_with(kSpaceMark)) continue;
      encode(word.substr(done, at - done));
      done = at;
    }
  }
  encode(word.substr(done));
}

Origin Tokenizer::Impl::Encoding::InText(Origin in_normal) const {
  const Origin o = OriginOf(map, in_normal.begin, in_normal.end);
  return {static_cast<uint32_t>(o.begin + segment), static_cast<uint32_t>(o.end + segment)};
}

// An added token; [begin, end) lies in `normal`.
void Tokenizer::Impl::Encoding::Add(int id, size_t begin, size_t end) {
  ids.push_back(id);
  if (tracked) origins.push_back(InText({static_cast<uint32_t>(begin), static_cast<uint32_t>(end)}));
}

// Encodes a word of to.words and says what each of its ids came from.
void Tokenizer::Impl::TraceWord(const Word& word, Encoding& to) const {
  const std::string_view text = to.words.text;
  to.widths.clear();
  to.scratch.widths = &to.widths;
  model->Encode(text.substr(word.begin, word.end - word.begin), to.scratch, to.ids);
  to.scratch.widths = nullptr;
  const auto inside = [&](size_t i) { return i < word.end && (static_cast<uint8_t>(text[i]) & 0xc0) == 0x80; };
  size_t at = word.begin;
  for (const int width : to.widths) {
    size_t first = at, last = at = std::min<size_t>(at + static_cast<size_t>(width), word.end);
    while (first > word.begin && inside(first)) --first;  // a part of a character stands for all of it
    while (inside(last)) ++last;
    const Origin o = OriginOf(to.words.map, first, last);
    const auto piece = static_cast<uint32_t>(to.piece);
    to.origins.push_back(to.InText({o.begin + piece, o.end + piece}));
  }
}

void Tokenizer::Impl::EncodePiece(std::string_view text, Encoding& to) const {
  to.words.tracked = to.tracked;
  size_t start = to.segment == 0 && to.map.empty() && to.piece == 0 ? 1 : 0;
  if (to.segment == 0 && !to.map.empty()) {
    while (start < text.size() && to.map[to.piece + start].begin == 0) ++start;
  }
  pre_tokenizer.Apply(text, start, model->reads_bytes(), to.words);
  to.cache.NewText();
  for (const Word& word : to.words.words) {
    if (to.tracked) {
      TraceWord(word, to);
    } else {
      EncodeWord(to.words.text.substr(word.begin, word.end - word.begin), to);
    }
  }
}

// `mixed`: the segment holds untrusted bytes, so that special tokens were already looked for in its trusted ones.
void Tokenizer::Impl::EncodeSegment(std::string_view text, bool mixed, Encoding& to) const {
  to.map.clear();
  if (!normalizer.empty()) {
    const bool mapped = to.tracked || (to.segment == 0 && pre_tokenizer.asks_start());
    to.normal = normalizer.Apply(text, mapped ? &to.map : nullptr);
    text = to.normal;
  }
  const TrustRuns trust = mixed ? TrustRuns{0} : TrustRuns{};
  for (const Cutting& c : normal_added.Cut(text, trust)) {
    if (c.id >= 0) {
      to.Add(c.id, c.begin, c.end);
      continue;
    }
    to.piece = c.begin;
    EncodePiece(text.substr(c.begin, c.end - c.begin), to);
  }
}

void Tokenizer::Impl::EncodeText(std::string_view text, const TrustRuns& trust, Encoding& to) const {
  // A trusted run [begin, end) of `trust`, clipped to a segment, in the segment's own offsets.
  const auto clip = [&](size_t begin, size_t end) {
    TrustRuns runs;
    for (size_t run_end : trust) runs.push_back(std::min(std::max(run_end, begin), end) - begin);
    return runs;
  };
  const auto token = [&](int id, size_t begin, size_t end) {
    to.map.clear();
    to.segment = 0;
    to.Add(id, begin, end);
  };
  for (const Cutting& c : raw_added.Cut(text, trust)) {
    if (c.id >= 0) {
      token(c.id, c.begin, c.end);
      continue;
    }
    const std::string_view segment = text.substr(c.begin, c.end - c.begin);
    to.segment = c.begin;
    if (trust.empty() || special_normal_added.empty()) {
      EncodeSegment(segment, !trust.empty(), to);
      continue;
    }
    for (const Cutting& s : special_normal_added.Cut(segment, clip(c.begin, c.end))) {
      if (s.id >= 0) {
        token(s.id, c.begin + s.begin, c.begin + s.end);
      } else {
        to.segment = c.begin + s.begin;
        EncodeSegment(segment.substr(s.begin, s.end - s.begin), true, to);
      }
    }
  }
}

std::vector<int> Tokenizer::Encode(std::string_view text, bool add_special) const {
  const TextPiece whole{text, true};
  return EncodeParts({&whole, 1}, add_special);
}

std::vector<int> Tokenizer::EncodeParts(std::span<const TextPiece> parts, bool add_special) const {
  std::string joined;
  std::string_view text;
  TrustRuns trust;
  bool trusted = true;
  bool any_untrusted = false;
  if (parts.size() == 1 && parts[0].trusted && utf8::IsValid(parts[0].text)) {
    text = parts[0].text;
  } else {
    for (const TextPiece& part : parts) {
      if (part.trusted != trusted) {
        trust.push_back(joined.size());
        trusted = part.trusted;
      }
      any_untrusted |= !part.trusted && !part.text.empty();
      joined += utf8::Sanitize(part.text);
    }
    text = joined;
  }
  if (!any_untrusted) trust.clear();
  Impl::Encoding to(text.size(), false);
  to.ids.reserve(text.size() / 4 + impl_->frame.size());
  for (const int id : add_special ? impl_->frame : std::vector<int>{-1}) {
    if (id >= 0) {
      to.ids.push_back(id);
    } else {
      impl_->EncodeText(text, trust, to);
    }
  }
  return std::move(to.ids);
}

std::vector<Token> Tokenizer::EncodeOffsets(std::string_view text, bool add_special) const {
  Rewriter valid(true);  // text may not be UTF-8
  for (size_t i = 0; i < text.size();) {
    const utf8::Char c = utf8::At(text, i);
    std::string one;
    utf8::Append(one, c.code);
    valid.Put(one, i, i + static_cast<size_t>(c.length));
    i += static_cast<size_t>(c.length);
  }
  std::vector<Token> tokens;
  for (const int id : add_special ? impl_->frame : std::vector<int>{-1}) {
    if (id >= 0) {
      tokens.push_back({id, 0, 0});
      continue;
    }
    Impl::Encoding to(valid.text.size(), true);
    impl_->EncodeText(valid.text, {}, to);
    for (size_t i = 0; i < to.ids.size(); ++i) {
      const Origin o = OriginOf(valid.map, to.origins[i].begin, to.origins[i].end);
      tokens.push_back({to.ids[i], o.begin, o.end});
    }
  }
  return tokens;
}

std::string Tokenizer::Impl::DecodePieces(std::span<const int> ids, bool skip_special) const {
  std::vector<std::string> pieces;
  pieces.reserve(ids.size());
  for (int id : ids) {
    if (vocabulary.Has(id) && !(skip_special && IsHidden(id))) pieces.emplace_back(vocabulary.Piece(id));
  }
  return decoder.Apply(std::move(pieces));
}

std::string Tokenizer::Decode(std::span<const int> ids, bool skip_special) const {
  return impl_->DecodePieces(ids, skip_special);
}

int Tokenizer::vocab_size() const { return impl_->vocabulary.size(); }
int Tokenizer::bos_id() const { return impl_->bos; }
int Tokenizer::eos_id() const { return impl_->eos; }
bool Tokenizer::IsControl(int id) const { return impl_->IsSpecial(id); }
std::string_view Tokenizer::PieceOf(int id) const { return impl_->vocabulary.Piece(id); }

std::optional<int> Tokenizer::Find(std::string_view piece) const {
  const int id = impl_->vocabulary.Find(piece);
  return id < 0 ? std::nullopt : std::optional<int>(id);
}

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(&tokenizer), skip_special_(skip_special) {}

std::string StreamDecoder::Add(int id) {
  const Tokenizer::Impl& impl = *tokenizer_->impl_;
  if (!impl.vocabulary.Has(id) || (skip_special_ && impl.IsHidden(id))) return "";
  if (impl.decoder.byte_level()) {
    Decoder::AppendBytes(impl.vocabulary.Piece(id), pending_);
    const size_t held = utf8::IncompleteTail(pending_);
    std::string out = utf8::Sanitize(std::string_view(pending_).substr(0, pending_.size() - held));
    pending_.erase(0, pending_.size() - held);
    return out;
  }
  window_.push_back(id);
  ++fresh_;
  // A run of byte pieces is text only as a whole, so it waits for the piece that ends it.
  if (ByteOfPiece(impl.vocabulary.Piece(id)) >= 0) return "";
  const std::string text = impl.DecodePieces(window_, false);
  std::string out = text.size() > window_given_ ? text.substr(window_given_) : std::string();
  // The pieces just settled stay as the left context that decoders look at (a leading space is theirs to drop). They
  // are none when by themselves they have no text.
  const std::vector<int> settled(window_.end() - static_cast<ptrdiff_t>(fresh_), window_.end());
  const size_t given = impl.DecodePieces(settled, false).size();
  fresh_ = 0;
  if (given > 0) window_ = settled;
  window_given_ = given > 0 ? given : text.size();
  return out;
}

std::string StreamDecoder::Flush() {
  std::string out = utf8::Sanitize(pending_);
  if (fresh_ > 0) {
    const std::string text = tokenizer_->impl_->DecodePieces(window_, false);
    if (text.size() > window_given_) out += text.substr(window_given_);
  }
  pending_.clear();
  window_.clear();
  fresh_ = window_given_ = 0;
  return out;
}

}  // namespace unimax
