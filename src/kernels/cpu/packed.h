// SPDX-License-Identifier: Apache-2.0
// Packed weights: integer rows of a file, reordered without loss so that one vector load brings 4 columns of each row
// of a group. A group has `rows` rows (8 or 16 by instruction set); its blocks of 32 columns follow each other:
//   4-bit  4 vectors [rows][4 bytes]; in vector i, row r has the nibbles of columns 4i .. 4i + 3 low, 16 more high
//   8-bit  8 vectors [rows][4 bytes]; in vector i, row r has columns 4i .. 4i + 3
//   f16 d[rows], then f16 m[rows] where the form has a minimum
// Rows past the end of the last group are zero.
#pragma once

#include <cstdint>

#include "base/layout.h"
#include "kernels/cpu/cpu_kernels.h"

namespace unimax {

inline constexpr bool HasMinimum(WeightForm form) { return form == WeightForm::kI4Min || form == WeightForm::kI8Min; }
inline constexpr int PackedBlockBytes(WeightForm form, int rows) {
  return rows * ((form == WeightForm::kI4 || form == WeightForm::kI4Min ? 16 : 32) + (HasMinimum(form) ? 4 : 2));
}
inline constexpr uint64_t PackedGroupBytes(WeightForm form, int rows, int k) {
  return static_cast<uint64_t>(k / 32) * static_cast<uint64_t>(PackedBlockBytes(form, rows));
}

// The form in which rows of `type` are kept: integer types packed, plain ones as they are.
WeightForm FormOf(DType type);
// Bytes of an [n, k] matrix in this form, for groups of `group_rows` rows.
uint64_t FormBytes(WeightForm form, int n, int k, int group_rows);

// Packs one group: source[r] is row r as `type` in the file, null for a row past the end.
void PackGroup(DType type, const std::byte* const* source, int k, const CpuKernels& kernels, std::byte* out);

}  // namespace unimax
