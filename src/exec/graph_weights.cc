// SPDX-License-Identifier: Apache-2.0
#include "exec/graph_weights.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <string>
#include <utility>

#include "base/team.h"
#include "exec/row_writer.h"
#include "exec/weight_rows.h"
#include "kernels/args.h"
#include "kernels/pack.h"

namespace unimax {
namespace {

constexpr uint64_t kScratchBytes = 64 << 20;   // device memory for rows that are not packed yet, at most
constexpr uint64_t kMappedBytes = 4ull << 30;  // of tensors that are uploaded and not yet given back to the system
constexpr int kMostThreads = 16;

// How one weight is kept.
struct Form {
  bool packed = false;  // in tiles of the activation type, not as plain f32
  float offset = 0;     // random values stand around it
  float spread = 0;     // and are at most this far from it
};

// Random values: variance 1 / K keeps the activations behind a matrix near one, norm weights stand near one, biases
// and positions near zero.
Form FormOf(const Weight& weight, const Op& user, bool bias, DType act) {
  if (bias || user.kind == OpKind::kAddPosition) return {false, 0.0f, 0.1f};
  if (!weight.matrix) return {false, 1.0f - user.offset, 0.1f};
  return {act != DType::kF32, 0.0f, std::sqrt(3.0f / static_cast<float>(weight.cols))};
}

uint64_t BytesOf(const Weight& weight, const Form& form) {
  const uint64_t elements = static_cast<uint64_t>(weight.rows) * static_cast<uint64_t>(weight.cols);
  return form.packed ? PackedBytes(weight.rows, weight.cols) : elements * 4;
}

Status FillRandom(const Form& form, Device& device, DType act, uint64_t seed, const Buffer& buffer) {
  const char* kernel = !form.packed ? "fill_random_f32" : act == DType::kBF16 ? "fill_random_bf16" : "fill_random_f16";
  FillRandomArgs args{};
  args.y = buffer.data();
  args.count = static_cast<long long>(buffer.bytes()) / (form.packed ? 2 : 4);
  args.seed = seed << 40;
  args.scale = form.spread;
  args.offset = form.offset;
  UM_ASSIGN_OR_RETURN(const Kernel found, device.FindKernel(kernel));
  Launch launch = Launch::Of(found, args);
  launch.grid_x = 1024;
  launch.threads = 256;
  return device.Run(launch);
}

// Calls fn(weight number, form) once for each weight that an op uses; its first user decides about the form.
template <class Fn>
Status ForUsed(const Program& program, DType act, Fn&& fn) {
  std::vector<bool> done(program.weights.size(), false);
  for (const Op& op : program.ops) {
    for (int w : {op.weight, op.bias}) {
      if (w < 0 || done[static_cast<size_t>(w)]) continue;
      done[static_cast<size_t>(w)] = true;
      UM_RETURN_IF_ERROR(fn(w, FormOf(program.weights[static_cast<size_t>(w)], op, w == op.bias, act)));
    }
  }
  return {};
}

// Brings weights to a device, one after another.
class Loader {
 public:
  Loader(const WeightSource& source, Device& device, DType act, uint64_t scratch_bytes)
      : source_(source),
        device_(device),
        act_(act),
        scratch_bytes_(scratch_bytes),
        team_(std::min(Team::DefaultThreads(), kMostThreads)) {}
  Status Load(const Weight& weight, const Form& form, uint64_t seed, const Buffer& to);
  // Waits until all weights are where they belong.
  Status Finish();

 private:
  Status Vector(const std::vector<SourceTensor>& parts, const Buffer& to);
  Status Plain(const Weight& weight, const std::vector<SourceTensor>& parts, const Buffer& to);
  Status Packed(const Weight& weight, const std::vector<SourceTensor>& parts, const Buffer& to);
  void Done(std::vector<SourceTensor> parts);
  void GiveBack();

  const WeightSource& source_;
  Device& device_;
  DType act_;
  uint64_t scratch_bytes_;
  Team team_;
  Buffer scratch_;
  std::vector<SourceTensor> done_;  // uploaded, and still in the memory of the host
  uint64_t done_bytes_ = 0;
};

Status Loader::Load(const Weight& weight, const Form& form, uint64_t seed, const Buffer& to) {
  UM_ASSIGN_OR_RETURN(std::vector<SourceTensor> parts, FindParts(source_, weight));
  if (parts[0].data == nullptr) return FillRandom(form, device_, act_, seed, to);
  if (form.packed) {
    UM_RETURN_IF_ERROR(Packed(weight, parts, to));
  } else {
    UM_RETURN_IF_ERROR(weight.matrix ? Plain(weight, parts, to) : Vector(parts, to));
  }
  Done(std::move(parts));
  return {};
}

Status Loader::Vector(const std::vector<SourceTensor>& parts, const Buffer& to) {
  std::vector<float> values;
  for (const SourceTensor& part : parts) {
    const size_t at = values.size();
    values.resize(at + static_cast<size_t>(part.rows) * static_cast<size_t>(part.cols));
    ReadRows(part, 0, part.rows, values.data() + at);
  }
  return device_.Upload(to.data(), values.data(), values.size() * sizeof(float));
}

Status Loader::Plain(const Weight& weight, const std::vector<SourceTensor>& parts, const Buffer& to) {
  const RowWriter rows(weight, parts, DType::kF32, team_);
  const uint64_t pitch = RowBytes(DType::kF32, static_cast<uint64_t>(weight.cols));
  return device_.UploadPieces(to.data(), to.bytes(), [&](std::byte* piece, size_t first, size_t count) {
    rows.Write(0, pitch, first, count, piece);
  });
}

// As many strips at once as the scratch holds. The device works in order, so that the rows of the next ones do not
// come before these are packed.
Status Loader::Packed(const Weight& weight, const std::vector<SourceTensor>& parts, const Buffer& to) {
  const RowWriter rows(weight, parts, act_, team_);
  const uint64_t pitch = PackPitch(rows.type(), weight.cols);
  const int most = std::max(1, static_cast<int>(scratch_bytes_ / (pitch * kPackRows))) * kPackRows;
  const int step = std::min(weight.rows, most);
  if (scratch_.bytes() < static_cast<uint64_t>(step) * pitch) {
    scratch_ = Buffer();
    UM_ASSIGN_OR_RETURN(scratch_, device_.Allocate(static_cast<uint64_t>(step) * pitch, "packing " + weight.name));
  }
  std::byte* tiles = to.data();
  for (int row = 0; row < weight.rows; row += step) {
    const int count = std::min(step, weight.rows - row);
    const auto write = [&](std::byte* piece, size_t first, size_t bytes) {
      rows.Write(row, pitch, first, bytes, piece);
    };
    UM_RETURN_IF_ERROR(device_.UploadPieces(scratch_.data(), static_cast<uint64_t>(count) * pitch, write));
    UM_RETURN_IF_ERROR(PackOnDevice(device_, act_, rows.type(), count, weight.cols, scratch_.data(), tiles));
    tiles += PackedBytes(count, weight.cols);
  }
  return {};
}

// To give pages of a mapped file back takes a tenth of the time of copying them, so all threads do it, and not while
// the link waits for the next piece.
void Loader::Done(std::vector<SourceTensor> parts) {
  for (SourceTensor& part : parts) {
    if (part.own != nullptr) continue;
    done_bytes_ += static_cast<uint64_t>(part.rows) * RowBytes(part.type, static_cast<uint64_t>(part.cols));
    done_.push_back(std::move(part));
  }
  if (done_bytes_ >= kMappedBytes) GiveBack();
}

void Loader::GiveBack() {
  std::atomic<size_t> next = 0;
  team_.Run([&](int, int) {
    for (size_t i = next++; i < done_.size(); i = next++) source_.Done(done_[i]);
  });
  done_.clear();
  done_bytes_ = 0;
}

Status Loader::Finish() {
  GiveBack();
  return device_.Synchronize();
}

}  // namespace

uint64_t DeviceWeightBytes(const Program& program, DType act) {
  uint64_t bytes = 0;
  const Status counted = ForUsed(program, act, [&](int w, const Form& form) -> Status {
    bytes += BytesOf(program.weights[static_cast<size_t>(w)], form);
    return {};
  });
  UM_CHECK(counted.ok());
  return bytes;
}

Result<std::vector<Buffer>> UploadWeights(const Program& program, const WeightSource& source, Device& device, DType act,
                                          uint64_t scratch_bytes, const LoadingProgress& loading) {
  std::vector<Buffer> buffers(program.weights.size());
  uint64_t done = 0, all = 0;
  // All memory first: a driver may wait for the copies on their way before it gives any.
  UM_RETURN_IF_ERROR(ForUsed(program, act, [&](int w, const Form& form) -> Status {
    const Weight& weight = program.weights[static_cast<size_t>(w)];
    UM_ASSIGN_OR_RETURN(buffers[static_cast<size_t>(w)], device.Allocate(BytesOf(weight, form), weight.name));
    all += BytesOf(weight, form);
    return {};
  }));
  Loader loader(source, device, act, scratch_bytes);
  UM_RETURN_IF_ERROR(ForUsed(program, act, [&](int w, const Form& form) -> Status {
    const Weight& weight = program.weights[static_cast<size_t>(w)];
    const Status status = loader.Load(weight, form, static_cast<uint64_t>(w) + 1, buffers[static_cast<size_t>(w)]);
    done += BytesOf(weight, form);
    if (status.ok() && loading) loading(done, all);
    return status;
  }));
  UM_RETURN_IF_ERROR(loader.Finish());
  return buffers;
}

}  // namespace unimax
