// SPDX-License-Identifier: Apache-2.0
#include "kernels/pack.h"

#include <algorithm>
#include <array>

#include "kernels/args.h"

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

Status PackOnDevice(Device& device, DType type, DType from, int count, int cols, const void* rows, void* tiles) {
  constexpr int kThreads = 256;
  PackTilesArgs args{};
  args.rows = rows;
  args.tiles = tiles;
  args.count = count;
  args.cols = cols;
  args.pitch = static_cast<int>(PackPitch(from, cols));
  args.from = from == DType::kF32 ? PackFrom::kF32 : from == DType::kBF16 ? PackFrom::kBF16 : PackFrom::kF16;
  args.order = device.limits().tile_order;
  const char* kernel = type == DType::kBF16 ? "pack_tiles_bf16" : "pack_tiles_f16";
  UM_ASSIGN_OR_RETURN(const Kernel found, device.FindKernel(kernel));
  Launch launch = Launch::Of(found, args);
  const uint64_t units = PackedBytes(count, cols) / 32;  // two words of 16 bytes a thread
  launch.grid_x = static_cast<int>(std::clamp<uint64_t>((units + kThreads - 1) / kThreads, 1, 1 << 12));
  launch.threads = kThreads;
  return device.Run(launch);
}

}  // namespace unimax
