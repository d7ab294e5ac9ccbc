// SPDX-License-Identifier: Apache-2.0
// The pieces of a model by id and by spelling, and the interface of the models that cut text into them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"

namespace unimax {

// Largest id accepted from a file: far above every published vocabulary, small enough for tables indexed by id.
inline constexpr int kMaxTokenId = 16'000'000;

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
};
template <class T>
using StringMap = std::unordered_map<std::string, T, StringHash, std::equal_to<>>;

class Vocabulary {
 public:
  // A piece that is already there keeps its first id for Find (`overwrite`: takes the new one).
  void Add(std::string piece, int id, bool overwrite = false);
  // Changes what Piece gives for an id that is there; Find still knows the old spelling.
  void Respell(int id, std::string piece) { pieces_[static_cast<size_t>(id)] = std::move(piece); }
  int Find(std::string_view piece) const;  // -1: not there
  const std::string& Piece(int id) const;  // "" when there is none
  bool Has(int id) const { return id >= 0 && id < size() && known_[static_cast<size_t>(id)]; }
  int size() const { return static_cast<int>(pieces_.size()); }

 private:
  StringMap<int> ids_;
  std::vector<std::string> pieces_;
  std::vector<bool> known_;
};

// Cuts one pre-token into ids. Immutable after it is made.
class SubwordModel {
 public:
  virtual ~SubwordModel() = default;
  virtual void Encode(std::string_view word, std::vector<int>& out) const = 0;
};

// The 256 printable characters that byte-level vocabularies use for bytes (OpenAI, GPT-2 encoder).
char32_t ByteToChar(uint8_t byte);
int CharToByte(char32_t c);  // -1: not one of them
std::string BytesToChars(std::string_view bytes);

}  // namespace unimax
