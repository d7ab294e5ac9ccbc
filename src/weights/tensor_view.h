// SPDX-License-Identifier: Apache-2.0
// A tensor as it lies in a model file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/layout.h"

namespace unimax {

struct TensorView {
  std::string_view name;        // as the file spells it; lives as long as the file's owner
  DType type = DType::kF32;     // I32 occurs, for indices
  std::vector<uint64_t> shape;  // outermost first, [rows, cols]; the last dimension is a multiple of the type's block
  // Exactly the product of `shape` as `type`, little-endian, inside the file. A safetensors file may put it at any
  // address: read elements with memcpy or byte-wise loads, never through a cast pointer. In GGUF it is 8-byte aligned.
  std::span<const std::byte> bytes;

  uint64_t elements() const {
    uint64_t n = 1;
    for (const uint64_t d : shape) n *= d;  // cannot wrap: the readers checked it
    return n;
  }
};

}  // namespace unimax
