// SPDX-License-Identifier: Apache-2.0
// Reading a program's weight, part by part, as floats.
#pragma once

#include <vector>

#include "base/status.h"
#include "program/program.h"
#include "weights/weight_source.h"

namespace unimax {

// The source tensors of a weight's parts, each checked against the part's shape.
Result<std::vector<SourceTensor>> FindParts(const WeightSource& source, const Weight& weight);

// A vector, or a matrix of one part, as floats: [rows * cols]. For small weights; a random source gives values near 1
// for vectors (norm weights).
Result<std::vector<float>> ReadVector(const WeightSource& source, const Weight& weight);

}  // namespace unimax
