// SPDX-License-Identifier: Apache-2.0
// Where an executor takes the rows of a program's weights from: a checkpoint's tensors, or random numbers for benches.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/layout.h"
#include "base/status.h"

namespace unimax {

// Rows of a tensor. Move-only, since it may own them.
struct SourceTensor {
  DType type = DType::kF32;
  const std::byte* data = nullptr;  // [rows, cols] of `type`; null: random (the executor makes it up)
  int rows = 0, cols = 0;
  // Where only some rows of a larger tensor are meant: runs of `block` rows, each `stride` rows after the one before.
  int block = 0, stride = 0;                    // 0: all rows follow each other
  std::unique_ptr<const std::byte[]> own = {};  // what `data` points to where the source has it in another order

  bool InOrder() const { return block == 0; }
  const std::byte* Row(int row) const {
    if (block > 0) row = row / block * stride + row % block;
    return data + static_cast<uint64_t>(row) * RowBytes(type, static_cast<uint64_t>(cols));
  }
  // The same rows; `this` must outlive it where it owns them.
  SourceTensor View() const { return {type, data, rows, cols, block, stride}; }
};

class WeightSource {
 public:
  virtual ~WeightSource() = default;
  // The tensor with this canonical (Hugging Face) name, checked to be [rows, cols]; a vector is [1, elements]. Errors:
  // kBadModel naming tensor, found and wanted shape.
  virtual Result<SourceTensor> Find(const std::string& name, int rows, int cols) const = 0;
  // The executor has its own copy now; the source may drop the pages of this tensor (none where it owns its rows).
  // Several threads may call it at once.
  virtual void Done(const SourceTensor& tensor) const = 0;
};

}  // namespace unimax
