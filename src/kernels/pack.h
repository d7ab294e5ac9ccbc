// SPDX-License-Identifier: Apache-2.0
// Packs a weight's rows into tiles for the matrix instructions (base/tile_order.h).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/layout.h"
#include "base/status.h"
#include "base/tile_order.h"
#include "device/device.h"

namespace unimax {

// Bytes of the packed form of [rows, cols] in a 16-bit type.
inline uint64_t PackedBytes(int rows, int cols) {
  const auto tiles = [](int count, int size) { return static_cast<uint64_t>((count + size - 1) / size); };
  return tiles(rows, kPackRows) * tiles(cols, kPackK) * kPackElements * 2;
}

// Rounds a float row to `type` (kBF16 or kF16), element by element.
uint16_t RoundTo(DType type, float value);

// Packs strips [first, last) of 16 rows. `row(i)` gives packed row i as floats, or null for a row of zeros; it is
// called once for each row, in order. `out` receives (last - first) strips.
void PackStrips(TileOrder order, DType type, int first, int last, int cols, const std::function<const float*(int)>& row,
                uint16_t* out);

// Bytes from row to row where rows of `from` (f32, bf16 or f16) lie on a device to be packed there.
inline uint64_t PackPitch(DType from, int cols) { return (RowBytes(from, static_cast<uint64_t>(cols)) + 15) / 16 * 16; }

// Packs rows [count, cols] of `from`, PackPitch bytes apart in device memory, into ceil(count / 16) strips at `tiles`,
// as PackStrips does. Asynchronous. Errors: those of the device.
Status PackOnDevice(Device& device, DType type, DType from, int count, int cols, const void* rows, void* tiles);

}  // namespace unimax
