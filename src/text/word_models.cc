// SPDX-License-Identifier: Apache-2.0
#include "text/word_models.h"

#include <algorithm>
#include <limits>
#include <queue>

#include "text/utf8.h"

namespace unimax {
namespace {

constexpr double kUnknownPenalty = 10.0;  // how much worse than the worst piece an unknown character is

std::array<int, 256> ByteIds(const Vocabulary& vocabulary) {
  std::array<int, 256> ids{};
  for (int b = 0; b < 256; ++b) ids[static_cast<size_t>(b)] = vocabulary.Find(fmt::format("<0x{:02X}>", b));
  return ids;
}

// Appends the byte pieces of `bytes`; false, and nothing, when one is missing.
bool AppendBytePieces(const std::array<int, 256>& ids, std::string_view bytes, std::vector<int>& out) {
  const auto id = [&](char b) { return ids[static_cast<uint8_t>(b)]; };
  if (!std::all_of(bytes.begin(), bytes.end(), [&](char b) { return id(b) >= 0; })) return false;
  for (char b : bytes) out.push_back(id(b));
  return true;
}

}  // namespace

UnigramModel::UnigramModel(const Vocabulary& vocabulary, std::vector<double> scores, int unknown, bool byte_fallback)
    : vocabulary_(vocabulary), scores_(std::move(scores)), byte_fallback_(byte_fallback), unknown_(unknown) {
  double worst = std::numeric_limits<double>::max();
  for (int id = 0; id < vocabulary.size(); ++id) {
    const std::string& piece = vocabulary.Piece(id);
    worst = std::min(worst, scores_[static_cast<size_t>(id)]);
    if (!piece.empty() && vocabulary.Find(piece) == id) sorted_.emplace_back(piece, id);
  }
  std::sort(sorted_.begin(), sorted_.end());
  unknown_score_ = worst - kUnknownPenalty;
  if (byte_fallback) byte_ids_ = ByteIds(vocabulary);
}

void UnigramModel::Encode(std::string_view word, std::vector<int>& out) const {
  struct Best {
    double score = 0;
    int id = -1;
    size_t from = std::string_view::npos;
  };
  std::vector<Best> best(word.size() + 1);
  const auto offer = [&](size_t from, size_t to, double score, int id) {
    Best& b = best[to];
    if (b.from == std::string_view::npos || score > b.score) b = {score, id, from};
  };
  for (size_t at = 0; at < word.size();) {
    const double here = best[at].score;
    const auto length = static_cast<size_t>(utf8::At(word, at).length);
    bool single = false;
    // The pieces that agree with the text so far are a range of the sorted list; each byte narrows it.
    auto low = sorted_.begin();
    auto high = sorted_.end();
    for (size_t n = 0; at + n < word.size() && low != high; ++n) {
      const auto byte = static_cast<uint8_t>(word[at + n]);
      low = std::partition_point(
          low, high, [&](const auto& p) { return p.first.size() <= n || static_cast<uint8_t>(p.first[n]) < byte; });
      high = std::partition_point(low, high, [&](const auto& p) { return static_cast<uint8_t>(p.first[n]) == byte; });
      if (low == high || low->first.size() != n + 1) continue;
      offer(at, at + n + 1, here + scores_[static_cast<size_t>(low->second)], low->second);
      single |= n + 1 == length;
    }
    if (!single) offer(at, at + length, here + unknown_score_, -1);
    at += length;
  }
  std::vector<std::pair<size_t, int>> path;  // starts and ids, last first
  for (size_t end = word.size(); end > 0; end = best[end].from) path.emplace_back(best[end].from, best[end].id);
  for (size_t i = path.size(); i-- > 0;) {
    if (path[i].second >= 0 && path[i].second != unknown_) {
      out.push_back(path[i].second);
      continue;
    }
    const size_t begin = path[i].first;
    while (i > 0 && (path[i - 1].second < 0 || path[i - 1].second == unknown_)) --i;
    const size_t end = i > 0 ? path[i - 1].first : word.size();
    const std::string_view run = word.substr(begin, end - begin);
    if (byte_fallback_ && AppendBytePieces(byte_ids_, run, out)) continue;
    if (unknown_ >= 0) out.push_back(unknown_);
  }
}

ScoredBpeModel::ScoredBpeModel(const Vocabulary& vocabulary, std::vector<float> scores, int unknown)
    : vocabulary_(vocabulary), scores_(std::move(scores)), byte_ids_(ByteIds(vocabulary)), unknown_(unknown) {
  for (int id = 0; id < vocabulary.size(); ++id) longest_ = std::max(longest_, vocabulary.Piece(id).size());
}

void ScoredBpeModel::Encode(std::string_view word, std::vector<int>& out) const {
  struct Symbol {
    size_t begin, end;
    int previous, next;
  };
  struct Candidate {
    float score;
    int left;
    size_t end;  // of the joined piece: tells stale candidates
    bool operator<(const Candidate& o) const { return score != o.score ? score < o.score : left > o.left; }
  };
  std::vector<Symbol> symbols;
  for (size_t i = 0; i < word.size();) {
    const size_t end = i + static_cast<size_t>(utf8::At(word, i).length);
    const int at = static_cast<int>(symbols.size());
    symbols.push_back({i, end, at - 1, at + 1});
    i = end;
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;
  std::priority_queue<Candidate> queue;
  const auto consider = [&](int left) {
    if (left < 0 || symbols[static_cast<size_t>(left)].next < 0) return;
    const Symbol& a = symbols[static_cast<size_t>(left)];
    const size_t end = symbols[static_cast<size_t>(a.next)].end;
    if (end - a.begin > longest_) return;
    const int id = vocabulary_.Find(word.substr(a.begin, end - a.begin));
    if (id >= 0) queue.push({scores_[static_cast<size_t>(id)], left, end});
  };
  for (int i = 0; i + 1 < static_cast<int>(symbols.size()); ++i) consider(i);
  while (!queue.empty()) {
    const Candidate c = queue.top();
    queue.pop();
    Symbol& a = symbols[static_cast<size_t>(c.left)];
    if (a.begin == a.end || a.next < 0 || symbols[static_cast<size_t>(a.next)].end != c.end) continue;
    Symbol& b = symbols[static_cast<size_t>(a.next)];
    a.end = b.end;
    a.next = b.next;
    b.begin = b.end;  // empty: swallowed
    b.next = -1;
    if (a.next >= 0) symbols[static_cast<size_t>(a.next)].previous = c.left;
    consider(a.previous);
    consider(c.left);
  }
  for (int i = 0; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
    const Symbol& s = symbols[static_cast<size_t>(i)];
    const std::string_view piece = word.substr(s.begin, s.end - s.begin);
    const int id = vocabulary_.Find(piece);
    if (id >= 0) {
      out.push_back(id);
    } else if (!AppendBytePieces(byte_ids_, piece, out) && unknown_ >= 0) {
      out.push_back(unknown_);
    }
  }
}

void WordPieceModel::Encode(std::string_view word, std::vector<int>& out) const {
  const size_t before = out.size();
  bool known = utf8::Length(word) <= max_chars_;
  std::string piece;
  for (size_t begin = 0; known && begin < word.size();) {
    known = false;
    for (size_t end = word.size(); end > begin;) {
      piece = begin > 0 ? prefix_ : std::string();
      piece += word.substr(begin, end - begin);
      const int id = vocabulary_.Find(piece);
      if (id >= 0) {
        out.push_back(id);
        begin = end;
        known = true;
        break;
      }
      do --end;
      while (end > begin && (static_cast<uint8_t>(word[end]) & 0xc0) == 0x80);
    }
  }
  if (known) return;
  out.resize(before);
  if (unknown_ >= 0) out.push_back(unknown_);
}

void WordLevelModel::Encode(std::string_view word, std::vector<int>& out) const {
  const int id = vocabulary_.Find(word);
  if (id >= 0) {
    out.push_back(id);
  } else if (unknown_ >= 0) {
    out.push_back(unknown_);
  }
}

}  // namespace unimax
