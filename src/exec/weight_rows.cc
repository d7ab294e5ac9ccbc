// SPDX-License-Identifier: Apache-2.0
#include "exec/weight_rows.h"

namespace unimax {

Result<std::vector<SourceTensor>> FindParts(const WeightSource& source, const Weight& weight) {
  std::vector<SourceTensor> parts;
  for (const Weight::Part& part : weight.parts) {
    const int rows = weight.matrix ? part.rows : 1;
    const int cols = weight.matrix ? weight.cols : part.rows;
    UM_ASSIGN_OR_RETURN(const SourceTensor tensor, source.Find(part.tensor, rows, cols));
    if (cols % Info(tensor.type).block_elements != 0) {
      return BadModel("tensor {}: rows of {} elements are no whole blocks of {}", part.tensor, cols,
                      Info(tensor.type).name);
    }
    parts.push_back(tensor);
  }
  return parts;
}

Result<std::vector<float>> ReadVector(const WeightSource& source, const Weight& weight) {
  UM_ASSIGN_OR_RETURN(const std::vector<SourceTensor> parts, FindParts(source, weight));
  std::vector<float> values;
  for (const SourceTensor& part : parts) {
    const size_t at = values.size();
    const size_t count = static_cast<size_t>(part.rows) * static_cast<size_t>(part.cols);
    values.resize(at + count, 1.0f);
    if (part.data != nullptr) Dequantize(part.type, part.data, count, values.data() + at);
    source.Done(part);
  }
  return values;
}

}  // namespace unimax
