// SPDX-License-Identifier: Apache-2.0
// The kernel that packs a weight's rows on the device, bit by bit against PackStrips, on the emulator.
#include <gtest/gtest.h>

#include <bit>
#include <cstdio>
#include <random>

#include "device/emulator.h"
#include "kernels/args.h"
#include "kernels/pack.h"

namespace unimax {
namespace {

constexpr TileOrder kOrders[] = {TileOrder::kMma, TileOrder::kMfma, TileOrder::kWmma};
constexpr DType kFroms[] = {DType::kF32, DType::kBF16, DType::kF16};

// Any bits: all exponents, ties of the rounding, subnormals, infinities, NaN; every eighth a number that a model holds.
std::vector<std::byte> Rows(DType from, int count, int cols, uint64_t seed) {
  const uint64_t pitch = PackPitch(from, cols);
  std::vector<std::byte> rows(static_cast<size_t>(count) * pitch, std::byte{0xEE});  // what pads a row is no zero
  std::mt19937_64 random(seed);
  for (int r = 0; r < count; ++r) {
    for (int k = 0; k < cols; ++k) {
      uint32_t bits = static_cast<uint32_t>(random());
      if (bits % 8 == 0) bits = std::bit_cast<uint32_t>(static_cast<float>(static_cast<int>(bits >> 8)) * 0x1p-24f);
      if (bits % 8 == 1) bits &= 0xffff8000u;  // halfway between two values of bf16
      if (bits % 8 == 2) bits &= 0xfffff000u;  // and of f16
      const size_t size = RowBytes(from, 1);
      const uint32_t narrow = from == DType::kF32 ? bits : bits >> 16;
      std::memcpy(rows.data() + static_cast<size_t>(r) * pitch + static_cast<size_t>(k) * size, &narrow, size);
    }
  }
  return rows;
}

std::vector<uint16_t> Wanted(TileOrder order, DType type, DType from, int count, int cols,
                             const std::vector<std::byte>& rows) {
  std::vector<uint16_t> packed(PackedBytes(count, cols) / 2);
  std::vector<float> row(static_cast<size_t>(cols));
  PackStrips(
      order, type, 0, (count + kPackRows - 1) / kPackRows, cols,
      [&](int r) -> const float* {
        if (r >= count) return nullptr;
        Dequantize(from, rows.data() + static_cast<size_t>(r) * PackPitch(from, cols), static_cast<uint64_t>(cols),
                   row.data());
        return row.data();
      },
      packed.data());
  return packed;
}

Result<std::vector<uint16_t>> Packed(Device& device, TileOrder order, DType type, DType from, int count, int cols,
                                     const std::vector<std::byte>& rows) {
  UM_ASSIGN_OR_RETURN(const Buffer raw, device.Allocate(rows.size(), "rows"));
  UM_ASSIGN_OR_RETURN(const Buffer tiles, device.Allocate(PackedBytes(count, cols), "tiles"));
  UM_RETURN_IF_ERROR(device.Upload(raw.data(), rows.data(), rows.size()));
  if (order == device.limits().tile_order) {
    UM_RETURN_IF_ERROR(PackOnDevice(device, type, from, count, cols, raw.data(), tiles.data()));
  } else {  // another device's order
    PackTilesArgs args{raw.data(), tiles.data(), count, cols, static_cast<int>(PackPitch(from, cols)), {}, order};
    args.from = from == DType::kF32 ? PackFrom::kF32 : from == DType::kBF16 ? PackFrom::kBF16 : PackFrom::kF16;
    const char* name = type == DType::kBF16 ? "pack_tiles_bf16" : "pack_tiles_f16";
    UM_ASSIGN_OR_RETURN(const Kernel kernel, device.FindKernel(name));
    Launch launch = Launch::Of(kernel, args);
    launch.grid_x = 3;  // each thread more than one unit
    UM_RETURN_IF_ERROR(device.Run(launch));
  }
  std::vector<uint16_t> got(tiles.bytes() / 2);
  UM_RETURN_IF_ERROR(device.Download(got.data(), tiles.data(), tiles.bytes()));
  return got;
}

void PackEverything(int lanes) {
  const auto device = OpenEmulator({.lanes = lanes, .seed = 5});
  ASSERT_TRUE(device.ok());
  int compared = 0;
  for (const int count : {1, 7, 8, 9, 15, 16, 17, 33, 80}) {
    for (const int cols : {1, 3, 4, 5, 8, 12, 31, 32, 33, 40, 63, 64, 65, 136, 257}) {
      for (const DType from : kFroms) {
        const std::vector<std::byte> rows = Rows(from, count, cols, static_cast<uint64_t>(count * 1000 + cols));
        for (const DType type : {DType::kBF16, DType::kF16}) {
          for (const TileOrder order : kOrders) {
            const auto got = Packed(**device, order, type, from, count, cols, rows);
            ASSERT_TRUE(got.ok()) << got.status().text();
            ASSERT_EQ(*got, Wanted(order, type, from, count, cols, rows))
                << count << " x " << cols << ", " << Info(from).name << " to " << Info(type).name << ", order "
                << static_cast<int>(order);
            ++compared;
          }
        }
      }
    }
  }
  std::printf("lanes %d: %d matrices packed alike\n", lanes, compared);
}

TEST(PackTiles, EqualsPackStripsAt32Lanes) { PackEverything(32); }
TEST(PackTiles, EqualsPackStripsAt64Lanes) { PackEverything(64); }

TEST(PackTiles, ReadsNothingBeyondTheRowsAndTheirPitch) {
  // The emulator refuses reads outside of a buffer: rows that end with it, of widths that are no whole words.
  const auto device = OpenEmulator({.lanes = 32});
  ASSERT_TRUE(device.ok());
  for (const int cols : {1, 4, 5, 9, 12, 33}) {
    for (const DType from : kFroms) {
      const std::vector<std::byte> rows = Rows(from, 9, cols, 3);
      EXPECT_TRUE(Packed(**device, (*device)->limits().tile_order, DType::kBF16, from, 9, cols, rows).ok()) << cols;
    }
  }
}

}  // namespace
}  // namespace unimax
