// SPDX-License-Identifier: Apache-2.0
#include "exec/row_writer.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/tile_order.h"
#include "exec/weight_rows.h"

namespace unimax {
namespace {

constexpr uint64_t kAlone = 64 << 10;  // bytes that one thread writes sooner than the others have woken up

// Row `packed` of the device form: which part it comes from, and which row of it; part -1: padding.
struct RowOrigin {
  int part = -1, row = 0;
};

RowOrigin Origin(const Weight& weight, int packed) {
  if (weight.interleaved) {  // 16-row strips of two equal parts in turn
    const int strip = packed / kPackRows;
    const int row = strip / 2 * kPackRows + packed % kPackRows;
    return row < weight.parts[0].rows ? RowOrigin{strip % 2, row} : RowOrigin{};
  }
  for (size_t p = 0; p < weight.parts.size(); ++p) {
    if (packed < weight.parts[p].rows) return {static_cast<int>(p), packed};
    packed -= weight.parts[p].rows;
  }
  return {};
}

DType TypeOf(std::span<const SourceTensor> parts, DType act) {
  const DType type = parts[0].type;
  const bool alike = std::all_of(parts.begin(), parts.end(), [&](const SourceTensor& p) { return p.type == type; });
  const bool plain = type == DType::kF32 || type == DType::kBF16 || type == DType::kF16;
  return act != DType::kF32 && alike && plain ? type : act;
}

}  // namespace

// What one thread needs of its own.
class RowWriter::Thread {
 public:
  explicit Thread(const RowWriter& writer) : writer_(writer) {}
  // Bytes [first, first + count) of row `row`.
  void WriteRow(int row, uint64_t first, uint64_t count, std::byte* to) {
    const RowOrigin origin = Origin(writer_.weight_, row);
    uint64_t have = 0;
    if (origin.part >= 0) {
      const SourceTensor& part = writer_.parts_[static_cast<size_t>(origin.part)];
      const std::byte* from = part.type == writer_.type_ ? part.Row(origin.row) : Rounded(part, origin.row);
      const uint64_t bytes = RowBytes(writer_.type_, static_cast<uint64_t>(part.cols));
      have = first < bytes ? std::min(count, bytes - first) : 0;
      if (have > 0) std::memcpy(to, from + first, have);
    }
    if (have < count) std::memset(to + have, 0, count - have);
  }

 private:
  const std::byte* Rounded(const SourceTensor& part, int row) {
    floats_.resize(static_cast<size_t>(part.cols));
    ReadRows(part, row, 1, floats_.data());
    if (writer_.type_ == DType::kF32) return reinterpret_cast<const std::byte*>(floats_.data());
    halves_.resize(floats_.size());
    const bool bf16 = writer_.type_ == DType::kBF16;
    std::transform(floats_.begin(), floats_.end(), halves_.begin(), bf16 ? FloatToBF16 : FloatToF16);
    return reinterpret_cast<const std::byte*>(halves_.data());
  }

  const RowWriter& writer_;
  std::vector<float> floats_;
  std::vector<uint16_t> halves_;
};

RowWriter::RowWriter(const Weight& weight, std::span<const SourceTensor> parts, DType act, Team& team)
    : weight_(weight), parts_(parts), type_(TypeOf(parts, act)), team_(team) {}

void RowWriter::Write(int row, uint64_t pitch, uint64_t first, uint64_t count, std::byte* to) const {
  const auto part = [&](uint64_t begin, uint64_t end) {
    Thread thread(*this);
    while (begin < end) {
      const uint64_t at = (first + begin) % pitch, take = std::min(end - begin, pitch - at);
      thread.WriteRow(row + static_cast<int>((first + begin) / pitch), at, take, to + begin);
      begin += take;
    }
  };
  if (count <= kAlone || team_.threads() == 1) return part(0, count);
  // Shares of whole cache lines, where `to` begins with one.
  team_.Run([&](int thread, int threads) {
    const auto border = [&](int t) {
      return t == threads ? count : count / 64 * static_cast<uint64_t>(t) / static_cast<uint64_t>(threads) * 64;
    };
    part(border(thread), border(thread + 1));
  });
}

}  // namespace unimax
