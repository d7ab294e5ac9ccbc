// SPDX-License-Identifier: Apache-2.0
// Tokenizers from SentencePiece's tokenizer.model, a protocol-buffer message (sentencepiece_model.proto).
#include "text/sentencepiece.h"

#include <cmath>
#include <cstring>

#include "text/tokenizer_impl.h"
#include "text/utf8.h"
#include "text/word_models.h"

namespace unimax {
namespace {

constexpr size_t kMaxBytes = 64u << 20;

// One field of a message: a number (wire type 0), or bytes (2); 4-byte values come as bytes.
struct Field {
  uint64_t number = 0;  // of the field
  uint64_t value = 0;
  std::string_view bytes;
};

// Reads the fields of a message one after another (protobuf.dev, "Encoding").
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : bytes_(bytes) {}
  // False at the end, and when the message is broken; then ok() is false.
  bool Next(Field* field) {
    if (bytes_.empty() || !ok_) return false;
    const uint64_t tag = Varint();
    *field = {tag >> 3, 0, {}};
    switch (tag & 7) {
      case 0:
        field->value = Varint();
        break;
      case 1:
        field->bytes = Take(8);
        break;
      case 2:
        field->bytes = Take(Varint());
        break;
      case 5:
        field->bytes = Take(4);
        break;
      default:
        ok_ = false;
    }
    return ok_;
  }
  bool ok() const { return ok_; }

 private:
  uint64_t Varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !bytes_.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(bytes_[0]);
      bytes_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    ok_ = false;
    return 0;
  }
  std::string_view Take(uint64_t n) {
    if (n > bytes_.size()) {
      ok_ = false;
      return {};
    }
    const std::string_view taken = bytes_.substr(0, n);
    bytes_.remove_prefix(n);
    return taken;
  }
  std::string_view bytes_;
  bool ok_ = true;
};

enum PieceType { kNormal = 1, kUnknown = 2, kControl = 3, kUser = 4, kUnused = 5, kByte = 6 };
enum ModelType { kUnigram = 1, kBpe = 2 };

struct Piece {
  std::string text;
  float score = 0;
  uint64_t type = kNormal;
};

struct Spec {
  std::vector<Piece> pieces;
  uint64_t model_type = kUnigram;
  bool byte_fallback = false, suffix = false;
  std::string unknown_surface = " \xe2\x81\x87 ";
  std::string bos = "<s>", eos = "</s>";
  std::string_view charsmap, denormalizer;
  bool dummy_prefix = true, tidy_spaces = true, mark_spaces = true;
};

Status Broken(const char* what) { return BadModel("tokenizer.model: {} is cut short or not a message", what); }

Status ReadPiece(std::string_view bytes, Spec& spec) {
  Piece piece;
  WireReader in(bytes);
  for (Field f; in.Next(&f);) {
    if (f.number == 1) piece.text = f.bytes;
    if (f.number == 2 && f.bytes.size() == 4) std::memcpy(&piece.score, f.bytes.data(), 4);
    if (f.number == 3) piece.type = f.value;
  }
  if (!in.ok()) return Broken("a piece");
  if (piece.type < kNormal || piece.type > kByte) {
    return BadModel("tokenizer.model: piece {} has type {}, which is not known", spec.pieces.size(), piece.type);
  }
  if (std::isnan(piece.score))
    return BadModel("tokenizer.model: the score of piece {} is not a number", spec.pieces.size());
  if (piece.text.empty() || !utf8::IsValid(piece.text)) {
    return BadModel("tokenizer.model: piece {} is empty or not UTF-8", spec.pieces.size());
  }
  spec.pieces.push_back(std::move(piece));
  return {};
}

Status ReadTrainer(std::string_view bytes, Spec& spec) {
  WireReader in(bytes);
  for (Field f; in.Next(&f);) {
    switch (f.number) {
      case 3:
        spec.model_type = f.value;
        break;
      case 24:
        spec.suffix = f.value != 0;
        break;
      case 35:
        spec.byte_fallback = f.value != 0;
        break;
      case 44:
        spec.unknown_surface = utf8::Sanitize(f.bytes);
        break;
      case 46:
        spec.bos = f.bytes;
        break;
      case 47:
        spec.eos = f.bytes;
        break;
      default:
        break;
    }
  }
  return in.ok() ? Status() : Broken("trainer_spec");
}

Status ReadNormalizer(std::string_view bytes, Spec& spec) {
  WireReader in(bytes);
  for (Field f; in.Next(&f);) {
    if (f.number == 2) spec.charsmap = f.bytes;
    if (f.number == 3) spec.dummy_prefix = f.value != 0;
    if (f.number == 4) spec.tidy_spaces = f.value != 0;
    if (f.number == 5) spec.mark_spaces = f.value != 0;
  }
  return in.ok() ? Status() : Broken("normalizer_spec");
}

Result<Spec> ReadSpec(std::string_view bytes) {
  if (bytes.size() > kMaxBytes) {
    return BadModel("tokenizer.model has {} bytes; at most {} are read", bytes.size(), kMaxBytes);
  }
  Spec spec;
  WireReader in(bytes);
  for (Field f; in.Next(&f);) {
    if (f.number == 1) UM_RETURN_IF_ERROR(ReadPiece(f.bytes, spec));
    if (f.number == 2) UM_RETURN_IF_ERROR(ReadTrainer(f.bytes, spec));
    if (f.number == 3) UM_RETURN_IF_ERROR(ReadNormalizer(f.bytes, spec));
    if (f.number != 5) continue;
    WireReader denormalizer(f.bytes);
    for (Field d; denormalizer.Next(&d);) {
      if (d.number == 2) spec.denormalizer = d.bytes;
    }
  }
  if (!in.ok()) return Broken("the file");
  if (spec.pieces.empty()) return BadModel("tokenizer.model has no pieces");
  if (spec.model_type != kUnigram && spec.model_type != kBpe) {
    return BadModel("tokenizer.model: model type {} is not supported; unigram (1) and bpe (2) are", spec.model_type);
  }
  if (spec.suffix) return BadModel("tokenizer.model: treat_whitespace_as_suffix is not supported");
  if (!spec.mark_spaces) return BadModel("tokenizer.model: escape_whitespaces = false is not supported");
  if (!spec.denormalizer.empty()) return BadModel("tokenizer.model: denormalizer_spec is not supported");
  return spec;
}

std::vector<int> UserPieces(const Spec& spec) {
  std::vector<int> user;
  for (size_t id = 0; id < spec.pieces.size(); ++id) {
    if (spec.pieces[id].type == kUser) user.push_back(static_cast<int>(id));
  }
  return user;
}

// Vocabulary of the pieces that text may become; all others are left out.
void FillModelVocabulary(const Spec& spec, Tokenizer::Impl& impl) {
  for (size_t id = 0; id < spec.pieces.size(); ++id) {
    const Piece& piece = spec.pieces[id];
    const bool bytes = piece.type == kByte && spec.byte_fallback;
    if (piece.type == kNormal || piece.type == kUser || bytes) {
      impl.model_vocabulary.Add(piece.text, static_cast<int>(id));
    } else {
      impl.vocabulary.Add(piece.text, piece.text, static_cast<int>(id));
    }
  }
  impl.vocabulary.Index();
}

Status MakeUnigram(const Spec& spec, int unknown, Tokenizer::Impl& impl) {
  constexpr float kUserPerByte = 0.1f;  // what a user-defined symbol is worth for each byte after the first
  float worst = std::numeric_limits<float>::max();
  std::vector<double> scores(spec.pieces.size());
  for (const Piece& piece : spec.pieces) {
    if (piece.type == kNormal) worst = std::min(worst, piece.score);
  }
  std::vector<int> usable;
  for (size_t id = 0; id < spec.pieces.size(); ++id) {
    const Piece& piece = spec.pieces[id];
    const float user = kUserPerByte * (static_cast<float>(piece.text.size()) - 1);
    scores[id] = static_cast<double>(piece.type == kUser ? user : piece.score);
    if (piece.type == kNormal || piece.type == kUser) usable.push_back(static_cast<int>(id));
  }
  UnigramModel::Options options;
  options.unknown = unknown;
  options.byte_fallback = spec.byte_fallback;
  options.single_precision = true;
  options.worst = static_cast<double>(worst);
  impl.model = std::make_unique<UnigramModel>(impl.model_vocabulary, usable, std::move(scores), options);
  return {};
}

Status MakeBpe(const Spec& spec, int unknown, Tokenizer::Impl& impl) {
  std::vector<float> scores;
  std::vector<bool> usable;
  for (const Piece& piece : spec.pieces) {
    if (piece.type == kUnused) return BadModel("tokenizer.model: unused pieces of a BPE model are not supported");
    scores.push_back(piece.score);
    usable.push_back(piece.type == kNormal);
  }
  UM_ASSIGN_OR_RETURN(auto model, ScoredBpeModel::Make(impl.model_vocabulary, scores, usable, unknown));
  model->fuse_unknown();
  impl.model = std::move(model);
  for (const int id : UserPieces(spec)) {  // found in the normalized text, and never joined with neighbours
    const std::string_view text = impl.model_vocabulary.Piece(id);
    AddedToken token;
    token.id = id;
    token.content = text;
    impl.normal_added.Add(token, text);
  }
  return {};
}

void MakeDecoder(const Spec& spec, const std::string& unknown, Decoder& decoder) {
  Decoder::Step step;
  step.kind = Decoder::Kind::kSentencePiece;
  step.text = unknown;
  step.delimiter = spec.unknown_surface;
  step.drop_first = spec.dummy_prefix || spec.tidy_spaces;
  step.cleanup = spec.tidy_spaces;
  decoder.AddStep(std::move(step));
}

}  // namespace

void SentencePieceRules::Apply(std::string_view text, Rewriter& out) const {
  // What stands for the beginning of text.substr(at), and how long that beginning is.
  const auto next = [&](size_t at, std::string_view* fresh) -> size_t {
    Trie::Place place;
    size_t longest = 0;
    for (size_t end = at; end < text.size() && kept.Step(place, static_cast<uint8_t>(text[end]));) {
      ++end;
      if (kept.Value(place) >= 0) longest = end - at;
    }
    if (longest == 0) {
      longest = charsmap.Longest(text.substr(at), fresh);
      if (longest > 0) return longest;
      longest = static_cast<size_t>(utf8::At(text, at).length);
    }
    *fresh = text.substr(at, longest);
    return longest;
  };
  size_t at = 0;
  std::string_view fresh;
  while (tidy_spaces && at < text.size()) {
    const size_t length = next(at, &fresh);
    if (fresh != " ") break;
    at += length;
  }
  if (at == text.size()) return;
  if (dummy_prefix) out.Put(kSpaceMark, at, at + static_cast<size_t>(utf8::At(text, at).length));
  bool after_space = tidy_spaces;
  std::string one;
  while (at < text.size()) {
    const size_t length = next(at, &fresh);
    while (after_space && fresh.starts_with(' ')) fresh.remove_prefix(1);
    if (!fresh.empty()) {
      one.clear();
      for (const char c : fresh) {
        if (c == ' ') {
          one += kSpaceMark;
        } else {
          one += c;
        }
      }
      out.Put(one, at, at + length);
      after_space = tidy_spaces && fresh.ends_with(' ');
    }
    at += length;
  }
  while (tidy_spaces && out.text.ends_with(kSpaceMark)) out.text.resize(out.text.size() - kSpaceMark.size());
  if (out.tracked()) out.map.resize(out.text.size());
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromSentencePiece(std::string_view bytes,
                                                                const SentencePieceOptions& options) {
  UM_ASSIGN_OR_RETURN(const Spec spec, ReadSpec(bytes));
  auto impl = std::make_unique<Impl>();
  FillModelVocabulary(spec, *impl);
  int unknown = -1;
  impl->special.assign(spec.pieces.size(), false);
  for (size_t id = 0; id < spec.pieces.size(); ++id) {
    const Piece& piece = spec.pieces[id];
    if (piece.type == kUnknown) unknown = static_cast<int>(id);
    if (piece.type != kControl) continue;
    impl->special[id] = true;
    if (piece.text == spec.bos) impl->bos = static_cast<int>(id);
    if (piece.text == spec.eos) impl->eos = static_cast<int>(id);
    if (!options.match_control) continue;
    AddedToken token;
    token.id = static_cast<int>(id);
    token.content = piece.text;
    token.special = true;
    impl->raw_added.Add(token, piece.text);
  }
  if (unknown < 0) return BadModel("tokenizer.model has no piece for unknown text");
  impl->hidden = impl->special;
  Normalizer::Step step;
  step.kind = Normalizer::Kind::kSentencePiece;
  step.rules.dummy_prefix = spec.dummy_prefix;
  step.rules.tidy_spaces = spec.tidy_spaces;
  step.rules.kept = Trie(impl->model_vocabulary, UserPieces(spec));
  UM_ASSIGN_OR_RETURN(step.rules.charsmap, CharsMap::Parse(spec.charsmap));
  impl->normalizer.AddStep(std::move(step));
  UM_RETURN_IF_ERROR(spec.model_type == kBpe ? MakeBpe(spec, unknown, *impl) : MakeUnigram(spec, unknown, *impl));
  MakeDecoder(spec, spec.pieces[static_cast<size_t>(unknown)].text, impl->decoder);
  if (options.add_bos && impl->bos < 0) return BadModel("tokenizer.model has no BOS piece '{}' to add", spec.bos);
  if (options.add_eos && impl->eos < 0) return BadModel("tokenizer.model has no EOS piece '{}' to add", spec.eos);
  impl->frame.clear();
  if (options.add_bos) impl->frame.push_back(impl->bos);
  impl->frame.push_back(-1);
  if (options.add_eos) impl->frame.push_back(impl->eos);
  return std::make_unique<Tokenizer>(std::move(impl));
}

}  // namespace unimax
