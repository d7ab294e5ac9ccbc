// SPDX-License-Identifier: Apache-2.0
#include "exec/weight_rows.h"

#include <cstring>

namespace unimax {
namespace {

// [rows, cols] -> [cols, rows], elements of a whole number of bytes.
Result<SourceTensor> Transposed(const SourceTensor& from, const std::string& name) {
  if (from.data == nullptr) return SourceTensor{from.type, nullptr, from.cols, from.rows};
  if (Info(from.type).block_elements != 1) {
    return BadModel("tensor {} is stored as [inputs, outputs] in blocks of {}: not supported", name,
                    Info(from.type).name);
  }
  const auto rows = static_cast<size_t>(from.rows), cols = static_cast<size_t>(from.cols);
  const auto bytes = static_cast<size_t>(Info(from.type).block_bytes);
  auto data = std::make_unique<std::byte[]>(rows * cols * bytes);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < cols; ++c) {
      std::memcpy(data.get() + (c * rows + r) * bytes, from.data + (r * cols + c) * bytes, bytes);
    }
  }
  const std::byte* begin = data.get();
  return SourceTensor{from.type, begin, from.cols, from.rows, 0, 0, std::move(data)};
}

// Which of the tensor's rows `part` means.
void Slice(const Weight::Part& part, SourceTensor* tensor) {
  if (tensor->data != nullptr) tensor->data = tensor->Row(part.first);
  tensor->rows = part.rows;
  tensor->block = part.block;
  tensor->stride = part.stride;
}

Result<SourceTensor> FindMatrix(const WeightSource& source, const Weight::Part& part, int cols) {
  const int tensor_rows = part.tensor_rows > 0 ? part.tensor_rows : part.rows;
  if (!part.transposed) {
    UM_ASSIGN_OR_RETURN(SourceTensor tensor, source.Find(part.tensor, tensor_rows, cols));
    if (part.tensor_rows > 0) Slice(part, &tensor);
    return tensor;
  }
  UM_ASSIGN_OR_RETURN(const SourceTensor columns, source.Find(part.tensor, cols, tensor_rows));
  UM_ASSIGN_OR_RETURN(SourceTensor tensor, Transposed(columns, part.tensor));
  source.Done(columns);
  if (part.tensor_rows > 0) Slice(part, &tensor);
  return tensor;
}

// Elements of a vector that do not follow each other are copied.
Result<SourceTensor> FindVector(const WeightSource& source, const Weight::Part& part) {
  if (part.tensor_rows == 0) return source.Find(part.tensor, 1, part.rows);
  UM_ASSIGN_OR_RETURN(const SourceTensor whole, source.Find(part.tensor, 1, part.tensor_rows));
  if (whole.data == nullptr) return SourceTensor{whole.type, nullptr, 1, part.rows};
  std::vector<float> values(static_cast<size_t>(part.tensor_rows));
  Dequantize(whole.type, whole.data, values.size(), values.data());
  auto data = std::make_unique<std::byte[]>(static_cast<size_t>(part.rows) * sizeof(float));
  for (int i = 0; i < part.rows; ++i) {
    const int at = part.first + (part.block > 0 ? i / part.block * part.stride + i % part.block : i);
    std::memcpy(data.get() + static_cast<size_t>(i) * sizeof(float), &values[static_cast<size_t>(at)], sizeof(float));
  }
  const std::byte* begin = data.get();
  return SourceTensor{DType::kF32, begin, 1, part.rows, 0, 0, std::move(data)};
}

}  // namespace

Result<std::vector<SourceTensor>> FindParts(const WeightSource& source, const Weight& weight) {
  std::vector<SourceTensor> parts;
  for (const Weight::Part& part : weight.parts) {
    UM_ASSIGN_OR_RETURN(SourceTensor tensor,
                        weight.matrix ? FindMatrix(source, part, weight.cols) : FindVector(source, part));
    if (tensor.cols % Info(tensor.type).block_elements != 0) {
      return BadModel("tensor {}: rows of {} elements are no whole blocks of {}", part.tensor, tensor.cols,
                      Info(tensor.type).name);
    }
    parts.push_back(std::move(tensor));
  }
  return parts;
}

void ReadRows(const SourceTensor& tensor, int first, int count, float* out) {
  const auto cols = static_cast<uint64_t>(tensor.cols);
  if (tensor.InOrder()) return Dequantize(tensor.type, tensor.Row(first), cols * static_cast<uint64_t>(count), out);
  for (int r = 0; r < count; ++r) {
    Dequantize(tensor.type, tensor.Row(first + r), cols, out + cols * static_cast<uint64_t>(r));
  }
}

Result<std::vector<float>> ReadVector(const WeightSource& source, const Weight& weight) {
  UM_ASSIGN_OR_RETURN(const std::vector<SourceTensor> parts, FindParts(source, weight));
  std::vector<float> values;
  for (const SourceTensor& part : parts) {
    const size_t at = values.size();
    const size_t count = static_cast<size_t>(part.rows) * static_cast<size_t>(part.cols);
    values.resize(at + count, 1.0f);
    if (part.data != nullptr) ReadRows(part, 0, part.rows, values.data() + at);
    source.Done(part);
  }
  return values;
}

}  // namespace unimax
