// SPDX-License-Identifier: Apache-2.0
#include "kernels/pack_form.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/layout.h"

namespace unimax {
namespace {

constexpr int kQ4Group = 32;

// Where a row's elements go: the chunk of an element, and what stands for each.
class Packer {
 public:
  Packer(TileOrder order, ChunkForm form, int n, int k)
      : order_(order), form_(form), n_(n), k_(k), chunks_((k + FormK(form) - 1) / FormK(form)) {
    const auto strips = static_cast<size_t>((n + kPackRows - 1) / kPackRows);
    packed_.bytes.assign(strips * static_cast<size_t>(chunks_) * static_cast<size_t>(FormBytes(form)), std::byte{0});
    packed_.values.resize(static_cast<size_t>(n) * static_cast<size_t>(k));
    if (form != ChunkForm::kQ4) packed_.scales.resize(static_cast<size_t>(n));
  }

  PackedForm Run(const float* w) && {
    for (int row = 0; row < n_; ++row) {
      const float* values = w + int64_t{row} * k_;
      if (form_ == ChunkForm::kQ4) {
        for (int k = 0; k < k_; k += kQ4Group) PackQ4(row, k, std::min(kQ4Group, k_ - k), values + k);
      } else {
        PackScaled(row, values);
      }
    }
    return std::move(packed_);
  }

 private:
  std::byte* Chunk(int row, int k) {
    const int64_t chunk = int64_t{row / kPackRows} * chunks_ + k / FormK(form_);
    return packed_.bytes.data() + chunk * FormBytes(form_);
  }
  double& Value(int row, int k) {
    return packed_.values[static_cast<size_t>(row) * static_cast<size_t>(k_) + static_cast<size_t>(k)];
  }

  void PackQ4(int row, int first, int count, const float* values) {
    const auto [low, high] = std::minmax_element(values, values + count);
    const uint16_t scale[2] = {FloatToF16((*high - *low) / 15), FloatToF16(*low)};
    const float d = F16ToFloat(scale[0]), m = F16ToFloat(scale[1]);
    const int in_row = row % kPackRows, in_chunk = first % FormK(form_);
    std::byte* chunk = Chunk(row, first);
    std::memcpy(chunk + kQ4Scales + in_row * 16 + in_chunk / kQ4Group * 4, scale, sizeof(scale));
    for (int i = 0; i < count; ++i) {
      const int q = d > 0 ? std::clamp(static_cast<int>(std::lround((values[i] - m) / d)), 0, 15) : 0;
      const int bit = Q4Bit(order_, in_row, in_chunk + i);
      chunk[bit / 8] |= static_cast<std::byte>(q << bit % 8);
      Value(row, first + i) = static_cast<double>(d) * q + static_cast<double>(m);
    }
  }

  void PackScaled(int row, const float* values) {
    float most = 0;
    for (int k = 0; k < k_; ++k) most = std::max(most, std::abs(values[k]));
    const bool integers = form_ == ChunkForm::kI8;
    const float scale = most > 0 ? most / (integers ? 127.0f : kLargestE4M3) : 1.0f;
    packed_.scales[static_cast<size_t>(row)] = scale;
    const int in_row = row % kPackRows;
    for (int k = 0; k < k_; ++k) {
      const int in_chunk = k % FormK(form_);
      const float ratio = values[k] / scale;
      if (integers) {
        const auto q = static_cast<int8_t>(std::clamp(std::lround(ratio), -127l, 127l));
        Chunk(row, k)[I8Byte(order_, in_row, in_chunk)] = static_cast<std::byte>(q);
        Value(row, k) = static_cast<double>(scale) * q;
      } else {
        const uint8_t q = FloatToE4M3(ratio);
        Chunk(row, k)[E4M3Byte(order_, in_row, in_chunk)] = static_cast<std::byte>(q);
        Value(row, k) = static_cast<double>(scale) * static_cast<double>(E4M3ToFloat(q));
      }
    }
  }

  TileOrder order_;
  ChunkForm form_;
  int n_, k_, chunks_;
  PackedForm packed_;
};

}  // namespace

PackedForm PackForm(TileOrder order, ChunkForm form, int n, int k, const float* w) {
  return Packer(order, form, n, k).Run(w);
}

}  // namespace unimax
