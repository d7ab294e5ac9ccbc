// SPDX-License-Identifier: Apache-2.0
// Reader of GGUF files, versions 2 and 3, little-endian (ggml-org/ggml docs/gguf.md). Works on bytes in memory, copies
// nothing but small tables, and trusts nothing: sizes are checked in 64 bits against the bytes that are left before
// use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/vocab.h"
#include "weights/tensor_view.h"

namespace unimax {

inline constexpr uint64_t kMaxGgufKeyBytes = 64 << 10;
inline constexpr uint64_t kMaxGgufStringBytes = 16 << 20;
inline constexpr uint64_t kMaxGgufArrayItems = 16 << 20;
inline constexpr uint64_t kMaxTensorNameBytes = 256;
inline constexpr uint64_t kMaxTensors = 100000;

// Types of metadata values, numbered as in the file.
enum class GgufType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12
};

// One key and where its value lies. Arrays stay in the file's own form: a million strings cost nothing until read.
struct GgufValue {
  std::string_view key;
  GgufType type = GgufType::kU8;  // of the value, or of the items when it is an array
  bool is_array = false;
  uint64_t count = 1;                // items of the array
  std::span<const std::byte> bytes;  // scalars and items packed; strings each behind its 8-byte length
};

// Typed access by key. The getters fail with kBadModel, naming the key, when it is absent or holds another type.
class GgufMetadata {
 public:
  GgufMetadata() = default;

  const std::string& file() const { return file_; }              // for error texts
  std::span<const GgufValue> values() const { return values_; }  // in file order
  const GgufValue* Find(std::string_view key) const;             // nullptr: absent
  bool Has(std::string_view key) const { return Find(key) != nullptr; }

  Result<int64_t> Integer(std::string_view key) const;  // any integer type; a value above 2^63 - 1 is an error
  Result<double> Number(std::string_view key) const;    // any integer or float type
  Result<bool> Bool(std::string_view key) const;
  Result<std::string_view> String(std::string_view key) const;
  Result<std::vector<std::string_view>> Strings(std::string_view key) const;
  Result<std::vector<float>> Floats(std::string_view key) const;      // array of F32
  Result<std::vector<int32_t>> Integers(std::string_view key) const;  // array of I32 or U32 below 2^31

 private:
  friend class GgufParser;
  Result<const GgufValue*> Get(std::string_view key, bool is_array, std::string_view wanted) const;

  std::string file_;
  std::vector<GgufValue> values_;
  std::vector<uint32_t> by_key_;  // indices of values_, sorted by key
};

// A parsed file: views into `bytes`, which must outlive it.
class GgufFile {
 public:
  // `name` stands in error texts: "<name>: offset 24: key count: ...". Errors: kBadModel.
  static Result<GgufFile> Parse(std::span<const std::byte> bytes, const std::string& name);
  // Whether the bytes begin as GGUF does.
  static bool HasMagic(std::span<const std::byte> bytes);

  const GgufMetadata& metadata() const { return metadata_; }
  std::span<const TensorView> tensors() const { return tensors_; }  // in file order
  const TensorView* Find(std::string_view name) const;              // nullptr: absent
  const std::string& name() const { return name_; }                 // as given to Parse
  uint64_t alignment() const { return alignment_; }
  uint64_t data_begin() const { return data_begin_; }  // file offset of the tensor data

 private:
  friend class GgufParser;
  std::string name_;
  GgufMetadata metadata_;
  std::vector<TensorView> tensors_;
  std::vector<uint32_t> by_name_;  // indices of tensors_, sorted by name
  uint64_t alignment_ = 32;
  uint64_t data_begin_ = 0;
};

// The name of a tensor type by its number in a file: "Q2_K"; "" when unknown.
std::string_view GgufTensorTypeName(uint32_t type);

// The keys `tokenizer.*`. Errors: kBadModel naming the key (missing, wrong type, lengths or ids that do not fit).
Result<VocabData> ReadGgufVocab(const GgufMetadata& metadata);

}  // namespace unimax
