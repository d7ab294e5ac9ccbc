// SPDX-License-Identifier: Apache-2.0
#include "kernels/pack.h"

#include <algorithm>
#include <array>

namespace unimax {

uint16_t RoundTo(DType type, float value) { return type == DType::kBF16 ? FloatToBF16(value) : FloatToF16(value); }

void PackStrips(TileOrder order, DType type, int first, int last, int cols, const std::function<const float*(int)>& row,
                uint16_t* out) {
  const int tiles = (cols + kPackK - 1) / kPackK;
  std::array<int, kPackElements> index;
  for (int i = 0; i < kPackElements; ++i) index[static_cast<size_t>(i)] = TileIndex(order, i / kPackK, i % kPackK);
  for (int strip = first; strip < last; ++strip) {
    uint16_t* tile_row = out + static_cast<int64_t>(strip - first) * tiles * kPackElements;
    std::fill_n(tile_row, static_cast<int64_t>(tiles) * kPackElements, uint16_t{0});
    for (int r = 0; r < kPackRows; ++r) {
      const float* values = row(strip * kPackRows + r);
      if (values == nullptr) continue;
      const int* at = index.data() + r * kPackK;
      for (int k = 0; k < cols; ++k)
        tile_row[int64_t{k / kPackK} * kPackElements + at[k % kPackK]] = RoundTo(type, values[k]);
    }
  }
}

}  // namespace unimax
