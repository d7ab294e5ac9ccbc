// SPDX-License-Identifier: Apache-2.0
// The rows of a matrix in the order of its device form, as bytes on their way to a device. Rows that a file holds as
// plain elements of one type go as they are; others (blocks of integers, parts of different types) are rounded here.
#pragma once

#include <cstddef>
#include <span>

#include "base/layout.h"
#include "base/team.h"
#include "program/program.h"
#include "weights/weight_source.h"

namespace unimax {

class RowWriter {
 public:
  // `parts` are those of the matrix `weight` (FindParts), none of them random; `act` is f32, bf16 or f16: what its
  // executor computes in. Both and `team` must outlive this.
  RowWriter(const Weight& weight, std::span<const SourceTensor> parts, DType act, Team& team);

  // f32, bf16 or f16: what the rows are written as. f32 only where a part or `act` is.
  DType type() const { return type_; }

  // Writes bytes [first, first + count) of rows `row`, `row` + 1, ..., which lie `pitch` bytes apart, to `to`, all
  // threads of the team together. What lies behind a row's elements becomes 0.
  void Write(int row, uint64_t pitch, uint64_t first, uint64_t count, std::byte* to) const;

 private:
  class Thread;
  const Weight& weight_;
  std::span<const SourceTensor> parts_;
  DType type_;
  Team& team_;
};

}  // namespace unimax
