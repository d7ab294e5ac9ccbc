// SPDX-License-Identifier: Apache-2.0
// Row A01: any bytes as a safetensors file; the same bytes as an index of shards and as a config.json.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "models/config.h"
#include "weights/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto file = unimax::SafetensorsFile::Parse(bytes, "fuzz");
  UM_CHECK(file.ok() || file.status().kind() == unimax::ErrorKind::kBadModel);
  if (file.ok()) {
    UM_CHECK(unimax::SafetensorsFile::LooksRight(bytes));
    size_t total = 0;
    unsigned sum = 0;
    for (const unimax::TensorView& tensor : file->tensors()) {
      UM_CHECK(tensor.bytes.size() == unimax::RowBytes(tensor.type, tensor.elements()));
      total += tensor.bytes.size();
      for (const std::byte b : tensor.bytes) sum += static_cast<unsigned>(b);
    }
    UM_CHECK(total + file->data_begin() == size || !file->skipped().empty());
    static_cast<void>(sum);
  }
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static_cast<void>(unimax::ParseSafetensorsIndex(text, "fuzz").ok());
  if (const auto config = unimax::ReadJsonConfig(text, text, "fuzz"); config.ok())
    UM_CHECK(config->heads % config->kv_heads == 0 && config->head_dim % 2 == 0 && config->vocab > 0);
  return 0;
}
