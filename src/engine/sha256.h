// SPDX-License-Identifier: Apache-2.0
// SHA-256 in parts. The one place of the engine that knows the library.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace unimax {

using Sha256Digest = std::array<uint8_t, 32>;

class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  ~Sha256();
  // None of these allocates.
  Sha256& Add(std::span<const std::byte> bytes);
  // Text with its length in front, so that no two lists of texts give the same bytes.
  Sha256& AddText(std::string_view text);
  Sha256& AddNumber(uint64_t value);  // 8 bytes, little-endian
  // Of all that was added since the last End, or since it was made.
  Sha256Digest End();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace unimax
