// SPDX-License-Identifier: Apache-2.0
// Packs a matrix into a form of fewer bits (base/chunk_form.h).
#pragma once

#include <cstddef>
#include <vector>

#include "base/chunk_form.h"

namespace unimax {

struct PackedForm {
  std::vector<std::byte> bytes;  // chunks
  std::vector<float> scales;     // of kE4M3 and kI8: [N]
  std::vector<double> values;    // [N, K]: what the bytes stand for
};

// w: [N, K], finite. kQ4 takes the least and the largest of each 32 k as its ends; kE4M3 and kI8 scale a row by its
// largest magnitude; all round to nearest. `form` is not kSame.
PackedForm PackForm(TileOrder order, ChunkForm form, int n, int k, const float* w);

}  // namespace unimax
