// SPDX-License-Identifier: Apache-2.0
// A program's weights in device memory: vectors and tables of positions in f32, other matrices plain (f32) or in packed
// tiles (bf16, f16).
#pragma once

#include <vector>

#include "base/layout.h"
#include "base/status.h"
#include "device/device.h"
#include "exec/executor.h"
#include "program/program.h"
#include "weights/weight_source.h"

namespace unimax {

// Bytes in device memory of the weights that ops of the program use.
uint64_t DeviceWeightBytes(const Program& program, DType act);

// One buffer a weight that an op of the program uses; the others stay empty. Random sources are made on the device.
// Rows go up as the file holds them, through at most `scratch_bytes` of the device's memory (or 16 rows, if they are
// longer), and are packed there. Errors: those of the source and the device, naming the weight where memory lacks.
inline constexpr uint64_t kScratchBytes = 64 << 20;
Result<std::vector<Buffer>> UploadWeights(const Program& program, const WeightSource& source, Device& device, DType act,
                                          uint64_t scratch_bytes = kScratchBytes, const LoadingProgress& loading = {});

}  // namespace unimax
