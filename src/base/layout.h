// SPDX-License-Identifier: Apache-2.0
// Element types and block layouts, shared by readers, packers and kernels.
// Block layouts follow the GGUF specification (ggml-org/ggml docs/gguf.md); values within a block are little-endian.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace unimax {

// How a tensor's elements are stored. Integer types hold blocks of 32 elements along the last dimension.
enum class DType : uint8_t { kF32, kF16, kBF16, kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0, kI32, kCount };

struct DTypeInfo {
  std::string_view name;  // "F32", "Q4_1"
  int block_elements;     // elements in a block; 1 for plain types
  int block_bytes;        // bytes of a block
};

inline constexpr DTypeInfo kDTypes[] = {{"F32", 1, 4},    {"F16", 1, 2},    {"BF16", 1, 2},
                                        {"Q4_0", 32, 18}, {"Q4_1", 32, 20}, {"Q5_0", 32, 22},
                                        {"Q5_1", 32, 24}, {"Q8_0", 32, 34}, {"I32", 1, 4}};
static_assert(sizeof(kDTypes) / sizeof(kDTypes[0]) == static_cast<size_t>(DType::kCount));

inline constexpr const DTypeInfo& Info(DType t) { return kDTypes[static_cast<int>(t)]; }
inline constexpr bool IsInteger(DType t) { return Info(t).block_elements > 1; }
// Bytes of a row of `elements`, which must be a multiple of the type's block.
inline constexpr uint64_t RowBytes(DType t, uint64_t elements) {
  return elements / static_cast<uint64_t>(Info(t).block_elements) * static_cast<uint64_t>(Info(t).block_bytes);
}

// Blocks of 32 elements as they lie in a file; f16 scales as their bits. Nibble i is element i, its high half i + 16.
struct BlockQ4_0 {  // x = d * (q - 8)
  uint16_t d;
  uint8_t q[16];
};
struct BlockQ4_1 {  // x = d * q + m
  uint16_t d, m;
  uint8_t q[16];
};
struct BlockQ5_0 {  // x = d * (q - 16); bit i of `high` is bit 4 of element i
  uint16_t d;
  uint8_t high[4], q[16];
};
struct BlockQ5_1 {  // x = d * q + m
  uint16_t d, m;
  uint8_t high[4], q[16];
};
struct BlockQ8_0 {  // x = d * q
  uint16_t d;
  int8_t q[32];
};
static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22);
static_assert(sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34);

inline float BF16ToFloat(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// Rounds to nearest even; NaN stays NaN.
inline uint16_t FloatToBF16(float value) {
  const uint32_t u = std::bit_cast<uint32_t>(value);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40u);
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

inline float F16ToFloat(uint16_t h) {
  const uint32_t sign = (h & 0x8000u) << 16;
  const uint32_t magnitude = h & 0x7fffu;
  if (magnitude >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  if (magnitude >= 0x0400u) return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
  const float subnormal = static_cast<float>(magnitude) * 0x1p-24f;
  return sign ? -subnormal : subnormal;
}

// Rounds to nearest even; overflow gives infinity, NaN stays NaN.
inline uint16_t FloatToF16(float value) {
  const uint32_t u = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((u >> 16) & 0x8000u);
  const uint32_t a = u & 0x7fffffffu;
  if (a > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (a >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (a >= 0x38800000u) {
    const uint32_t r = a - 0x38000000u;
    return static_cast<uint16_t>(sign | ((r + 0x0fffu + ((r >> 13) & 1u)) >> 13));
  }
  // Subnormal: adding 0.5 makes the float adder round to multiples of 2^-24.
  const float shifted = std::bit_cast<float>(a) + 0.5f;
  return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
}

// OCP 8-bit floating point, E4M3: 4 bits of exponent (bias 7), 3 of mantissa, no infinity; 0x7f and 0xff are NaN.
inline constexpr float kLargestE4M3 = 448;
inline float E4M3ToFloat(uint8_t bits) {
  const uint32_t magnitude = bits & 0x7fu;
  if (magnitude == 0x7f) return std::bit_cast<float>(0x7fc00000u | static_cast<uint32_t>(bits & 0x80u) << 24);
  // As exponent and mantissa of an f32 these bits are the value times 2^-120, subnormals too.
  return std::bit_cast<float>(static_cast<uint32_t>(bits & 0x80u) << 24 | magnitude << 20) * 0x1p120f;
}
// Rounds to nearest even; beyond the largest gives the largest, NaN stays NaN.
inline uint8_t FloatToE4M3(float value) {
  const uint32_t u = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint8_t>(u >> 24 & 0x80u);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint8_t>(sign | 0x7fu);
  const float magnitude = std::bit_cast<float>(u & 0x7fffffffu);
  if (magnitude >= kLargestE4M3) return static_cast<uint8_t>(sign | 0x7eu);
  // Subnormal: adding 2^14 makes the float adder round to multiples of 2^-9.
  if (magnitude < 0x1p-6f) return static_cast<uint8_t>(sign | (std::bit_cast<uint32_t>(magnitude + 0x1p14f) & 0xffu));
  const uint32_t r = std::bit_cast<uint32_t>(magnitude) - (120u << 23);
  return static_cast<uint8_t>(sign | ((r + 0x7ffffu + (r >> 20 & 1u)) >> 20));
}

// Writes `elements` floats from a row stored as `type` (any DType but I32). `elements` is a multiple of the block.
void Dequantize(DType type, const void* row, uint64_t elements, float* out);

}  // namespace unimax
