// SPDX-License-Identifier: Apache-2.0
// Many short texts, each with a number, kept in the order in which they came: what a file holds until all of it is read
// and the final tables can be made as large as they must be. A text costs its bytes and a few for its numbers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace unimax {

class PieceLog {
 public:
  void Add(std::string_view text, uint64_t number) {
    const size_t need = text.size() + 2 * kMaxVarint;
    if (chunks_.empty() || chunks_.back().capacity() - chunks_.back().size() < need) {
      chunks_.emplace_back().reserve(std::max(kChunkBytes, need));
    }
    std::string& to = chunks_.back();
    PutVarint(text.size(), to);
    to += text;
    PutVarint(number, to);
    ++size_;
    bytes_ += text.size();
    largest_ = std::max(largest_, number);
  }
  size_t size() const { return size_; }
  size_t bytes() const { return bytes_; }        // of all texts
  uint64_t largest() const { return largest_; }  // number; 0 of an empty log

  // Reads from front to back; the log must not change meanwhile.
  class Reader {
   public:
    explicit Reader(const PieceLog& log) : log_(log) {}
    bool Next(std::string_view* text, uint64_t* number) {  // false: there are no more
      if (chunk_ < log_.chunks_.size() && at_ == log_.chunks_[chunk_].size()) ++chunk_, at_ = 0;
      if (chunk_ == log_.chunks_.size()) return false;
      const std::string& from = log_.chunks_[chunk_];
      const auto size = static_cast<size_t>(Varint(from));
      *text = std::string_view(from).substr(at_, size);
      at_ += size;
      *number = Varint(from);
      return true;
    }

   private:
    uint64_t Varint(const std::string& from) {
      uint64_t n = 0;
      for (int shift = 0;; shift += 7) {
        const auto byte = static_cast<uint8_t>(from[at_++]);
        n |= uint64_t{byte & 0x7fu} << shift;
        if (byte < 0x80) return n;
      }
    }
    const PieceLog& log_;
    size_t chunk_ = 0, at_ = 0;
  };

 private:
  static constexpr size_t kChunkBytes = 1 << 16, kMaxVarint = 10;
  static void PutVarint(uint64_t n, std::string& to) {
    for (; n >= 0x80; n >>= 7) to += static_cast<char>(n | 0x80u);
    to += static_cast<char>(n);
  }
  std::vector<std::string> chunks_;  // no text lies in two
  size_t size_ = 0, bytes_ = 0;
  uint64_t largest_ = 0;
};

}  // namespace unimax
