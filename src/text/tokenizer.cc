// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.h"

#include <algorithm>

#include "text/tokenizer_impl.h"
#include "text/utf8.h"

namespace unimax {

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

void Tokenizer::Impl::IndexAdded() {
  vocabulary = model_vocabulary;
  int size = vocabulary.size();
  for (const AddedToken& token : added) size = std::max(size, token.id + 1);
  special.assign(static_cast<size_t>(size), false);
  hidden = special;
  for (const AddedToken& token : added) {
    vocabulary.Add(token.content, token.id, true);
    const auto at = static_cast<size_t>(token.id);
    if (token.special) special[at] = true;
    if (!token.normalized) {
      if (token.special) hidden[at] = true;
      raw_added.Add(token, token.content);
    } else {
      const std::string normal = normalizer.Apply(token.content);
      // The package decodes such a token to its normalized content, and then does not know it as special any more.
      vocabulary.Respell(token.id, normal);
      if (token.special && normal == token.content) hidden[at] = true;
      normal_added.Add(token, normal);
      if (token.special) special_normal_added.Add(token, token.content);
    }
  }
}

// `mixed`: the segment holds untrusted bytes, so that special tokens were already looked for in its trusted ones.
void Tokenizer::Impl::EncodeSegment(std::string_view text, bool at_start, bool mixed, std::vector<int>& out) const {
  const std::string normal = normalizer.empty() ? std::string(text) : normalizer.Apply(text);
  const TrustRuns trust = mixed ? TrustRuns{0} : TrustRuns{};
  for (const Cutting& c : normal_added.Cut(normal, trust)) {
    if (c.id >= 0) {
      out.push_back(c.id);
      continue;
    }
    const std::string_view piece = std::string_view(normal).substr(c.begin, c.end - c.begin);
    for (const Word& word : pre_tokenizer.Apply(piece, at_start && c.begin == 0)) model->Encode(word.text, out);
  }
}

void Tokenizer::Impl::EncodeText(std::string_view text, const TrustRuns& trust, std::vector<int>& out) const {
  // A trusted run [begin, end) of `trust`, clipped to a segment, in the segment's own offsets.
  const auto clip = [&](size_t begin, size_t end) {
    TrustRuns runs;
    for (size_t run_end : trust) runs.push_back(std::min(std::max(run_end, begin), end) - begin);
    return runs;
  };
  for (const Cutting& c : raw_added.Cut(text, trust)) {
    if (c.id >= 0) {
      out.push_back(c.id);
      continue;
    }
    const std::string_view segment = text.substr(c.begin, c.end - c.begin);
    if (trust.empty() || special_normal_added.empty()) {
      EncodeSegment(segment, c.begin == 0, !trust.empty(), out);
      continue;
    }
    for (const Cutting& s : special_normal_added.Cut(segment, clip(c.begin, c.end))) {
      if (s.id >= 0) {
        out.push_back(s.id);
      } else {
        EncodeSegment(segment.substr(s.begin, s.end - s.begin), c.begin + s.begin == 0, true, out);
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
  TrustRuns trust;
  bool trusted = true;
  bool any_untrusted = false;
  for (const TextPiece& part : parts) {
    if (part.trusted != trusted) {
      trust.push_back(joined.size());
      trusted = part.trusted;
    }
    any_untrusted |= !part.trusted && !part.text.empty();
    joined += utf8::Sanitize(part.text);
  }
  if (!any_untrusted) trust.clear();
  std::vector<int> out;
  if (!add_special) {
    impl_->EncodeText(joined, trust, out);
    return out;
  }
  for (int id : impl_->frame) {
    if (id >= 0) {
      out.push_back(id);
    } else {
      impl_->EncodeText(joined, trust, out);
    }
  }
  return out;
}

std::string Tokenizer::Impl::DecodePieces(std::span<const int> ids, bool skip_special) const {
  std::vector<std::string> pieces;
  pieces.reserve(ids.size());
  for (int id : ids) {
    if (vocabulary.Has(id) && !(skip_special && IsHidden(id))) pieces.push_back(vocabulary.Piece(id));
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
  // The pieces just settled stay as the left context that decoders look at (a leading space is theirs to drop).
  window_.erase(window_.begin(), window_.end() - static_cast<ptrdiff_t>(fresh_));
  fresh_ = 0;
  window_given_ = impl.DecodePieces(window_, false).size();
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
