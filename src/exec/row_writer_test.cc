// SPDX-License-Identifier: Apache-2.0
// Rows on their way to a device, cut into pieces and shared among threads at any place: the bytes are the same.
// graph_weights_test says that they are right.
#include "exec/row_writer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace unimax {
namespace {

std::vector<std::byte> Bytes(DType type, int rows, int cols, unsigned seed) {
  std::vector<std::byte> bytes(RowBytes(type, static_cast<uint64_t>(rows) * static_cast<uint64_t>(cols)));
  std::mt19937 random(seed);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

TEST(RowWriter, PiecesAndThreadsMakeNoDifference) {
  constexpr int kRows = 160, kCols = 640;
  struct Way {
    DType first, second, act, written;
  };
  for (const Way& way : {Way{DType::kBF16, DType::kBF16, DType::kBF16, DType::kBF16},
                         Way{DType::kF16, DType::kF16, DType::kBF16, DType::kF16},
                         Way{DType::kF32, DType::kBF16, DType::kF16, DType::kF16},
                         Way{DType::kQ8_0, DType::kQ8_0, DType::kBF16, DType::kBF16},
                         Way{DType::kBF16, DType::kBF16, DType::kF32, DType::kF32}}) {
    const std::vector<std::byte> one = Bytes(way.first, kRows, kCols, 1), two = Bytes(way.second, kRows, kCols, 2);
    Weight weight;
    weight.rows = 2 * kRows;
    weight.cols = kCols;
    weight.parts = {{.tensor = "a", .rows = kRows}, {.tensor = "b", .rows = kRows}};
    std::vector<SourceTensor> parts;
    parts.push_back({way.first, one.data(), kRows, kCols});
    parts.push_back({way.second, two.data(), kRows, kCols});
    for (const bool interleaved : {false, true}) {
      weight.interleaved = interleaved;
      Team alone(1), four(4);
      const RowWriter by_one(weight, parts, way.act, alone), by_four(weight, parts, way.act, four);
      EXPECT_EQ(by_one.type(), way.written);
      const uint64_t pitch = RowBytes(way.written, kCols) + 48, all = pitch * 2 * kRows;
      std::vector<std::byte> want(all), got(all);
      by_one.Write(0, pitch, 0, all, want.data());
      for (const uint64_t piece : {all, uint64_t{100'003}, uint64_t{70'000}, pitch * 3}) {
        std::fill(got.begin(), got.end(), std::byte{0xEE});
        for (uint64_t at = 0; at < all; at += piece) {
          by_four.Write(0, pitch, at, std::min(piece, all - at), got.data() + at);
        }
        EXPECT_EQ(got, want) << "pieces of " << piece;
      }
      // From a later row on.
      std::fill(got.begin(), got.end(), std::byte{0xEE});
      by_four.Write(33, pitch, 0, pitch * 100, got.data());
      EXPECT_TRUE(std::equal(got.begin(), got.begin() + static_cast<int64_t>(pitch) * 100,
                             want.begin() + static_cast<int64_t>(pitch) * 33));
    }
  }
}

}  // namespace
}  // namespace unimax
