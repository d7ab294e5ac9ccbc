// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/packed.h"

#include <algorithm>
#include <cstring>

#include "base/status.h"

namespace unimax {
namespace {

// A block of any integer type, as bytes to store and their scale and minimum.
struct Unpacked {
  uint8_t nibbles[16] = {};
  int8_t bytes[32] = {};
  uint16_t d = 0, m = 0;
};

int FiveBits(const uint8_t* high, const uint8_t* q, int i) {
  return (i < 16 ? q[i] & 15 : q[i - 16] >> 4) | (((high[i / 8] >> (i % 8)) & 1) << 4);
}

template <class Block>
Block Read(const std::byte* p) {
  Block block;
  std::memcpy(&block, p, sizeof(block));
  return block;
}

Unpacked Unpack(DType type, const std::byte* p) {
  Unpacked u;
  switch (type) {
    case DType::kQ4_0: {
      const auto b = Read<BlockQ4_0>(p);
      u.d = b.d;
      std::copy_n(b.q, 16, u.nibbles);
      break;
    }
    case DType::kQ4_1: {
      const auto b = Read<BlockQ4_1>(p);
      u.d = b.d;
      u.m = b.m;
      std::copy_n(b.q, 16, u.nibbles);
      break;
    }
    case DType::kQ5_0: {
      const auto b = Read<BlockQ5_0>(p);
      u.d = b.d;
      for (int i = 0; i < 32; ++i) u.bytes[i] = static_cast<int8_t>(FiveBits(b.high, b.q, i) - 16);
      break;
    }
    case DType::kQ5_1: {
      const auto b = Read<BlockQ5_1>(p);
      u.d = b.d;
      u.m = b.m;
      for (int i = 0; i < 32; ++i) u.bytes[i] = static_cast<int8_t>(FiveBits(b.high, b.q, i));
      break;
    }
    case DType::kQ8_0: {
      const auto b = Read<BlockQ8_0>(p);
      u.d = b.d;
      std::copy_n(b.q, 32, u.bytes);
      break;
    }
    default:
      UM_CHECK(false && "type is not packed");
  }
  return u;
}

}  // namespace

WeightForm FormOf(DType type) {
  switch (type) {
    case DType::kF16:
      return WeightForm::kF16;
    case DType::kBF16:
      return WeightForm::kBF16;
    case DType::kQ4_0:
      return WeightForm::kI4;
    case DType::kQ4_1:
      return WeightForm::kI4Min;
    case DType::kQ5_0:
    case DType::kQ8_0:
      return WeightForm::kI8;
    case DType::kQ5_1:
      return WeightForm::kI8Min;
    default:
      return WeightForm::kF32;
  }
}

uint64_t FormBytes(WeightForm form, int n, int k, int group_rows) {
  if (IsPacked(form)) {
    return static_cast<uint64_t>((n + group_rows - 1) / group_rows) * PackedGroupBytes(form, group_rows, k);
  }
  return static_cast<uint64_t>(n) * static_cast<uint64_t>(k) * (form == WeightForm::kF32 ? 4u : 2u);
}

void PackGroup(DType type, const std::byte* const* source, int k, const CpuKernels& kernels, std::byte* out) {
  const WeightForm form = FormOf(type);
  const int rows = kernels.group_rows;
  const bool four_bits = form == WeightForm::kI4 || form == WeightForm::kI4Min;
  const int vectors = four_bits ? 4 : 8;
  for (int block = 0; block < k / 32; ++block, out += PackedBlockBytes(form, rows)) {
    auto* scales = reinterpret_cast<uint16_t*>(out + vectors * rows * 4);
    for (int r = 0; r < rows; ++r) {
      Unpacked u;
      if (source[r] != nullptr) u = Unpack(type, source[r] + block * Info(type).block_bytes);
      uint8_t bytes[32];
      for (int i = 0; i < 32; ++i) {
        bytes[i] = four_bits ? u.nibbles[i % 16] : static_cast<uint8_t>(u.bytes[i] + kernels.byte_flip);
      }
      for (int i = 0; i < vectors; ++i) std::memcpy(out + (i * rows + r) * 4, bytes + i * 4, 4);
      scales[r] = u.d;
      if (HasMinimum(form)) scales[rows + r] = u.m;
    }
  }
}

}  // namespace unimax
