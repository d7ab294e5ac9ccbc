// SPDX-License-Identifier: Apache-2.0
#include "text/bpe.h"

#include <algorithm>

#include "base/json_walk.h"
#include "text/utf8.h"

namespace unimax {

Status BpeModel::AddMerges(size_t count, const Merges& merges) {
  merges_.Reserve(count);
  parts_at_marks_ = vocabulary_.Find(kSpaceMark) >= 0;
  std::string joined;
  Merge merge;
  for (int i = 0; merges(&merge); ++i) {
    auto [left, right] = merge;
    const int a = vocabulary_.Find(left);
    const int b = vocabulary_.Find(right);
    if (a < 0 || b < 0) {
      return BadModel("merge {} of the tokenizer joins '{}', which is not in the vocabulary", i,
                      Printable(a < 0 ? left : right));
    }
    if (right.starts_with(options_.continuing_prefix)) right.remove_prefix(options_.continuing_prefix.size());
    joined.assign(left).append(right);
    const int result = vocabulary_.Find(joined);
    if (result < 0)
      return BadModel("merge {} of the tokenizer makes '{}', which is not in the vocabulary", i, Printable(joined));
    merges_.Add(a, b, i, result);
    if (right.starts_with(kSpaceMark) && !left.ends_with(kSpaceMark)) parts_at_marks_ = false;
  }
  return {};
}

Result<std::unique_ptr<BpeModel>> BpeModel::Make(const Vocabulary& vocabulary, size_t count, const Merges& merges,
                                                 BpeOptions options) {
  auto model = std::make_unique<BpeModel>(vocabulary);
  model->options_ = std::move(options);
  BpeOptions& o = model->options_;
  UM_RETURN_IF_ERROR(model->AddMerges(count, merges));
  const bool plain = o.continuing_prefix.empty() && o.word_suffix.empty();
  if (!plain || o.ignore_merges) model->parts_at_marks_ = false;
  o.reads_bytes = o.reads_bytes && plain && !o.byte_fallback;
  for (char32_t c = 0; c < model->short_ids_.size(); ++c) {
    std::string spelling;
    utf8::Append(spelling, c);
    model->short_ids_[c] = vocabulary.Find(spelling);
  }
  for (size_t b = 0; b < 256; ++b) {
    model->byte_ids_[b] = o.reads_bytes ? model->short_ids_[ByteToChar(static_cast<uint8_t>(b))]
                                        : vocabulary.Find(fmt::format("<0x{:02X}>", b));
  }
  if (o.reads_bytes && o.ignore_merges) model->KeepRawPieces();
  return model;
}

void BpeModel::KeepRawPieces() {
  size_t pieces = 0, bytes = 0;  // not fewer than there are
  for (int id = 0; id < vocabulary_.size(); ++id) {
    pieces += vocabulary_.Piece(id).empty() ? 0 : 1;
    bytes += vocabulary_.Piece(id).size();
  }
  raw_pieces_.Reserve(pieces, static_cast<size_t>(vocabulary_.size()), bytes);
  for (int id = 0; id < vocabulary_.size(); ++id) {
    const std::string_view piece = vocabulary_.Piece(id);
    if (piece.empty() || vocabulary_.Find(piece) != id) continue;
    if (const auto raw = CharsToBytes(piece)) raw_pieces_.Add(*raw, id);
  }
}

int BpeModel::CharId(std::string_view spelling) const {
  if (spelling.size() > 2) return vocabulary_.Find(spelling);
  return short_ids_[utf8::At(spelling, 0).code];
}

void BpeModel::SplitBytes(std::string_view word, std::vector<Symbol>& symbols) const {
  bool last_unknown = false;
  for (char b : word) {
    const int id = byte_ids_[static_cast<uint8_t>(b)];
    if (id >= 0) {
      symbols.push_back({id, 1});
    } else if (last_unknown && options_.fuse_unknown && options_.unknown >= 0) {
      ++symbols.back().width;
    } else if (options_.unknown >= 0) {
      symbols.push_back({options_.unknown, 1});
    }
    last_unknown = id < 0;
  }
}

void BpeModel::Split(std::string_view word, std::vector<Symbol>& symbols) const {
  const bool plain = options_.continuing_prefix.empty() && options_.word_suffix.empty();
  std::string dressed;
  bool last_unknown = false;
  for (size_t i = 0; i < word.size();) {
    const auto length = static_cast<size_t>(utf8::At(word, i).length);
    const std::string_view spelling = word.substr(i, length);
    int id;
    if (plain) {
      id = CharId(spelling);
    } else {
      dressed = i > 0 ? options_.continuing_prefix : std::string();
      dressed += spelling;
      if (i + length == word.size()) dressed += options_.word_suffix;
      id = vocabulary_.Find(dressed);
    }
    i += length;
    if (id >= 0) {
      symbols.push_back({id, static_cast<int>(length)});
      last_unknown = false;
      continue;
    }
    if (options_.byte_fallback) {
      const std::string_view bytes = plain ? spelling : std::string_view(dressed);
      const auto byte_id = [&](char b) { return byte_ids_[static_cast<uint8_t>(b)]; };
      if (std::all_of(bytes.begin(), bytes.end(), [&](char b) { return byte_id(b) >= 0; })) {
        for (char b : bytes) symbols.push_back({byte_id(b), 1});
        last_unknown = false;
        continue;
      }
    }
    if (last_unknown && options_.fuse_unknown && options_.unknown >= 0) {
      symbols.back().width += static_cast<int>(length);
    } else if (options_.unknown >= 0) {
      symbols.push_back({options_.unknown, static_cast<int>(length)});
    }
    last_unknown = true;
  }
}

void BpeModel::Encode(std::string_view word, SubwordScratch& scratch, std::vector<int>& out) const {
  if (word.empty()) return;
  if (options_.ignore_merges) {
    const int id = options_.reads_bytes ? raw_pieces_.Find(word) : vocabulary_.Find(word);
    if (id >= 0) return Push(id, word.size(), scratch, out);
  }
  scratch.symbols.clear();
  scratch.symbols.reserve(word.size());
  if (options_.reads_bytes) {
    SplitBytes(word, scratch.symbols);
  } else {
    Split(word, scratch.symbols);
  }
  scratch.merger.Run(merges_, scratch.symbols);
  for (const Symbol& s : scratch.symbols) Push(s.id, static_cast<size_t>(s.width), scratch, out);
}

}  // namespace unimax
