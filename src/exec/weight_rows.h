// SPDX-License-Identifier: Apache-2.0
// Reading a program's weight, part by part, as floats.
#pragma once

#include <vector>

#include "base/status.h"
#include "program/program.h"
#include "weights/weight_source.h"

namespace unimax {

// The rows of a weight's parts, each checked against the part's shape. Rows are reached by SourceTensor::Row alone: a
// part may be some rows of its tensor. What the source holds transposed is a copy here.
Result<std::vector<SourceTensor>> FindParts(const WeightSource& source, const Weight& weight);

// Rows [first, first + count) of a tensor that is not random, as floats: [count, cols].
void ReadRows(const SourceTensor& tensor, int first, int count, float* out);

// A vector, or a matrix of any parts, as floats: [rows * cols]. For small weights; a random source gives values near 1
// for vectors (norm weights).
Result<std::vector<float>> ReadVector(const WeightSource& source, const Weight& weight);

}  // namespace unimax
