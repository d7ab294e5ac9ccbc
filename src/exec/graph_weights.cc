// SPDX-License-Identifier: Apache-2.0
#include "exec/graph_weights.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <thread>

#include "exec/weight_rows.h"
#include "kernels/args.h"
#include "kernels/pack.h"

namespace unimax {
namespace {

constexpr uint64_t kChunkBytes = 32 << 20;  // host memory for packing, and the size of an upload

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

// Runs fn(begin, end) over [0, count) on all host cores.
template <class Fn>
void OnAllCores(int count, Fn&& fn) {
  const int threads = std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, 16);
  std::vector<std::thread> team;
  for (int t = 1; t < threads; ++t) team.emplace_back([&, t] { fn(count * t / threads, count * (t + 1) / threads); });
  fn(0, count / threads);
  for (std::thread& thread : team) thread.join();
}

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

Status UploadPlain(const std::vector<SourceTensor>& parts, Device& device, const Buffer& buffer) {
  uint64_t at = 0;
  std::vector<float> rows;
  for (const SourceTensor& part : parts) {
    const int step = std::max(1, static_cast<int>(kChunkBytes / (static_cast<uint64_t>(part.cols) * 4)));
    for (int r = 0; r < part.rows; r += step) {
      const int count = std::min(step, part.rows - r);
      rows.resize(static_cast<size_t>(count) * static_cast<size_t>(part.cols));
      ReadRows(part, r, count, rows.data());
      UM_RETURN_IF_ERROR(device.Upload(buffer.data() + at, rows.data(), rows.size() * 4));
      at += rows.size() * 4;
    }
  }
  return {};
}

Status UploadPacked(const Weight& weight, const std::vector<SourceTensor>& parts, Device& device, DType act,
                    const Buffer& buffer) {
  const int strips = (weight.rows + kPackRows - 1) / kPackRows;
  const uint64_t strip_bytes = PackedBytes(kPackRows, weight.cols);
  const int step = std::max(1, static_cast<int>(kChunkBytes / strip_bytes));
  std::vector<uint16_t> packed;
  for (int first = 0; first < strips; first += step) {
    const int count = std::min(step, strips - first);
    packed.resize(static_cast<uint64_t>(count) * strip_bytes / 2);
    OnAllCores(count, [&](int begin, int end) {
      std::vector<float> row(static_cast<size_t>(weight.cols));
      PackStrips(
          device.limits().tile_order, act, first + begin, first + end, weight.cols,
          [&](int i) -> const float* {
            const RowOrigin origin = Origin(weight, i);
            if (origin.part < 0) return nullptr;
            const SourceTensor& part = parts[static_cast<size_t>(origin.part)];
            ReadRows(part, origin.row, 1, row.data());
            return row.data();
          },
          packed.data() + static_cast<uint64_t>(begin) * strip_bytes / 2);
    });
    UM_RETURN_IF_ERROR(
        device.Upload(buffer.data() + static_cast<uint64_t>(first) * strip_bytes, packed.data(), packed.size() * 2));
  }
  return {};
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

Result<Buffer> UploadOne(const Weight& weight, const Form& form, const WeightSource& source, Device& device, DType act,
                         uint64_t seed) {
  UM_ASSIGN_OR_RETURN(const std::vector<SourceTensor> parts, FindParts(source, weight));
  UM_ASSIGN_OR_RETURN(Buffer buffer, device.Allocate(BytesOf(weight, form), weight.name));
  if (parts[0].data == nullptr) {
    UM_RETURN_IF_ERROR(FillRandom(form, device, act, seed, buffer));
  } else if (form.packed) {
    UM_RETURN_IF_ERROR(UploadPacked(weight, parts, device, act, buffer));
  } else {
    UM_RETURN_IF_ERROR(UploadPlain(parts, device, buffer));
  }
  for (const SourceTensor& part : parts) {
    if (part.data != nullptr) source.Done(part);
  }
  return buffer;
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

Result<std::vector<Buffer>> UploadWeights(const Program& program, const WeightSource& source, Device& device,
                                          DType act) {
  std::vector<Buffer> buffers(program.weights.size());
  UM_RETURN_IF_ERROR(ForUsed(program, act, [&](int w, const Form& form) -> Status {
    UM_ASSIGN_OR_RETURN(buffers[static_cast<size_t>(w)], UploadOne(program.weights[static_cast<size_t>(w)], form,
                                                                   source, device, act, static_cast<uint64_t>(w) + 1));
    return {};
  }));
  UM_RETURN_IF_ERROR(device.Synchronize());
  return buffers;
}

}  // namespace unimax
