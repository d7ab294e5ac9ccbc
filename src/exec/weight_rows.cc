// SPDX-License-Identifier: Apache-2.0
#include "exec/weight_rows.h"

#include <cstring>

namespace unimax {
namespace {

// Which row of its tensor is row `row` of `part`.
int RowOf(const Weight::Part& part, int row) {
  return part.first + (part.block > 0 ? row / part.block * part.stride + row % part.block : row);
}

// Columns of `from` as rows: those that `part` means.
Result<SourceTensor> Transposed(const SourceTensor& from, const Weight::Part& part) {
  if (from.data == nullptr) return SourceTensor{from.type, nullptr, part.rows, from.rows};
  if (Info(from.type).block_elements != 1) {
    return BadModel("tensor {} is stored as [inputs, outputs] in blocks of {}: not supported", part.tensor,
                    Info(from.type).name);
  }
  const auto rows = static_cast<size_t>(part.rows), cols = static_cast<size_t>(from.rows);
  const auto bytes = static_cast<size_t>(Info(from.type).block_bytes);
  auto data = std::make_unique<std::byte[]>(rows * cols * bytes);
  for (size_t c = 0; c < cols; ++c) {
    const std::byte* row = from.Row(static_cast<int>(c));
    for (size_t r = 0; r < rows; ++r) {
      const auto at = static_cast<size_t>(RowOf(part, static_cast<int>(r)));
      std::memcpy(data.get() + (r * cols + c) * bytes, row + at * bytes, bytes);
    }
  }
  const std::byte* begin = data.get();
  return SourceTensor{from.type, begin, part.rows, from.rows, 0, 0, std::move(data)};
}

Result<SourceTensor> FindMatrix(const WeightSource& source, const Weight::Part& part, int cols) {
  const int tensor_rows = part.tensor_rows > 0 ? part.tensor_rows : part.rows;
  if (part.transposed) {
    UM_ASSIGN_OR_RETURN(const SourceTensor columns, source.Find(part.tensor, cols, tensor_rows));
    Result<SourceTensor> rows = Transposed(columns, part);
    source.Done(columns);
    return rows;
  }
  UM_ASSIGN_OR_RETURN(SourceTensor tensor, source.Find(part.tensor, tensor_rows, cols));
  if (part.tensor_rows == 0) return tensor;
  if (tensor.data != nullptr) tensor.data = tensor.Row(part.first);
  tensor.rows = part.rows;
  tensor.block = part.block;
  tensor.stride = part.stride;
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
    const float value = values[static_cast<size_t>(RowOf(part, i))];
    std::memcpy(data.get() + static_cast<size_t>(i) * sizeof(float), &value, sizeof(float));
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
