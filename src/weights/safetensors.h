// SPDX-License-Identifier: Apache-2.0
// Reader of safetensors files (huggingface/safetensors, README "Format"): 8 bytes header length, a JSON header, data.
// Accepts and refuses as that package does: the tensors tile the data without hole, overlap or rest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "weights/tensor_view.h"

namespace unimax {

inline constexpr uint64_t kMaxSafetensorsHeader = 100000000;

// A tensor whose type is known to the format but not to this engine.
struct SkippedTensor {
  std::string_view name;
  std::string_view type;  // "F64"
};

// A parsed file: tensors are views into `bytes`, which must outlive it. Names live in the object and survive moving.
class SafetensorsFile {
 public:
  SafetensorsFile() = default;
  SafetensorsFile(SafetensorsFile&&) = default;  // not copied: the views would point into the original
  SafetensorsFile& operator=(SafetensorsFile&&) = default;

  // `name` stands in error texts. Errors: kBadModel with file, offset or tensor, and field.
  static Result<SafetensorsFile> Parse(std::span<const std::byte> bytes, const std::string& name);
  // Whether the bytes begin as a safetensors file does: a plausible header length, then '{'.
  static bool LooksRight(std::span<const std::byte> bytes);

  std::span<const TensorView> tensors() const { return tensors_; }  // in the order of the header
  std::span<const SkippedTensor> skipped() const { return skipped_; }
  uint64_t data_begin() const { return data_begin_; }  // file offset of the tensor data

 private:
  friend class SafetensorsParser;
  std::deque<std::string> names_;  // a deque keeps its elements in place
  std::vector<TensorView> tensors_;
  std::vector<SkippedTensor> skipped_;
  uint64_t data_begin_ = 0;
};

// What model.safetensors.index.json says: (tensor name, shard file name) in file order.
using SafetensorsIndex = std::vector<std::pair<std::string, std::string>>;
// Errors: kBadModel for wrong JSON, duplicates, and shard names that are not plain names of files in the same folder.
Result<SafetensorsIndex> ParseSafetensorsIndex(std::string_view text, const std::string& name);

}  // namespace unimax
