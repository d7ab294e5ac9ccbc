// SPDX-License-Identifier: Apache-2.0
// Row A01: any bytes as a GGUF file: parse, read every key, touch every tensor, read vocabulary and configuration.
#include <cstddef>
#include <cstdint>
#include <span>

#include "models/config.h"
#include "weights/gguf.h"

namespace unimax {
namespace {

void ReadEverything(const GgufFile& file) {
  const GgufMetadata& metadata = file.metadata();
  for (const GgufValue& value : metadata.values()) {
    UM_CHECK(metadata.Find(value.key) == &value);
    if (value.is_array) {
      if (const auto strings = metadata.Strings(value.key); strings.ok()) UM_CHECK(strings->size() == value.count);
      if (const auto floats = metadata.Floats(value.key); floats.ok()) UM_CHECK(floats->size() == value.count);
      if (const auto integers = metadata.Integers(value.key); integers.ok()) UM_CHECK(integers->size() == value.count);
    } else {
      const bool read = metadata.Integer(value.key).ok() || metadata.Number(value.key).ok() ||
                        metadata.Bool(value.key).ok() || metadata.String(value.key).ok();
      UM_CHECK(read || value.type == GgufType::kU64);
    }
  }
  unsigned sum = 0;
  for (const TensorView& tensor : file.tensors()) {
    UM_CHECK(file.Find(tensor.name) == &tensor);
    UM_CHECK(tensor.bytes.size() == RowBytes(tensor.type, tensor.elements()));
    for (const std::byte b : tensor.bytes) sum += static_cast<unsigned>(b);
  }
  static_cast<void>(sum);
}

}  // namespace
}  // namespace unimax

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = unimax::GgufFile::Parse(std::as_bytes(std::span(data, size)), "fuzz");
  if (!file.ok()) {
    UM_CHECK(file.status().kind() == unimax::ErrorKind::kBadModel && !file.status().text().empty());
    return 0;
  }
  unimax::ReadEverything(*file);
  static_cast<void>(unimax::ReadGgufVocab(file->metadata()).ok());
  if (const auto config = unimax::ReadGgufConfig(*file); config.ok())
    UM_CHECK(config->heads % config->kv_heads == 0 && config->head_dim % 2 == 0 && config->vocab > 0);
  return 0;
}
