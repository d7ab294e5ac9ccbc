// SPDX-License-Identifier: Apache-2.0
#include "kernels/check_linear.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "kernels/args.h"
#include "kernels/check_draw.h"
#include "kernels/pack.h"
#include "kernels/pack_form.h"
#include "kernels/reference.h"

namespace unimax {
namespace {

// x as the device has it, and what it stands for.
struct Inputs {
  std::vector<std::byte> bytes;
  std::vector<float> scales;  // of int8
  std::vector<double> values;
};

Inputs MakeInputs(const Case& c, std::mt19937_64& random) {
  std::normal_distribution<float> draw;
  const size_t count = static_cast<size_t>(c.m) * static_cast<size_t>(c.k);
  Inputs x;
  if (c.weight == ChunkForm::kI8) {
    for (int t = 0; t < c.m; ++t) x.scales.push_back(0.01f + 0.001f * static_cast<float>(random() % 32));
    for (size_t i = 0; i < count; ++i) {
      const auto q = static_cast<int8_t>(std::clamp(std::lround(draw(random) * 40), -128l, 127l));
      x.bytes.push_back(static_cast<std::byte>(q));
      x.values.push_back(q * static_cast<double>(x.scales[i / static_cast<size_t>(c.k)]));
    }
    return x;
  }
  for (size_t i = 0; i < count; ++i) {
    const uint16_t bits = RoundTo(c.act, draw(random));
    x.bytes.push_back(static_cast<std::byte>(bits & 0xff));
    x.bytes.push_back(static_cast<std::byte>(bits >> 8));
    x.values.push_back(c.act == DType::kBF16 ? BF16ToFloat(bits) : F16ToFloat(bits));
  }
  return x;
}

template <class T>
Result<Buffer> UploadAll(Device& device, const std::vector<T>& values) {
  const size_t bytes = std::max<size_t>(values.size() * sizeof(T), 16);
  UM_ASSIGN_OR_RETURN(Buffer buffer, device.Allocate(bytes, "check"));
  UM_RETURN_IF_ERROR(device.Upload(buffer.data(), values.data(), values.size() * sizeof(T)));
  return buffer;
}

const float* FloatsOf(const Buffer& buffer) { return reinterpret_cast<const float*>(buffer.data()); }

}  // namespace

Result<std::vector<double>> FetchValues(Device& device, DType type, const Buffer& from, int64_t count) {
  std::vector<std::byte> bytes(RowBytes(type, static_cast<uint64_t>(count)));
  UM_RETURN_IF_ERROR(device.Download(bytes.data(), from.data(), bytes.size()));
  std::vector<float> values(static_cast<size_t>(count));
  Dequantize(type, bytes.data(), values.size(), values.data());
  return std::vector<double>(values.begin(), values.end());
}

Result<CheckResult> CompareWith(Device& device, DType type, const Buffer& out, const std::vector<double>& reference) {
  UM_ASSIGN_OR_RETURN(const std::vector<double> y,
                      FetchValues(device, type, out, static_cast<int64_t>(reference.size())));
  CheckResult result;
  double difference = 0, norm = 0;
  bool finite = true;
  for (size_t i = 0; i < reference.size(); ++i) {
    difference += (y[i] - reference[i]) * (y[i] - reference[i]);
    norm += reference[i] * reference[i];
    finite = finite && std::isfinite(y[i]);
  }
  result.norm = std::sqrt(norm);
  result.error =
      finite ? std::sqrt(difference) / std::max(result.norm, 1e-30) : std::numeric_limits<double>::infinity();
  return result;
}

std::vector<double> LinearReference(const Case& c, const double* x, const double* w, const double* bias,
                                    const double* residual) {
  const RefEpilogue epilogue{c.activation, static_cast<double>(c.scale), static_cast<double>(c.cap)};
  std::vector<double> reference(static_cast<size_t>(c.m) * static_cast<size_t>(c.n));
  if (!(c.flags & kLinearActMul)) {
    RefLinear(x, w, bias, residual, reference.data(), c.m, c.n, c.k, epilogue);
    return reference;
  }
  // Strips of 16 rows alternate: gate, up; biases do not.
  RefLinear(x, w, nullptr, nullptr, reference.data(), c.m, c.n, c.k);
  const int out = c.n / 2;
  std::vector<double> result(static_cast<size_t>(c.m) * static_cast<size_t>(out));
  for (int t = 0; t < c.m; ++t) {
    for (int i = 0; i < out; ++i) {
      const double* row = reference.data() + int64_t{t} * c.n + i / 16 * 32 + i % 16;
      const double gate = row[0] + (bias ? bias[i] : 0), up = row[16] + (bias ? bias[out + i] : 0);
      const int64_t at = int64_t{t} * out + i;
      const double product = RefAct(epilogue.act, gate) * up * epilogue.scale;
      result[static_cast<size_t>(at)] = RefCap(product + (residual ? residual[at] : 0), epilogue.cap);
    }
  }
  return result;
}

Result<CheckResult> CheckForm(Device& device, const Row& row, const Case& c, uint64_t seed, int repeats) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> draw;
  const bool wide = c.flags & kLinearWide;
  const int out = c.flags & kLinearActMul ? c.n / 2 : c.n;
  const size_t cells = static_cast<size_t>(c.m) * static_cast<size_t>(out);

  std::vector<float> weights(static_cast<size_t>(c.n) * static_cast<size_t>(c.k));
  for (float& w : weights) w = draw(random) / std::sqrt(static_cast<float>(c.k));
  const PackedForm packed = PackForm(device.limits().tile_order, c.weight, c.n, c.k, weights.data());
  const Inputs x = MakeInputs(c, random);
  std::vector<float> bias(static_cast<size_t>(c.n)), residual(cells);
  for (float& v : bias) v = draw(random);
  for (float& v : residual) v = draw(random);

  UM_ASSIGN_OR_RETURN(const Buffer device_x, UploadAll(device, x.bytes));
  UM_ASSIGN_OR_RETURN(const Buffer device_w, UploadAll(device, packed.bytes));
  UM_ASSIGN_OR_RETURN(const Buffer x_scale, UploadAll(device, x.scales));
  UM_ASSIGN_OR_RETURN(const Buffer w_scale, UploadAll(device, packed.scales));
  UM_ASSIGN_OR_RETURN(const Buffer device_bias, UploadAll(device, bias));
  UM_ASSIGN_OR_RETURN(const Buffer device_residual, UploadAll(device, residual));
  UM_ASSIGN_OR_RETURN(const Buffer y, device.Allocate(cells * (wide ? 4 : 2), "check output"));
  UM_RETURN_IF_ERROR(device.Fill(y.data(), 0xff, y.bytes()));  // NaN, so that what is not written is noticed

  LinearArgs args{device_x.data(), device_w.data(), nullptr, nullptr, y.data(), c.m, c.n, c.k, c.k, out,
                  c.flags,         c.activation,    c.scale, c.cap};
  if (!c.bare) args.bias = FloatsOf(device_bias);
  if (c.residual) args.residual = FloatsOf(device_residual);
  if (!packed.scales.empty()) args.w_scale = FloatsOf(w_scale);
  if (!x.scales.empty()) args.x_scale = FloatsOf(x_scale);
  UM_ASSIGN_OR_RETURN(const Launch launch, LaunchOf(device, row, c, args));
  UM_RETURN_IF_ERROR(device.Run(launch));
  UM_RETURN_IF_ERROR(device.Synchronize());

  const std::vector<double> exact_bias(bias.begin(), bias.end()), exact_residual(residual.begin(), residual.end());
  const std::vector<double> reference =
      LinearReference(c, x.values.data(), packed.values.data(), c.bare ? nullptr : exact_bias.data(),
                      c.residual ? exact_residual.data() : nullptr);
  UM_ASSIGN_OR_RETURN(CheckResult result, CompareWith(device, wide ? DType::kF32 : c.act, y, reference));
  UM_ASSIGN_OR_RETURN(result.microseconds, MedianMicroseconds(device, launch, repeats));
  return result;
}

}  // namespace unimax
