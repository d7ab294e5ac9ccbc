// SPDX-License-Identifier: Apache-2.0
#include "exec/team_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "exec/fit.h"
#include "exec/weight_rows.h"
#include "kernels/cpu/packed.h"

namespace unimax {
namespace {

// Rows of one tensor; those of a random one are made from their number, so every reader sees the same.
class RowReader {
 public:
  // The tensor must outlive the reader.
  RowReader(const SourceTensor& tensor, uint64_t seed) : tensor_(tensor), seed_(seed) {}
  uint64_t row_bytes() const { return RowBytes(tensor_.type, static_cast<uint64_t>(tensor_.cols)); }

  // The row, or a made-up one written to `scratch` (row_bytes long).
  const std::byte* Row(int row, std::byte* scratch) const {
    if (tensor_.data != nullptr) return tensor_.Row(row);
    MakeUp(row, scratch);
    return scratch;
  }

 private:
  uint64_t Draw(uint64_t* state) const {  // splitmix64 (Steele, Lea, Flood 2014)
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  void MakeUp(int row, std::byte* out) const {
    uint64_t state = seed_ * 0x2545f4914f6cdd1du + static_cast<uint64_t>(row) * 0xd1342543de82ef95u;
    const float bound = 1.7f / std::sqrt(static_cast<float>(tensor_.cols));  // variance 1 / cols
    const DTypeInfo& info = Info(tensor_.type);
    if (info.block_elements > 1) {
      for (uint64_t i = 0; i < row_bytes(); ++i) out[i] = static_cast<std::byte>(Draw(&state));
      const bool four = tensor_.type == DType::kQ4_0 || tensor_.type == DType::kQ4_1;
      const bool minimum = tensor_.type == DType::kQ4_1 || tensor_.type == DType::kQ5_1;
      const float steps = tensor_.type == DType::kQ8_0 ? 127.0f : (four ? 8.0f : 16.0f);
      const uint16_t d = FloatToF16(bound / steps), m = FloatToF16(-bound);
      for (uint64_t at = 0; at < row_bytes(); at += static_cast<uint64_t>(info.block_bytes)) {
        std::memcpy(out + at, &d, 2);
        if (minimum) std::memcpy(out + at + 2, &m, 2);
      }
      return;
    }
    for (int i = 0; i < tensor_.cols; ++i) {
      const float v = (static_cast<float>(Draw(&state) >> 40) * 0x1p-23f - 1.0f) * bound;
      const uint16_t half = tensor_.type == DType::kF16 ? FloatToF16(v) : FloatToBF16(v);
      if (tensor_.type == DType::kF32) {
        std::memcpy(out + i * 4, &v, 4);
      } else {
        std::memcpy(out + i * 2, &half, 2);
      }
    }
  }

  const SourceTensor& tensor_;
  uint64_t seed_;
};

// FNV-1a of a tensor's name: the embedding and a tied head make up the same rows.
uint64_t SeedOf(const std::string& name) {
  uint64_t h = 0xcbf29ce484222325u;
  for (char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return h;
}

}  // namespace

struct TeamWeights::Piece {
  SourceTensor tensor;
  uint64_t seed = 0;
  WeightForm form = WeightForm::kF32;
  bool in_place = false;
  size_t segment = 0;  // of its weight
  int row = 0;         // its first row within the segment
  const std::byte* End() const { return tensor.Row(tensor.rows); }
};

Result<TeamWeights> TeamWeights::Load(const Program& program, const WeightSource& source, const CpuKernels& kernels,
                                      Team& team, bool plain, const LoadingProgress& loading) {
  const size_t count = program.weights.size();
  std::vector<bool> linear(count), embed(count), vector(count);
  for (const Op& op : program.ops) {
    if (op.bias >= 0) vector[static_cast<size_t>(op.bias)] = true;
    if (op.weight < 0) continue;
    auto& uses = op.kind == OpKind::kLinear ? linear : op.kind == OpKind::kEmbed ? embed : vector;
    uses[static_cast<size_t>(op.weight)] = true;
  }

  // First what everything will take, then one allocation, then the rows.
  TeamWeights all;
  all.weights_.resize(count);
  std::vector<std::vector<Piece>> pieces(count);
  std::vector<std::vector<SourceTensor>> found(count);  // what the pieces are views of
  uint64_t bytes = 0, longest_row = 0;
  for (size_t w = 0; w < count; ++w) {
    const Weight& weight = program.weights[w];
    TeamWeight& to = all.weights_[w];
    if (weight.interleaved) return Internal("weight {} is interleaved: not for the team executor", weight.name);
    if (vector[w]) {
      UM_ASSIGN_OR_RETURN(to.vector, ReadVector(source, weight));
    }
    if (!linear[w] && !embed[w]) continue;
    UM_ASSIGN_OR_RETURN(found[w], FindParts(source, weight));
    const std::vector<SourceTensor>& parts = found[w];
    for (size_t p = 0; p < parts.size(); ++p) {
      Piece piece{parts[p].View(), SeedOf(weight.parts[p].tensor), WeightForm::kF32, false, 0, 0};
      const uint64_t row = RowBytes(piece.tensor.type, static_cast<uint64_t>(weight.cols));
      longest_row = std::max(longest_row, row);
      if (embed[w]) {
        if (parts.size() > 1 || parts[p].own != nullptr) return Internal("embedding {} is not plain", weight.name);
        to.table = piece.tensor.View();
        if (piece.tensor.data == nullptr) bytes += Arena::Rounded(row * static_cast<uint64_t>(weight.rows));
      }
      if (!linear[w]) continue;
      piece.form = FormOf(piece.tensor.type);
      if (plain && IsPacked(piece.form)) piece.form = WeightForm::kF32;
      const uintptr_t align = piece.tensor.type == DType::kF32 ? 4 : 2;
      piece.in_place = piece.tensor.data != nullptr && parts[p].own == nullptr && piece.tensor.InOrder() &&
                       Info(piece.tensor.type).block_elements == 1 &&
                       reinterpret_cast<uintptr_t>(piece.tensor.data) % align == 0;
      // Rows join the segment before them when the form is equal: those that are copied, and those that follow it.
      const bool joins = !pieces[w].empty() && piece.in_place == pieces[w].back().in_place &&
                         pieces[w].back().tensor.type == piece.tensor.type &&
                         (!piece.in_place || pieces[w].back().End() == piece.tensor.data);
      if (!joins) {
        const int first = to.segments.empty() ? 0 : to.segments.back().first_row + to.segments.back().rows;
        to.segments.push_back({piece.form, first, 0, piece.in_place ? piece.tensor.data : nullptr});
      }
      piece.segment = to.segments.size() - 1;
      piece.row = to.segments.back().rows;
      to.segments.back().rows += piece.tensor.rows;
      pieces[w].push_back(std::move(piece));
    }
    for (const WeightSegment& s : to.segments) {
      (IsPacked(s.form) ? to.packed : to.plain) = true;
      all.all_f32_ = all.all_f32_ && s.form == WeightForm::kF32;
      const char* name = kWeightFormNames[static_cast<int>(s.form)];
      all.form_name_ = all.form_name_ == nullptr || all.form_name_ == name ? name : "mixed";
      if (s.data == nullptr) bytes += Arena::Rounded(FormBytes(s.form, s.rows, weight.cols, kernels.group_rows));
    }
  }
  UM_RETURN_IF_ERROR(CheckFits({bytes, 0, 0}, AvailableMemory(), "this machine", {}, "take a smaller model"));
  UM_ASSIGN_OR_RETURN(all.arena_, Arena::Take(bytes));

  uint64_t done = 0;
  constexpr int kMostRows = 16;  // of a group
  UM_CHECK(kernels.group_rows <= kMostRows);
  std::vector<std::byte> scratch(static_cast<size_t>(team.threads()) * kMostRows * longest_row);
  for (size_t w = 0; w < count; ++w) {
    const int cols = program.weights[w].cols;
    TeamWeight& to = all.weights_[w];
    for (size_t s = 0; s < to.segments.size(); ++s) {
      WeightSegment& segment = to.segments[s];
      if (segment.data != nullptr) continue;
      const uint64_t segment_bytes = FormBytes(segment.form, segment.rows, cols, kernels.group_rows);
      std::byte* data = all.arena_.Next(segment_bytes);
      segment.data = data;
      const auto row_at = [&](int row, std::byte* made_up) -> const std::byte* {
        for (const Piece& piece : pieces[w]) {
          if (piece.segment != s || row < piece.row || row >= piece.row + piece.tensor.rows) continue;
          return RowReader(piece.tensor, piece.seed).Row(row - piece.row, made_up);
        }
        return nullptr;
      };
      DType type = DType::kF32;
      for (const Piece& piece : pieces[w]) type = piece.segment == s ? piece.tensor.type : type;
      const uint64_t row_bytes = FormBytes(segment.form, 1, cols, 1);
      team.Run([&](int thread, int threads) {
        std::byte* own = scratch.data() + static_cast<size_t>(thread) * kMostRows * longest_row;
        const int group = IsPacked(segment.form) ? kernels.group_rows : 1;
        const int groups = (segment.rows + group - 1) / group;
        for (int g = groups * thread / threads; g < groups * (thread + 1) / threads; ++g) {
          const std::byte* rows[kMostRows] = {};
          for (int r = 0; r < group; ++r) rows[r] = row_at(g * group + r, own + static_cast<uint64_t>(r) * longest_row);
          if (IsPacked(segment.form)) {
            const uint64_t group_bytes = PackedGroupBytes(segment.form, group, cols);
            PackGroup(type, rows, cols, kernels, data + static_cast<uint64_t>(g) * group_bytes);
          } else if (segment.form == WeightForm::kF32) {
            auto* out = reinterpret_cast<float*>(data + static_cast<uint64_t>(g) * row_bytes);
            Dequantize(type, rows[0], static_cast<uint64_t>(cols), out);
          } else {
            std::memcpy(data + static_cast<uint64_t>(g) * row_bytes, rows[0], row_bytes);
          }
        }
      });
      done += segment_bytes;
      if (loading) loading(done, bytes);
    }
    for (size_t p = 0; p < pieces[w].size(); ++p) {
      if (!pieces[w][p].in_place && found[w][p].data != nullptr) source.Done(found[w][p]);
    }
    found[w].clear();
    if (embed[w] && to.table.data == nullptr) {
      const RowReader reader(to.table, SeedOf(program.weights[w].parts[0].tensor));
      std::byte* rows = all.arena_.Next(reader.row_bytes() * static_cast<uint64_t>(to.table.rows));
      for (int r = 0; r < to.table.rows; ++r) reader.Row(r, rows + static_cast<uint64_t>(r) * reader.row_bytes());
      to.table.data = rows;
    }
  }
  if (loading) loading(bytes, bytes);
  if (all.form_name_ == nullptr) all.form_name_ = "no matrices";
  return all;
}

}  // namespace unimax
