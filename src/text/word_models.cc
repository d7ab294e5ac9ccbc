// SPDX-License-Identifier: Apache-2.0
#include "text/word_models.h"

#include <algorithm>
#include <limits>

#include "text/utf8.h"

namespace unimax {
namespace {

constexpr double kUnknownPenalty = 10.0;  // how much worse than the worst piece an unknown character is
// Every way to cut a piece in two is looked up when a model by score is made; the packages train pieces of 16 letters.
constexpr size_t kMaxJoinedBytes = 1024;

double Rounded(double x) { return static_cast<double>(static_cast<float>(x)); }

std::array<int, 256> ByteIds(const Vocabulary& vocabulary) {
  std::array<int, 256> ids{};
  for (int b = 0; b < 256; ++b) ids[static_cast<size_t>(b)] = vocabulary.Find(fmt::format("<0x{:02X}>", b));
  return ids;
}

bool AllBytes(const std::array<int, 256>& ids, std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [&](char b) { return ids[static_cast<uint8_t>(b)] >= 0; });
}

// The ids of the pieces that Find knows. `usable`: by id; empty: all are.
std::vector<int> Known(const Vocabulary& vocabulary, const std::vector<bool>& usable = {}) {
  std::vector<int> known;
  known.reserve(static_cast<size_t>(vocabulary.size()));
  for (int id = 0; id < vocabulary.size(); ++id) {
    const std::string_view piece = vocabulary.Piece(id);
    if (!usable.empty() && !usable[static_cast<size_t>(id)]) continue;
    if (!piece.empty() && vocabulary.Find(piece) == id) known.push_back(id);
  }
  return known;
}

std::optional<Trie::Place> Walk(const Trie& trie, std::string_view text) {
  Trie::Place place;
  for (const char c : text) {
    if (!trie.Step(place, static_cast<uint8_t>(c))) return std::nullopt;
  }
  return place;
}

size_t CharLength(std::string_view text, size_t at) { return static_cast<size_t>(utf8::At(text, at).length); }

}  // namespace

UnigramModel::UnigramModel(const Vocabulary& vocabulary, const std::vector<bool>& usable, std::vector<double> scores,
                           int unknown, bool byte_fallback)
    : scores_(std::move(scores)), pieces_(vocabulary, Known(vocabulary, usable)) {
  options_.unknown = unknown;
  options_.byte_fallback = byte_fallback;
  unknown_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnknownPenalty;
  if (byte_fallback) byte_ids_ = ByteIds(vocabulary);
}

UnigramModel::UnigramModel(const Vocabulary& vocabulary, const std::vector<int>& pieces, std::vector<double> scores,
                           const Options& options)
    : scores_(std::move(scores)), pieces_(vocabulary, pieces), options_(options) {
  unknown_score_ = Rounded(options.worst - kUnknownPenalty);
  if (options.byte_fallback) byte_ids_ = ByteIds(vocabulary);
}

void UnigramModel::Encode(std::string_view word, SubwordScratch& scratch, std::vector<int>& out) const {
  constexpr uint32_t kNowhere = 0xffffffff;
  auto& best = scratch.best;
  best.assign(word.size() + 1, {0, -1, kNowhere});
  const auto offer = [&](size_t from, size_t to, double score, int id) {
    auto& b = best[to];
    if (options_.single_precision) score = Rounded(score);
    if (b.from == kNowhere || score > b.score) b = {score, id, static_cast<uint32_t>(from)};
  };
  for (size_t at = 0; at < word.size();) {
    const double here = best[at].score;
    const size_t length = CharLength(word, at);
    bool single = false;
    Trie::Place place;
    for (size_t end = at; end < word.size();) {
      if (!pieces_.Step(place, static_cast<uint8_t>(word[end++]))) break;
      const int id = pieces_.Value(place);
      if (id < 0) continue;
      offer(at, end, here + scores_[static_cast<size_t>(id)], id);
      single |= end - at == length;
    }
    if (!single) offer(at, at + length, here + unknown_score_, -1);
    at += length;
  }
  auto& path = scratch.path;  // starts and ids, last first
  path.clear();
  for (uint32_t end = static_cast<uint32_t>(word.size()); end > 0; end = best[end].from) {
    path.emplace_back(best[end].from, best[end].id);
  }
  for (size_t i = path.size(); i-- > 0;) {
    const size_t begin = path[i].first;
    const bool known = path[i].second >= 0 && path[i].second != options_.unknown;
    while (!known && i > 0 && (path[i - 1].second < 0 || path[i - 1].second == options_.unknown)) --i;
    const size_t end = i > 0 ? path[i - 1].first : word.size();
    const std::string_view run = word.substr(begin, end - begin);
    if (known) {
      Push(path[i].second, run.size(), scratch, out);
    } else if (options_.byte_fallback && AllBytes(byte_ids_, run)) {
      for (char b : run) Push(byte_ids_[static_cast<uint8_t>(b)], 1, scratch, out);
    } else if (options_.unknown >= 0) {
      Push(options_.unknown, run.size(), scratch, out);
    }
  }
}

Result<std::unique_ptr<ScoredBpeModel>> ScoredBpeModel::Make(const Vocabulary& vocabulary,
                                                             const std::vector<float>& scores,
                                                             const std::vector<bool>& usable, int unknown) {
  auto model = std::make_unique<ScoredBpeModel>();
  model->unknown_ = unknown;
  model->byte_ids_ = ByteIds(vocabulary);
  model->pieces_ = vocabulary.size();
  std::vector<int> order;
  for (const int id : Known(vocabulary)) {
    const std::string_view piece = vocabulary.Piece(id);
    if (!usable.empty() && !usable[static_cast<size_t>(id)]) continue;
    if (piece.size() > kMaxJoinedBytes) {
      return BadModel("piece {} of the vocabulary has {} bytes; at most {} are supported", id, piece.size(),
                      kMaxJoinedBytes);
    }
    model->symbols_.Add(piece, id);
    order.push_back(id);
  }
  for (const int id : order) {  // characters that are no piece can still be parts of one
    const std::string_view piece = vocabulary.Piece(id);
    for (size_t at = 0, length = 0; at < piece.size(); at += length) {
      length = CharLength(piece, at);
      const std::string_view one = piece.substr(at, length);
      if (model->symbols_.Find(one) < 0) model->symbols_.Add(one, std::max(model->symbols_.size(), model->pieces_));
    }
  }
  const auto score = [&](int id) { return scores[static_cast<size_t>(id)]; };
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return score(a) > score(b); });
  model->parts_at_marks_ = model->symbols_.Find(kSpaceMark) >= 0 && vocabulary.Find(kSpaceMark) >= 0;
  int rank = 0;  // pieces of one score share a rank
  for (size_t i = 0; i < order.size(); ++i) {
    if (i > 0 && score(order[i]) != score(order[i - 1])) ++rank;
    model->AddPairs(vocabulary, order[i], rank);
  }
  for (char32_t c = 0; c < model->short_ids_.size(); ++c) {
    std::string spelling;
    utf8::Append(spelling, c);
    model->short_ids_[c] = model->symbols_.Find(spelling);
  }
  return model;
}

void ScoredBpeModel::AddPairs(const Vocabulary& vocabulary, int id, int rank) {
  const std::string_view piece = vocabulary.Piece(id);
  for (size_t at = CharLength(piece, 0); at < piece.size(); at += CharLength(piece, at)) {
    const std::string_view front = piece.substr(0, at), back = piece.substr(at);
    const int left = symbols_.Find(front);
    const int right = left < 0 ? -1 : symbols_.Find(back);
    if (right < 0) continue;
    merges_.Add(left, right, rank, id);
    if (back.starts_with(kSpaceMark) && !front.ends_with(kSpaceMark)) parts_at_marks_ = false;
  }
}

void ScoredBpeModel::Encode(std::string_view word, SubwordScratch& scratch, std::vector<int>& out) const {
  auto& symbols = scratch.symbols;
  symbols.clear();
  symbols.reserve(word.size());
  for (size_t at = 0, length = 0; at < word.size(); at += length) {
    length = CharLength(word, at);
    const std::string_view one = word.substr(at, length);
    const int id = length > 2 ? symbols_.Find(one) : short_ids_[utf8::At(one, 0).code];
    symbols.push_back({id, static_cast<int>(length)});
  }
  scratch.merger.Run(merges_, symbols);
  size_t at = 0;
  bool after_unknown = false;
  for (const Symbol& s : symbols) {
    const auto width = static_cast<size_t>(s.width);
    const std::string_view text = word.substr(at, width);
    at += width;
    const bool known = s.id >= 0 && s.id < pieces_;
    const bool bytes = !known && AllBytes(byte_ids_, text);
    const bool fused = !known && !bytes && after_unknown && fuse_unknown_ && unknown_ >= 0;
    after_unknown = !known && !bytes;
    if (known) {
      Push(s.id, width, scratch, out);
    } else if (bytes) {
      for (char b : text) Push(byte_ids_[static_cast<uint8_t>(b)], 1, scratch, out);
    } else if (fused) {
      if (scratch.widths != nullptr) scratch.widths->back() += s.width;
    } else if (unknown_ >= 0) {
      Push(unknown_, width, scratch, out);
    }
  }
}

WordPieceModel::WordPieceModel(const Vocabulary& vocabulary, int unknown, std::string_view prefix, size_t max_chars)
    : pieces_(vocabulary, Known(vocabulary)), inner_(Walk(pieces_, prefix)), unknown_(unknown), max_chars_(max_chars) {}

void WordPieceModel::Encode(std::string_view word, SubwordScratch& scratch, std::vector<int>& out) const {
  const size_t before = out.size();
  bool known = utf8::Length(word) <= max_chars_;
  for (size_t begin = 0; known && begin < word.size();) {
    int id = -1;
    size_t best_end = begin;
    std::optional<Trie::Place> place = begin > 0 ? inner_ : Trie::Place();
    for (size_t end = begin; place && end < word.size();) {
      if (!pieces_.Step(*place, static_cast<uint8_t>(word[end++]))) break;
      if (pieces_.Value(*place) < 0) continue;
      id = pieces_.Value(*place);
      best_end = end;
    }
    known = id >= 0;
    if (known) Push(id, best_end - begin, scratch, out);
    begin = best_end;
  }
  if (known) return;
  if (scratch.widths != nullptr) scratch.widths->resize(scratch.widths->size() - (out.size() - before));
  out.resize(before);
  if (unknown_ >= 0) Push(unknown_, word.size(), scratch, out);
}

void WordLevelModel::Encode(std::string_view word, SubwordScratch& scratch, std::vector<int>& out) const {
  const int id = vocabulary_.Find(word);
  if (id >= 0 || unknown_ >= 0) Push(id >= 0 ? id : unknown_, word.size(), scratch, out);
}

}  // namespace unimax
