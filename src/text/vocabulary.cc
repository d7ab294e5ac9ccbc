// SPDX-License-Identifier: Apache-2.0
#include "text/vocabulary.h"

#include <array>

#include "text/utf8.h"

namespace unimax {
namespace {

struct ByteTable {
  std::array<char32_t, 256> chars{};
  std::array<int16_t, 0x144> bytes{};
};

// Printable Latin-1 stands for itself; the other 68 bytes take the characters from U+0100 on, in order.
constexpr ByteTable MakeByteTable() {
  ByteTable t;
  for (auto& b : t.bytes) b = -1;
  char32_t next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const bool plain = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    t.chars[static_cast<size_t>(b)] = plain ? static_cast<char32_t>(b) : next++;
    t.bytes[t.chars[static_cast<size_t>(b)]] = static_cast<int16_t>(b);
  }
  return t;
}
constexpr ByteTable kByteTable = MakeByteTable();

}  // namespace

char32_t ByteToChar(uint8_t byte) { return kByteTable.chars[byte]; }
int CharToByte(char32_t c) { return c < kByteTable.bytes.size() ? kByteTable.bytes[c] : -1; }

std::string BytesToChars(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 4);
  for (char b : bytes) utf8::Append(out, ByteToChar(static_cast<uint8_t>(b)));
  return out;
}

void Vocabulary::Add(std::string piece, int id, bool overwrite) {
  const auto at = static_cast<size_t>(id);
  if (at >= pieces_.size()) {
    pieces_.resize(at + 1);
    known_.resize(at + 1);
  }
  const auto [it, fresh] = ids_.try_emplace(piece, id);
  if (!fresh && overwrite) it->second = id;
  pieces_[at] = std::move(piece);
  known_[at] = true;
}

int Vocabulary::Find(std::string_view piece) const {
  const auto it = ids_.find(piece);
  return it == ids_.end() ? -1 : it->second;
}

const std::string& Vocabulary::Piece(int id) const {
  static const std::string none;
  return id >= 0 && id < size() ? pieces_[static_cast<size_t>(id)] : none;
}

}  // namespace unimax
