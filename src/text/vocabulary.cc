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

std::optional<std::string> CharsToBytes(std::string_view chars) {
  std::string out;
  out.reserve(chars.size());
  for (size_t i = 0; i < chars.size();) {
    const utf8::Char c = utf8::At(chars, i);
    const int byte = CharToByte(c.code);
    if (byte < 0) return std::nullopt;
    out += static_cast<char>(byte);
    i += static_cast<size_t>(c.length);
  }
  return out;
}

Vocabulary::Range Vocabulary::Store(std::string_view piece) {
  const Range range{static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(piece.size())};
  bytes_ += piece;
  return range;
}

// The slot of `piece`, or the free one where it belongs.
Vocabulary::Slot& Vocabulary::SlotOf(std::string_view piece, uint32_t hash) {
  size_t at = Home(hash, table_.size());
  while (table_[at].id >= 0 && (table_[at].hash != hash || Text(table_[at].spelling) != piece)) {
    at = After(at, table_.size());
  }
  return table_[at];
}

void Vocabulary::Grow(size_t slots) {
  std::vector<Slot> old(slots);
  old.swap(table_);
  for (const Slot& s : old) {
    if (s.id < 0) continue;
    size_t at = Home(s.hash, slots);
    while (table_[at].id >= 0) at = After(at, slots);
    table_[at] = s;
  }
}

void Vocabulary::Reserve(size_t pieces, size_t ids, size_t bytes) {
  pieces_.reserve(ids);
  bytes_.reserve(bytes);
  const size_t slots = pieces + pieces / 2 + 2;  // two of three are used
  if (slots > table_.size()) Grow(slots);
}

int Vocabulary::Add(std::string_view piece, int id, bool overwrite) {
  const auto at = static_cast<size_t>(id);
  if (at >= pieces_.size()) pieces_.resize(at + 1);
  if ((used_ + 1) * 3 > table_.size() * 2) Grow(table_.size() * 2);
  const auto hash = static_cast<uint32_t>(HashBytes(piece));
  Slot& slot = SlotOf(piece, hash);
  const int before = slot.id;
  if (before < 0) {
    ++used_;
    slot = {hash, id, Store(piece)};
  } else if (overwrite) {
    slot.id = id;
  }
  pieces_[at] = slot.spelling;
  return before;
}

int Vocabulary::Find(std::string_view piece) const {
  const auto hash = static_cast<uint32_t>(HashBytes(piece));
  for (size_t at = Home(hash, table_.size());; at = After(at, table_.size())) {
    const Slot& slot = table_[at];
    if (slot.id < 0 || (slot.hash == hash && Text(slot.spelling) == piece)) return slot.id;
  }
}

std::string_view Vocabulary::Piece(int id) const { return Has(id) ? Text(pieces_[static_cast<size_t>(id)]) : ""; }

}  // namespace unimax
