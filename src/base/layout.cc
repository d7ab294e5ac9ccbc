// SPDX-License-Identifier: Apache-2.0
#include "base/layout.h"

#include "base/status.h"

namespace unimax {
namespace {

template <class Block, class Fn>
void ForBlocks(const void* row, uint64_t elements, float* out, Fn&& expand) {
  const auto* bytes = static_cast<const unsigned char*>(row);
  for (uint64_t i = 0; i < elements / 32; ++i, bytes += sizeof(Block)) {
    Block block;  // copied: blocks of 18 or 22 bytes are not aligned in a file
    std::memcpy(&block, bytes, sizeof(block));
    expand(block, out + i * 32);
  }
}

// Tensors of a safetensors file may begin at any byte.
inline uint16_t Half(const void* row, uint64_t i) {
  uint16_t bits;
  std::memcpy(&bits, static_cast<const unsigned char*>(row) + i * 2, 2);
  return bits;
}

inline int Bit4(const uint8_t* high, int i) { return ((high[i / 8] >> (i % 8)) & 1) << 4; }
inline int Nibble(const uint8_t* q, int i) { return i < 16 ? q[i] & 15 : q[i - 16] >> 4; }

}  // namespace

void Dequantize(DType type, const void* row, uint64_t elements, float* out) {
  switch (type) {
    case DType::kF32:
      std::memcpy(out, row, elements * 4);
      return;
    case DType::kF16:
      for (uint64_t i = 0; i < elements; ++i) out[i] = F16ToFloat(Half(row, i));
      return;
    case DType::kBF16:
      for (uint64_t i = 0; i < elements; ++i) out[i] = BF16ToFloat(Half(row, i));
      return;
    case DType::kQ4_0:
      return ForBlocks<BlockQ4_0>(row, elements, out, [](const BlockQ4_0& b, float* y) {
        for (int i = 0; i < 32; ++i) y[i] = F16ToFloat(b.d) * static_cast<float>(Nibble(b.q, i) - 8);
      });
    case DType::kQ4_1:
      return ForBlocks<BlockQ4_1>(row, elements, out, [](const BlockQ4_1& b, float* y) {
        for (int i = 0; i < 32; ++i) y[i] = F16ToFloat(b.d) * static_cast<float>(Nibble(b.q, i)) + F16ToFloat(b.m);
      });
    case DType::kQ5_0:
      return ForBlocks<BlockQ5_0>(row, elements, out, [](const BlockQ5_0& b, float* y) {
        for (int i = 0; i < 32; ++i)
          y[i] = F16ToFloat(b.d) * static_cast<float>((Nibble(b.q, i) | Bit4(b.high, i)) - 16);
      });
    case DType::kQ5_1:
      return ForBlocks<BlockQ5_1>(row, elements, out, [](const BlockQ5_1& b, float* y) {
        for (int i = 0; i < 32; ++i)
          y[i] = F16ToFloat(b.d) * static_cast<float>(Nibble(b.q, i) | Bit4(b.high, i)) + F16ToFloat(b.m);
      });
    case DType::kQ8_0:
      return ForBlocks<BlockQ8_0>(row, elements, out, [](const BlockQ8_0& b, float* y) {
        for (int i = 0; i < 32; ++i) y[i] = F16ToFloat(b.d) * static_cast<float>(b.q[i]);
      });
    case DType::kI32:
    case DType::kCount:
      break;
  }
  UM_CHECK(false && "type has no float values");
}

}  // namespace unimax
