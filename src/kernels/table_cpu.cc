// SPDX-License-Identifier: Apache-2.0
#include "kernels/table_cpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "base/layout.h"
#include "kernels/cpu/packed.h"
#include "kernels/reference.h"

namespace unimax {
namespace {

constexpr int kThreads = 3;  // ranges into which every case is cut

using Draw = std::mt19937_64;

std::vector<float> Random(Draw& draw, size_t count, float scale = 1.0f) {
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> v(count);
  for (float& x : v) x = normal(draw);
  return v;
}

std::vector<double> Wide(const std::vector<float>& v) { return {v.begin(), v.end()}; }

// 64 floats behind the end find out what writes past it.
std::vector<float> Poisoned(size_t count) {
  return std::vector<float>(count + 64, std::numeric_limits<float>::quiet_NaN());
}

double Error(const std::vector<float>& y, const std::vector<double>& reference, double* norm) {
  double difference = 0, square = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double d = static_cast<double>(y[i]) - reference[i];
    difference += d * d;
    square += reference[i] * reference[i];
  }
  for (size_t i = reference.size(); i < y.size(); ++i) {
    if (!std::isnan(y[i])) difference = std::numeric_limits<double>::infinity();
  }
  *norm = std::sqrt(square);
  const double error = std::sqrt(difference) / *norm;
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

double Timed(const std::function<void(int)>& body) {
  const auto start = std::chrono::steady_clock::now();
  for (int thread = 0; thread < kThreads; ++thread) body(thread);
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

DType TypeOf(WeightForm form) {
  constexpr DType kTypes[kWeightForms] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ4_0,
                                          DType::kQ4_1, DType::kQ8_0, DType::kQ5_1};
  return kTypes[static_cast<int>(form)];
}

// [n, k] rows as they lie in a file: every bit pattern of the integers, scales of either sign.
std::vector<std::byte> FileRows(Draw& draw, DType type, int n, int k) {
  const auto elements = static_cast<uint64_t>(n) * static_cast<uint64_t>(k);
  std::vector<std::byte> rows(RowBytes(type, elements));
  const DTypeInfo& info = Info(type);
  if (info.block_elements == 1) {
    const std::vector<float> values = Random(draw, elements);
    for (uint64_t i = 0; i < elements; ++i) {
      const uint16_t half = type == DType::kF16 ? FloatToF16(values[i]) : FloatToBF16(values[i]);
      std::memcpy(&rows[i * static_cast<uint64_t>(info.block_bytes)],
                  type == DType::kF32 ? static_cast<const void*>(&values[i]) : &half,
                  static_cast<size_t>(info.block_bytes));
    }
    return rows;
  }
  for (std::byte& b : rows) b = static_cast<std::byte>(draw());
  const std::vector<float> scales = Random(draw, rows.size() / static_cast<size_t>(info.block_bytes) * 2, 0.02f);
  const bool minimum = type == DType::kQ4_1 || type == DType::kQ5_1;
  for (size_t at = 0, i = 0; at < rows.size(); at += static_cast<size_t>(info.block_bytes), i += 2) {
    const uint16_t d = FloatToF16(scales[i]), m = FloatToF16(scales[i + 1] * 8.0f);
    std::memcpy(&rows[at], &d, 2);
    if (minimum) std::memcpy(&rows[at + 2], &m, 2);
  }
  return rows;
}

std::vector<std::byte> PackedRows(const std::vector<std::byte>& rows, DType type, int n, int k,
                                  const CpuKernels& kernels) {
  const WeightForm form = FormOf(type);
  std::vector<std::byte> packed(FormBytes(form, n, k, kernels.group_rows));
  const uint64_t row_bytes = RowBytes(type, static_cast<uint64_t>(k));
  const int group = kernels.group_rows;
  for (int first = 0; first < n; first += group) {
    std::vector<const std::byte*> source(static_cast<size_t>(group), nullptr);
    for (int r = 0; r < std::min(group, n - first); ++r) {
      source[static_cast<size_t>(r)] = rows.data() + static_cast<uint64_t>(first + r) * row_bytes;
    }
    PackGroup(type, source.data(), k, kernels,
              packed.data() + static_cast<uint64_t>(first / group) * PackedGroupBytes(form, group, k));
  }
  return packed;
}

// The activations as the quantised rows say them.
std::vector<double> Rounded(const std::vector<std::byte>& quantized, int m, int k) {
  std::vector<double> x;
  for (int t = 0; t < m; ++t) {
    const std::byte* row = quantized.data() + t * QuantizedStride(k);
    for (int i = 0; i < k; ++i) {
      float scale = 0;
      std::memcpy(&scale, row + k + i / 32 * 4, 4);
      x.push_back(static_cast<double>(scale) * static_cast<int8_t>(row[i]));
    }
  }
  return x;
}

CpuCheck CheckLinear(const CpuKernels& kernels, const CpuRow& row, const CpuCase& c, uint64_t seed) {
  Draw draw(seed);
  const auto outputs = static_cast<size_t>(c.m) * static_cast<size_t>(c.n);
  const DType type = TypeOf(row.form);
  const std::vector<std::byte> file = FileRows(draw, type, c.n, c.k);
  const std::vector<float> x = Random(draw, static_cast<size_t>(c.m) * static_cast<size_t>(c.k));
  const std::vector<float> bias = Random(draw, static_cast<size_t>(c.n)), residual = Random(draw, outputs);
  std::vector<float> weights(static_cast<size_t>(c.n) * static_cast<size_t>(c.k));
  Dequantize(type, file.data(), weights.size(), weights.data());

  std::vector<float> y = Poisoned(outputs);
  const std::vector<std::byte> packed = IsPacked(row.form) ? PackedRows(file, type, c.n, c.k, kernels) : file;
  std::vector<std::byte> quantized(static_cast<size_t>(c.m * QuantizedStride(c.k)));
  if (IsPacked(row.form)) {
    for (int t = 0; t < kThreads; ++t) kernels.quantize({x.data(), quantized.data(), c.m, c.k, c.k}, t, kThreads);
  }
  const LinearArgs args = {.x = IsPacked(row.form) ? static_cast<const void*>(quantized.data()) : x.data(),
                           .w = packed.data(),
                           .bias = c.epilogue ? bias.data() : nullptr,
                           .residual = c.epilogue ? residual.data() : nullptr,
                           .y = y.data(),
                           .m = c.m,
                           .n = c.n,
                           .k = c.k,
                           .x_stride = c.k,
                           .y_stride = c.n,
                           .act = c.act,
                           .scale = c.scale,
                           .cap = c.cap};
  CpuCheck check;
  check.microseconds = Timed([&](int t) { kernels.linear[static_cast<int>(row.form)](args, t, kThreads); });

  const auto reference = [&](const std::vector<double>& input) {
    std::vector<double> wanted(outputs);
    const std::vector<double> b = Wide(bias), r = Wide(residual);
    RefLinear(input.data(), Wide(weights).data(), c.epilogue ? b.data() : nullptr, c.epilogue ? r.data() : nullptr,
              wanted.data(), c.m, c.n, c.k, {c.act, static_cast<double>(c.scale), static_cast<double>(c.cap)});
    return wanted;
  };
  if (IsPacked(row.form)) check.rough = Error(y, reference(Wide(x)), &check.norm);
  check.error = Error(y, reference(IsPacked(row.form) ? Rounded(quantized, c.m, c.k) : Wide(x)), &check.norm);
  return check;
}

CpuCheck CheckNorm(const CpuKernels& kernels, const CpuRow&, const CpuCase& c, uint64_t seed) {
  Draw draw(seed);
  // Heads lie beside others in a wider row, as q and k do; a row that is one head stands alone.
  const int row = c.groups * c.k, stride = c.groups > 1 ? row + 8 : row;
  std::vector<float> x = Random(draw, static_cast<size_t>(c.m) * static_cast<size_t>(stride), 3.0f);
  const std::vector<float> weight = Random(draw, static_cast<size_t>(c.k)), bias = Random(draw, weight.size());
  for (float& v : x) v += c.layer ? 2.0f : 0.0f;
  std::vector<double> dense, wanted(static_cast<size_t>(c.m) * static_cast<size_t>(row));
  for (int t = 0; t < c.m; ++t) {
    dense.insert(dense.end(), x.begin() + int64_t{t} * stride, x.begin() + int64_t{t} * stride + row);
  }
  std::vector<float> y = Poisoned(wanted.size());
  NormArgs args = {x.data(), weight.data(), y.data(), c.m, c.k, 1e-5f};
  args.bias = c.epilogue ? bias.data() : nullptr;
  args.groups = c.groups;
  args.x_stride = stride;
  args.offset = c.offset;
  args.flags = c.layer ? kNormLayer : 0;
  CpuCheck check;
  check.microseconds = Timed([&](int t) { kernels.norm(args, t, kThreads); });
  const std::vector<double> wide_bias = Wide(bias);
  RefNorm(dense.data(), Wide(weight).data(), wanted.data(), c.m * c.groups, c.k, static_cast<double>(1e-5f),
          {c.layer ? NormKind::kLayer : NormKind::kRms, static_cast<double>(c.offset),
           c.epilogue ? wide_bias.data() : nullptr});
  check.error = Error(y, wanted, &check.norm);
  return check;
}

CpuCheck CheckActMul(const CpuKernels& kernels, const CpuRow&, const CpuCase& c, uint64_t seed) {
  Draw draw(seed);
  const auto count = static_cast<size_t>(c.m) * static_cast<size_t>(c.k);
  const int stride = 2 * c.k;  // gate and up side by side, as the executor has them
  std::vector<float> both = Random(draw, count * 2, 8.0f);
  both[0] = -200.0f;  // e^200 is not a float
  std::vector<double> gate, up;
  for (int t = 0; t < c.m; ++t) {
    const auto row = both.begin() + int64_t{t} * stride;
    gate.insert(gate.end(), row, row + c.k);
    up.insert(up.end(), row + c.k, row + stride);
  }
  std::vector<float> y = Poisoned(count);
  std::vector<double> wanted(count);
  const Activation act = c.act == Activation::kNone && !c.one_input ? Activation::kSilu : c.act;
  const ActMulArgs args = {both.data(), c.one_input ? nullptr : both.data() + c.k, y.data(), c.m, c.k, stride, act};
  CpuCheck check;
  check.microseconds = Timed([&](int t) { kernels.act_mul(args, t, kThreads); });
  RefActMul(gate.data(), c.one_input ? nullptr : up.data(), wanted.data(), static_cast<int64_t>(count), act);
  check.error = Error(y, wanted, &check.norm);
  return check;
}

CpuCheck CheckAdd(const CpuKernels& kernels, const CpuRow&, const CpuCase& c, uint64_t seed) {
  Draw draw(seed);
  const auto count = static_cast<size_t>(c.m) * static_cast<size_t>(c.k);
  const std::vector<float> a = Random(draw, count), b = Random(draw, count);
  std::vector<float> y = Poisoned(count);
  std::vector<double> wanted(count);
  CpuCheck check;
  check.microseconds = Timed([&](int t) {
    kernels.add({a.data(), b.data(), y.data(), c.m, c.k, c.scale}, t, kThreads);
  });
  RefAdd(Wide(a).data(), Wide(b).data(), wanted.data(), static_cast<int64_t>(count), static_cast<double>(c.scale));
  check.error = Error(y, wanted, &check.norm);
  return check;
}

// Two equal maxima: the first must win.
CpuCheck CheckSample(const CpuKernels& kernels, const CpuRow&, const CpuCase& c, uint64_t seed) {
  Draw draw(seed);
  std::vector<float> logits = Random(draw, static_cast<size_t>(c.k));
  const size_t first = draw() % logits.size(), second = draw() % logits.size();
  logits[first] = logits[second] = 9.0f;
  CpuCheck check;
  BestLogit best = {};
  const auto start = std::chrono::steady_clock::now();
  best = kernels.best(logits.data(), 0, c.k);
  check.microseconds = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
  const int wanted = RefSample(Wide(logits).data(), c.k);
  logits[second] = std::numeric_limits<float>::infinity();
  const BestLogit bad = kernels.best(logits.data(), 0, c.k);
  check.error = best.index == wanted && bad.index == -1 ? 0.0 : std::numeric_limits<double>::infinity();
  check.norm = 1.0;
  return check;
}

// A paged cache filled by rope_store itself: rows of one sequence on shuffled pages, beside pages full of NaN.
struct Cached {
  std::vector<float> qkv;               // [rows, (heads + 2 kv_heads) * head_dim], q rotated
  std::vector<double> q, k, v;          // what the reference makes of the same rows
  std::vector<std::byte> keys, values;  // pages
  std::vector<int> positions, sequences, pages;
  int stride = 0, max_pages = 0;
  double microseconds = 0;
};

// As the cache's type holds it.
double Kept(double value, KvForm kv) {
  const auto single = static_cast<float>(value);
  return static_cast<double>(kv == KvForm::kF32 ? single : F16ToFloat(FloatToF16(single)));
}

Cached Fill(const CpuKernels& kernels, const CpuRow& row, const CpuCase& c, uint64_t seed) {
  Draw draw(seed);
  Cached s;
  const int rows = c.tokens + c.m, q_cols = c.heads * c.head_dim, kv_cols = c.kv_heads * c.head_dim;
  s.stride = q_cols + 2 * kv_cols;
  s.qkv = Random(draw, static_cast<size_t>(rows) * static_cast<size_t>(s.stride));
  s.max_pages = (rows + c.page_tokens - 1) / c.page_tokens;
  for (int p = 0; p < s.max_pages; ++p) s.pages.push_back(2 * p + 1);
  std::shuffle(s.pages.begin(), s.pages.end(), draw);
  for (int t = 0; t < rows; ++t) {
    s.positions.push_back(t);
    s.sequences.push_back(0);
    const float* r = s.qkv.data() + int64_t{t} * s.stride;
    s.q.insert(s.q.end(), r, r + q_cols);
    s.k.insert(s.k.end(), r + q_cols, r + q_cols + kv_cols);
    for (int i = 0; i < kv_cols; ++i) s.v.push_back(Kept(static_cast<double>(r[q_cols + kv_cols + i]), row.kv));
  }
  std::vector<double> inv_freq;
  const int rotary = c.rotary < 0 ? c.head_dim : c.rotary;
  for (int i = 0; i < rotary / 2; ++i) inv_freq.push_back(std::pow(10000.0, -2.0 * i / rotary));
  const std::vector<float> cos_sin = CosSinTable(inv_freq, 1.0, rows);
  RefRope(s.q.data(), s.positions.data(), inv_freq.data(), 1.0, c.interleaved, rows, c.heads, c.head_dim, rotary);
  RefRope(s.k.data(), s.positions.data(), inv_freq.data(), 1.0, c.interleaved, rows, c.kv_heads, c.head_dim, rotary);

  const size_t element = row.kv == KvForm::kF32 ? 4 : 2;
  const size_t page = static_cast<size_t>(kv_cols) * static_cast<size_t>(KeyStride(c.page_tokens)) * element;
  s.keys.assign(page * static_cast<size_t>(2 * s.max_pages) + 64, std::byte{0xff});  // NaN in f32 and in f16
  s.values = s.keys;
  RopeStoreArgs args = {};
  args.q = s.qkv.data();
  args.k = s.qkv.data() + q_cols;
  args.v = s.qkv.data() + q_cols + kv_cols;
  args.k_cache = s.keys.data();
  args.v_cache = s.values.data();
  args.cos_sin = cos_sin.data();
  args.rope_rows = args.positions = s.positions.data();
  args.rotary = rotary;
  args.sequences = s.sequences.data();
  args.page_table = s.pages.data();
  args.m = rows;
  args.heads = c.heads;
  args.kv_heads = c.kv_heads;
  args.head_dim = c.head_dim;
  args.stride = s.stride;
  args.page_tokens = c.page_tokens;
  args.max_pages = s.max_pages;
  args.interleaved = c.interleaved ? 1 : 0;
  s.microseconds = Timed([&](int t) { kernels.rope_store[static_cast<int>(row.kv)](args, t, kThreads); });
  return s;
}

float CachedAt(const std::vector<std::byte>& cache, KvForm kv, int64_t index) {
  float single = 0;
  uint16_t half = 0;
  if (kv == KvForm::kF32) std::memcpy(&single, cache.data() + index * 4, 4);
  if (kv == KvForm::kF16) std::memcpy(&half, cache.data() + index * 2, 2);
  return kv == KvForm::kF32 ? single : F16ToFloat(half);
}

CpuCheck CheckRopeStore(const CpuKernels& kernels, const CpuRow& row, const CpuCase& c, uint64_t seed) {
  const Cached s = Fill(kernels, row, c, seed);
  std::vector<float> y;
  std::vector<double> wanted;
  const int64_t kv_cols = int64_t{c.kv_heads} * c.head_dim, q_cols = int64_t{c.heads} * c.head_dim;
  for (int64_t t = 0; t < c.tokens + c.m; ++t) {
    y.insert(y.end(), s.qkv.begin() + t * s.stride, s.qkv.begin() + t * s.stride + q_cols);
    wanted.insert(wanted.end(), s.q.begin() + t * q_cols, s.q.begin() + (t + 1) * q_cols);
    const int64_t page = s.pages[static_cast<size_t>(t / c.page_tokens)], slot = t % c.page_tokens;
    for (int64_t i = 0; i < kv_cols; ++i) {
      const int64_t head = page * c.kv_heads + i / c.head_dim, d = i % c.head_dim;
      y.push_back(CachedAt(s.keys, row.kv, (head * c.head_dim + d) * KeyStride(c.page_tokens) + slot));
      y.push_back(CachedAt(s.values, row.kv, (head * c.page_tokens + slot) * c.head_dim + d));
      wanted.push_back(s.k[static_cast<size_t>(t * kv_cols + i)]);
      wanted.push_back(s.v[static_cast<size_t>(t * kv_cols + i)]);
    }
  }
  CpuCheck check;
  check.error = Error(y, wanted, &check.norm);
  check.microseconds = s.microseconds;
  return check;
}

CpuCheck CheckAttention(const CpuKernels& kernels, const CpuRow& row, const CpuCase& c, uint64_t seed) {
  const Cached s = Fill(kernels, row, c, seed);
  const int q_cols = c.heads * c.head_dim;
  std::vector<float> y = Poisoned(static_cast<size_t>(c.m) * static_cast<size_t>(q_cols));
  std::vector<float> partial = Poisoned(static_cast<size_t>(c.m * c.heads * c.splits) * (c.head_dim + 2));
  AttentionArgs args = {};
  args.q = s.qkv.data() + int64_t{c.tokens} * s.stride;
  args.k_cache = s.keys.data();
  args.v_cache = s.values.data();
  args.y = y.data();
  args.positions = s.positions.data() + c.tokens;
  args.sequences = s.sequences.data() + c.tokens;
  args.page_table = s.pages.data();
  args.partial = partial.data();
  args.m = c.m;
  args.heads = c.heads;
  args.kv_heads = c.kv_heads;
  args.head_dim = c.head_dim;
  args.q_stride = s.stride;
  args.page_tokens = c.page_tokens;
  args.max_pages = s.max_pages;
  args.splits = c.splits;
  args.scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  args.cap = c.cap;
  args.window = c.window;
  CpuCheck check;
  check.microseconds = Timed([&](int t) { kernels.attention[static_cast<int>(row.kv)](args, t, kThreads); });
  if (c.splits > 1) check.microseconds += Timed([&](int t) { kernels.combine(args, t, kThreads); });

  std::vector<double> keys, wanted(static_cast<size_t>(c.m) * static_cast<size_t>(q_cols));
  for (double k : s.k) keys.push_back(Kept(k, row.kv));
  for (int t = 0; t < c.m; ++t) {
    RefAttentionRow(s.q.data() + int64_t{c.tokens + t} * q_cols, keys.data(), s.v.data(),
                    wanted.data() + int64_t{t} * q_cols, c.tokens + t + 1, c.heads, c.kv_heads, c.head_dim,
                    static_cast<double>(args.scale), static_cast<double>(c.cap), c.window);
  }
  check.error = Error(y, wanted, &check.norm);
  return check;
}

double LinearBytes(const CpuRow& row, const CpuCase& c) {
  return static_cast<double>(FormBytes(row.form, c.n, c.k, 1)) + 4.0 * c.m * (c.k + c.n);
}
double PointBytes(const CpuRow&, const CpuCase& c) { return 12.0 * c.m * c.k; }
double KvBytes(const CpuRow& row, const CpuCase& c) {
  return 2.0 * (c.tokens + c.m) * c.kv_heads * c.head_dim * (row.kv == KvForm::kF32 ? 4 : 2);
}

constexpr CpuCase kLinearCases[] = {
    {.m = 1, .n = 576, .k = 1536},
    {.m = 1, .n = 49, .k = 576, .epilogue = true},
    {.m = 2, .n = 33, .k = 576},
    {.m = 7, .n = 61, .k = 64, .epilogue = true},
    {.m = 8, .n = 16, .k = 1536},
    {.m = 9, .n = 5, .k = 32},
    {.m = 33, .n = 192, .k = 576, .epilogue = true},
    {.m = 130, .n = 20, .k = 96},
    {.m = 3, .n = 37, .k = 64, .epilogue = true, .act = Activation::kGelu, .scale = 0.5f},
    {.m = 2, .n = 40, .k = 64, .act = Activation::kRelu},
    {.m = 1, .n = 21, .k = 96, .scale = 0.25f, .cap = 4.0f},
};
constexpr CpuCase kRaggedCases[] = {{.m = 1, .n = 7, .k = 1}, {.m = 9, .n = 6, .k = 45}, {.m = 5, .n = 3, .k = 19}};
constexpr CpuCase kPointCases[] = {{.m = 1, .k = 576}, {.m = 2, .k = 1536}, {.m = 7, .k = 45}, {.m = 33, .k = 8}};
constexpr CpuCase kNormCases[] = {{.m = 3, .k = 32, .groups = 4},
                                  {.m = 2, .k = 256, .groups = 3, .offset = 1.0f},
                                  {.m = 5, .k = 576, .epilogue = true, .layer = true},
                                  {.m = 4, .k = 45, .epilogue = true, .layer = true},
                                  {.m = 1, .k = 1536, .offset = 1.0f}};
constexpr CpuCase kActCases[] = {{.m = 2, .k = 77, .act = Activation::kGelu},
                                 {.m = 3, .k = 1536, .act = Activation::kGeluTanh},
                                 {.m = 3, .k = 40, .act = Activation::kRelu, .one_input = true},
                                 {.m = 1, .k = 80, .act = Activation::kGelu, .one_input = true},
                                 {.m = 1, .k = 80, .act = Activation::kGeluTanh, .one_input = true},
                                 {.m = 2, .k = 80, .act = Activation::kSilu, .one_input = true},
                                 {.m = 7, .k = 45, .one_input = true}};
constexpr CpuCase kScaledCases[] = {{.m = 3, .k = 77, .scale = 0.22f}};
constexpr CpuCase kSampleCases[] = {{.k = 49152}, {.k = 1}, {.k = 77}};
constexpr CpuCase kCacheCases[] = {
    {.m = 1, .heads = 9, .kv_heads = 3},
    {.m = 1, .heads = 9, .kv_heads = 3, .tokens = 332, .interleaved = true},
    {.m = 1, .heads = 9, .kv_heads = 3, .tokens = 500, .splits = 2},
    {.m = 1, .heads = 4, .kv_heads = 4, .tokens = 40, .splits = 5},
    {.m = 33, .heads = 9, .kv_heads = 3, .tokens = 60, .interleaved = true},
    {.m = 9, .heads = 8, .kv_heads = 1, .head_dim = 128, .tokens = 17, .page_tokens = 16},
    {.m = 2, .heads = 32, .kv_heads = 1, .head_dim = 32, .tokens = 99, .page_tokens = 20, .splits = 3},
    {.m = 7, .heads = 4, .kv_heads = 2, .head_dim = 6, .tokens = 5, .page_tokens = 4},
    {.m = 8, .heads = 2, .kv_heads = 2, .head_dim = 80, .tokens = 64, .page_tokens = 256},
    {.m = 1, .heads = 4, .kv_heads = 2, .tokens = 200, .cap = 2.0f, .window = 20, .rotary = 48},
    {.m = 40, .heads = 4, .kv_heads = 2, .tokens = 70, .window = 8, .rotary = 16},
    {.m = 1, .heads = 2, .kv_heads = 1, .tokens = 300, .splits = 3, .window = 33},
    {.m = 33, .heads = 9, .kv_heads = 3, .tokens = 60, .interleaved = true, .window = 64, .rotary = 32},
    {.m = 5, .heads = 2, .kv_heads = 1, .tokens = 20, .page_tokens = 16, .cap = 1.0f, .rotary = 0},
};

// Tolerances: sums of K products in f32; two roundings to f16 in the cache are the reference's too, but a value that
// lies between two halves may go either way after its rotation.
constexpr CpuRow kRows[] = {
    {OpKind::kLinear, "f32", WeightForm::kF32, {}, &CheckLinear, 1e-6f, 0, &LinearBytes, kLinearCases},
    {OpKind::kLinear, "f32", WeightForm::kF32, {}, &CheckLinear, 1e-6f, 0, &LinearBytes, kRaggedCases},
    {OpKind::kLinear, "f16", WeightForm::kF16, {}, &CheckLinear, 1e-6f, 0, &LinearBytes, kLinearCases},
    {OpKind::kLinear, "f16", WeightForm::kF16, {}, &CheckLinear, 1e-6f, 0, &LinearBytes, kRaggedCases},
    {OpKind::kLinear, "bf16", WeightForm::kBF16, {}, &CheckLinear, 1e-6f, 0, &LinearBytes, kLinearCases},
    {OpKind::kLinear, "bf16", WeightForm::kBF16, {}, &CheckLinear, 1e-6f, 0, &LinearBytes, kRaggedCases},
    {OpKind::kLinear, "i4", WeightForm::kI4, {}, &CheckLinear, 2e-6f, 0.02f, &LinearBytes, kLinearCases},
    {OpKind::kLinear, "i4_min", WeightForm::kI4Min, {}, &CheckLinear, 2e-6f, 0.02f, &LinearBytes, kLinearCases},
    {OpKind::kLinear, "i8", WeightForm::kI8, {}, &CheckLinear, 2e-6f, 0.02f, &LinearBytes, kLinearCases},
    {OpKind::kLinear, "i8_min", WeightForm::kI8Min, {}, &CheckLinear, 2e-6f, 0.02f, &LinearBytes, kLinearCases},
    {OpKind::kNorm, "f32", {}, {}, &CheckNorm, 1e-6f, 0, &PointBytes, kPointCases},
    {OpKind::kNorm, "traits", {}, {}, &CheckNorm, 1e-6f, 0, &PointBytes, kNormCases},
    {OpKind::kActMul, "f32", {}, {}, &CheckActMul, 1e-6f, 0, &PointBytes, kPointCases},
    {OpKind::kActMul, "traits", {}, {}, &CheckActMul, 1e-6f, 0, &PointBytes, kActCases},
    {OpKind::kAdd, "f32", {}, {}, &CheckAdd, 1e-6f, 0, &PointBytes, kPointCases},
    {OpKind::kAdd, "scaled", {}, {}, &CheckAdd, 1e-6f, 0, &PointBytes, kScaledCases},
    {OpKind::kSample, "f32", {}, {}, &CheckSample, 1e-6f, 0, &PointBytes, kSampleCases},
    {OpKind::kRopeAndStore, "kv_f32", {}, KvForm::kF32, &CheckRopeStore, 1e-6f, 0, &KvBytes, kCacheCases},
    {OpKind::kRopeAndStore, "kv_f16", {}, KvForm::kF16, &CheckRopeStore, 3e-4f, 0, &KvBytes, kCacheCases},
    {OpKind::kAttention, "kv_f32", {}, KvForm::kF32, &CheckAttention, 2e-6f, 0, &KvBytes, kCacheCases},
    {OpKind::kAttention, "kv_f16", {}, KvForm::kF16, &CheckAttention, 1e-4f, 0, &KvBytes, kCacheCases},
};

}  // namespace

std::span<const CpuRow> CpuRows() { return kRows; }

std::string CpuCaseName(const CpuRow& row, const CpuCase& c) {
  const std::string head = fmt::format("{} {} m={}", OpName(row.op), row.variant, c.m);
  if (row.op == OpKind::kLinear) return fmt::format("{} n={} k={}", head, c.n, c.k);
  if (row.op != OpKind::kAttention && row.op != OpKind::kRopeAndStore) return fmt::format("{} columns={}", head, c.k);
  return fmt::format("{} heads={}/{} dim={} tokens={} page={} splits={} window={}", head, c.heads, c.kv_heads,
                     c.head_dim, c.tokens + c.m, c.page_tokens, c.splits, c.window);
}

}  // namespace unimax
