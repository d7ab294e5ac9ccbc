// SPDX-License-Identifier: Apache-2.0
// The pieces of a model by id and by spelling, and the interface of the models that cut text into them.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/merge.h"

namespace unimax {

// Largest id accepted from a file: far above every published vocabulary, small enough for tables indexed by id.
inline constexpr int kMaxTokenId = 16'000'000;

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
};
template <class T>
using StringMap = std::unordered_map<std::string, T, StringHash, std::equal_to<>>;

// Fast and good enough for tables that grow with trusted sizes; the same on every machine of one byte order.
inline uint64_t HashBytes(std::string_view bytes) {
  constexpr uint64_t kMix = 0x9e3779b97f4a7c15u;
  uint64_t hash = bytes.size() * kMix;
  const auto mix = [&](uint64_t word) {
    hash = (hash ^ word) * kMix;
    hash ^= hash >> 32;
  };
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; left -= 8, at += 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    mix(word);
  }
  uint64_t tail = 0;
  for (size_t i = 0; i < left; ++i) tail = (tail << 8) | static_cast<uint8_t>(at[i]);
  mix(tail);
  return hash;
}

// All spellings lie in one string and are found through one flat table: a file of 128k pieces is read in milliseconds.
class Vocabulary {
 public:
  // A piece that is already there keeps its first id for Find (`overwrite`: takes the new one). Returns the id that
  // the piece had before, -1 for none.
  int Add(std::string_view piece, int id, bool overwrite = false);
  // Makes room for exactly `pieces` different spellings of `bytes` together, under ids below `ids`.
  void Reserve(size_t pieces, size_t ids, size_t bytes);
  // Takes the piece from an id; Find still knows its spelling.
  void Drop(int id) { pieces_[static_cast<size_t>(id)] = {}; }
  // Changes what Piece gives for an id that is there; Find still knows the old spelling.
  void Respell(int id, std::string_view piece) { pieces_[static_cast<size_t>(id)] = Store(piece); }
  int Find(std::string_view piece) const;  // -1: not there
  std::string_view Piece(int id) const;    // "" when there is none; valid until the next change
  bool Has(int id) const { return id >= 0 && id < size() && pieces_[static_cast<size_t>(id)].begin != kNone; }
  int size() const { return static_cast<int>(pieces_.size()); }

 private:
  static constexpr uint32_t kNone = 0xffffffff;
  struct Range {
    uint32_t begin = kNone, size = 0;
  };
  struct Slot {
    uint32_t hash = 0;
    int id = -1;
    Range spelling;
  };
  Range Store(std::string_view piece);
  std::string_view Text(Range r) const { return std::string_view(bytes_).substr(r.begin, r.size); }
  // Where the search for a spelling begins: slots need not be a power of two, so that a table can be as large as
  // needed.
  static size_t Home(uint32_t hash, size_t slots) { return static_cast<size_t>((uint64_t{hash} * slots) >> 32); }
  static size_t After(size_t slot, size_t slots) { return slot + 1 == slots ? 0 : slot + 1; }
  Slot& SlotOf(std::string_view piece, uint32_t hash);
  void Grow(size_t slots);

  std::string bytes_;
  std::vector<Range> pieces_;  // by id
  std::vector<Slot> table_ = std::vector<Slot>(2);
  size_t used_ = 0;
};

// What a model needs while it encodes: one for each call of Encode, reused from word to word.
struct SubwordScratch {
  std::vector<Symbol> symbols;
  Merger merger;
  std::string text;
  struct Best {
    double score = 0;
    int id = -1;
    uint32_t from = 0;
  };
  std::vector<Best> best;
  std::vector<std::pair<uint32_t, int>> path;
  std::vector<int>* widths = nullptr;  // wanted: how many bytes of the word each id stands for
};

// Cuts one pre-token into ids. Immutable after it is made.
class SubwordModel {
 public:
  virtual ~SubwordModel() = default;
  virtual void Encode(std::string_view word, SubwordScratch& scratch, std::vector<int>& out) const = 0;
  // Whether words are raw bytes, to be read as BytesToChars of them.
  virtual bool reads_bytes() const { return false; }
  // Whether no piece reaches across a place where U+2581 follows another character, so that words may be parted there.
  virtual bool parts_at_marks() const { return false; }

 protected:
  static void Push(int id, size_t width, SubwordScratch& scratch, std::vector<int>& out) {
    out.push_back(id);
    if (scratch.widths != nullptr) scratch.widths->push_back(static_cast<int>(width));
  }
};

// The 256 printable characters that byte-level vocabularies use for bytes (OpenAI, GPT-2 encoder).
char32_t ByteToChar(uint8_t byte);
int CharToByte(char32_t c);  // -1: not one of them
std::string BytesToChars(std::string_view bytes);
// The bytes that `chars` stands for; none when one of its characters stands for no byte.
std::optional<std::string> CharsToBytes(std::string_view chars);

// SentencePiece writes U+2581 for a space.
inline constexpr std::string_view kSpaceMark = "\xe2\x96\x81";

}  // namespace unimax
