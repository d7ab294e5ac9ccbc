// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "kernels/chain.h"
#include "kernels/check_draw.h"
#include "kernels/check_linear.h"
#include "kernels/pack.h"
#include "kernels/reference.h"
#include "kernels/table.h"

namespace unimax {
namespace {

constexpr float kEps = 1e-5f;
constexpr int kPageTokens = 32, kMaxPages = 3;
constexpr float kScale = 0.5f;  // of what is added to the stream

// Odd numbers of rows, outputs that end within a panel, panels that blocks have to themselves and panels that many
// share, x longer than a stage and shorter; one link alone, and what a layer has.
constexpr ChainCase kCases[] = {{17, 256, 512, 1024, 768, 4},
                                {32, 4096, 4096, 3072, 6144, 4},
                                {29, 96, 160, 224, 96, 4},
                                {32, 1024, 2048, 8192, 3072, 3},
                                {33, 4096, 4096, 1536, 4096, 4},
                                {64, 512, 5120, 1024, 1536, 4},
                                {50, 160, 96, 32, 1056, 4},
                                {64, 2048, 2048, 2048, 2048, 2},
                                {24, 14336, 4096, 512, 1024, 1},
                                {32, 256, 1024, 14336, 512, 3},
                                {45, 2048, 2048, 8192, 3072, 4},
                                {9, 256, 1024, 512, 512, 4, 2, 1},
                                {64, 256, 1024, 512, 1536, 4, 4, 4},
                                {1, 2048, 2048, 8192, 3072, 4},
                                {8, 4096, 4096, 1024, 6144, 4, 32, 8},
                                {16, 512, 768, 1024, 1152, 4, 3, 3, true},
                                {33, 2048, 2048, 4096, 6144, 4, 16, 16, true},
                                {64, 1024, 1024, 4096, 3072, 4, 0, 0, true}};

struct Matrix {
  std::vector<double> values;
  Buffer packed;
};

class ChainCheck {
 public:
  ChainCheck(Device& device, const ChainCase& c, uint64_t seed) : device_(device), case_(c), random_(seed) {}
  Result<CheckResult> Run(int repeats);

 private:
  double Draw(double scale) { return RoundedTo(static_cast<double>(draw_(random_)) * scale); }
  static double RoundedTo(double v) { return static_cast<double>(BF16ToFloat(FloatToBF16(static_cast<float>(v)))); }
  std::vector<double> Values(int64_t count, double scale) {
    std::vector<double> values(static_cast<size_t>(count));
    for (double& v : values) v = Draw(scale);
    return values;
  }
  Result<Buffer> Upload(const std::vector<double>& values, DType type);
  Result<Matrix> Weights(int n, int k);
  Result<Buffer> Poisoned(int64_t bytes);
  Result<Buffer> UploadInts(const std::vector<int>& values);
  int64_t CacheCount() const { return static_cast<int64_t>(pages_.size()) * case_.kv_heads * kPageTokens * kChainHead; }
  Result<ChainArgs> Args(const std::vector<Matrix>& w);
  float OffsetBehind(int l) const { return l == 0 || case_.layer ? 0 : 1; }  // of the norm behind link `l`
  std::vector<double> NormOf(const std::vector<double>& x, int l) const;
  // What link `l` leaves of x; `stream` is the residual stream before and after.
  std::vector<double> After(int l, const std::vector<double>& x, const Matrix& w);
  Status AddRope(ChainArgs* args);
  // What makes up for the layer norm before a link.
  Status Fold(const Matrix& w, int l, ChainLink* link);
  // Queries, then what stands in the pages, of each row: as they are, and as they should be of `y` before they turn.
  Result<CheckResult> CompareTurned(std::vector<double> y);

  Device& device_;
  const ChainCase& case_;
  std::mt19937_64 random_;
  std::normal_distribution<float> draw_;
  std::vector<double> x_, stream_, norm_[2], bias_;
  std::vector<double> norm_bias_[2], normed_bias_[2];  // of layer norms and of the products behind them
  std::vector<int> positions_, pages_;
  std::vector<double> inv_freq_;
  Buffer cos_sin_, rows_, sequences_, table_, keys_, values_;
  Buffer device_x_, device_stream_, device_norm_[2], device_bias_, normed_, wide_, out_, words_, slope_[2], folded_[2];
};

// Outputs and inputs of each link.
struct Sizes {
  int n, k;
};
Sizes SizesOf(const ChainCase& c, int l) {
  const int up = c.layer ? c.wide : 2 * c.wide;
  const Sizes sizes[kChainLinks] = {{c.hidden, c.in}, {up, c.hidden}, {c.hidden, c.wide}, {c.out, c.hidden}};
  return sizes[l];
}

Result<Buffer> ChainCheck::Upload(const std::vector<double>& values, DType type) {
  std::vector<float> wide(values.begin(), values.end());
  std::vector<uint16_t> narrow;
  for (float v : wide) narrow.push_back(FloatToBF16(v));
  const bool f32 = type == DType::kF32;
  UM_ASSIGN_OR_RETURN(Buffer buffer, device_.Allocate(values.size() * (f32 ? 4 : 2), "check"));
  UM_RETURN_IF_ERROR(
      device_.Upload(buffer.data(), f32 ? static_cast<const void*>(wide.data()) : narrow.data(), buffer.bytes()));
  return buffer;
}

Result<Buffer> ChainCheck::UploadInts(const std::vector<int>& values) {
  UM_ASSIGN_OR_RETURN(Buffer buffer, device_.Allocate(values.size() * sizeof(int), "check"));
  UM_RETURN_IF_ERROR(device_.Upload(buffer.data(), values.data(), buffer.bytes()));
  return buffer;
}

Result<Buffer> ChainCheck::Poisoned(int64_t bytes) {
  UM_ASSIGN_OR_RETURN(Buffer buffer, device_.Allocate(static_cast<size_t>(bytes), "check output"));
  UM_RETURN_IF_ERROR(device_.Fill(buffer.data(), 0xff, buffer.bytes()));
  return buffer;
}

Result<Matrix> ChainCheck::Weights(int n, int k) {
  Matrix w;
  w.values = Values(int64_t{n} * k, 1 / std::sqrt(static_cast<double>(k)));
  std::vector<uint16_t> packed(PackedBytes(n, k) / 2);
  std::vector<float> row(static_cast<size_t>(k));
  PackStrips(
      device_.limits().tile_order, DType::kBF16, 0, n / kPackRows, k,
      [&](int r) -> const float* {
        std::copy_n(w.values.begin() + int64_t{r} * k, k, row.begin());
        return row.data();
      },
      packed.data());
  UM_ASSIGN_OR_RETURN(w.packed, device_.Allocate(packed.size() * 2, "check weights"));
  UM_RETURN_IF_ERROR(device_.Upload(w.packed.data(), packed.data(), packed.size() * 2));
  return w;
}

Result<ChainArgs> ChainCheck::Args(const std::vector<Matrix>& w) {
  const int m = case_.m;
  x_ = Values(int64_t{m} * case_.in, 1);
  stream_ = Values(int64_t{m} * case_.hidden, 1);
  if (case_.layer) {
    for (double& v : stream_) v += 0.5;  // a mean
  }
  bias_ = Values(case_.hidden, 1);
  UM_ASSIGN_OR_RETURN(device_x_, Upload(x_, DType::kBF16));
  UM_ASSIGN_OR_RETURN(device_stream_, Upload(stream_, DType::kF32));
  UM_ASSIGN_OR_RETURN(device_bias_, Upload(bias_, DType::kF32));
  for (int i = 0; i < 2; ++i) {
    norm_[i] = Values(case_.hidden, 1);
    UM_ASSIGN_OR_RETURN(device_norm_[i], Upload(norm_[i], DType::kF32));
  }
  UM_ASSIGN_OR_RETURN(normed_, Poisoned(int64_t{2} * m * case_.hidden));
  UM_ASSIGN_OR_RETURN(wide_, Poisoned(int64_t{2} * m * case_.wide));
  UM_ASSIGN_OR_RETURN(out_, Poisoned(int64_t{2} * m * case_.out));
  UM_ASSIGN_OR_RETURN(words_, Poisoned(LinearWordBytes(device_.limits())));
  const std::byte* x[kChainLinks] = {device_x_.data(), normed_.data(), wide_.data(), normed_.data()};
  std::byte* y[kChainLinks] = {device_stream_.data(), wide_.data(), device_stream_.data(), out_.data()};
  ChainArgs args{};
  args.links = case_.links;
  for (int l = 0; l < case_.links; ++l) {
    ChainLink& link = args.link[l];
    const Sizes size = SizesOf(case_, l);
    link.x = x[l];
    link.w = w[static_cast<size_t>(l)].packed.data();
    link.y = y[l];
    link.m = m;
    link.n = size.n;
    link.k = link.x_stride = size.k;
    link.y_stride = l == 1 ? case_.wide : size.n;
    link.eps = kEps;
    link.words = reinterpret_cast<float*>(words_.data());
    if (case_.layer && l % 2 == 1) UM_RETURN_IF_ERROR(Fold(w[static_cast<size_t>(l)], l, &link));
    if (l == 1 && case_.layer) {
      link.act = Activation::kRelu;
    } else if (l == 1) {
      link.flags = kLinearActMul;
      link.act = Activation::kSilu;
    }
    if (l == 3 || l == 1) continue;
    link.flags = kLinearWide;
    link.bias = reinterpret_cast<const float*>(device_bias_.data());
    link.residual = reinterpret_cast<const float*>(device_stream_.data());
    link.scale = kScale;
    if (l + 1 == case_.links) continue;
    link.norm = reinterpret_cast<const float*>(device_norm_[l / 2].data());
    link.normed = normed_.data();
    link.offset = OffsetBehind(l);
  }
  return args;
}

Status ChainCheck::Fold(const Matrix& w, int l, ChainLink* link) {
  const auto norm = static_cast<size_t>(l / 2);
  const Sizes size = SizesOf(case_, l);
  norm_bias_[norm] = Values(size.k, 1);
  normed_bias_[norm] = Values(size.n, 1);
  std::vector<double> slope(static_cast<size_t>(size.n)), folded = normed_bias_[norm];
  for (int n = 0; n < size.n; ++n) {
    for (int k = 0; k < size.k; ++k) {
      const auto at = static_cast<size_t>(n);
      const double v = w.values[at * static_cast<size_t>(size.k) + static_cast<size_t>(k)];
      slope[at] += v * norm_[norm][static_cast<size_t>(k)];
      folded[at] += v * norm_bias_[norm][static_cast<size_t>(k)];
    }
  }
  UM_ASSIGN_OR_RETURN(slope_[norm], Upload(slope, DType::kF32));
  UM_ASSIGN_OR_RETURN(folded_[norm], Upload(folded, DType::kF32));
  link->slope = reinterpret_cast<const float*>(slope_[norm].data());
  link->bias = reinterpret_cast<const float*>(folded_[norm].data());
  return {};
}

Status ChainCheck::AddRope(ChainArgs* args) {
  std::vector<int> sequences;
  for (int t = 0; t < case_.m; ++t) {
    positions_.push_back(t * 37 % (kMaxPages * kPageTokens));
    sequences.push_back(t);
    for (int p = 0; p < kMaxPages; ++p) pages_.push_back(t * kMaxPages + p);
  }
  std::shuffle(pages_.begin(), pages_.end(), random_);
  for (int i = 0; i < kChainHead / 2; ++i) inv_freq_.push_back(std::pow(10000.0, -2.0 * i / kChainHead));
  const std::vector<float> table = CosSinTable(inv_freq_, 1.0, kMaxPages * kPageTokens);
  UM_ASSIGN_OR_RETURN(cos_sin_, Upload(std::vector<double>(table.begin(), table.end()), DType::kF32));
  UM_ASSIGN_OR_RETURN(rows_, UploadInts(positions_));
  UM_ASSIGN_OR_RETURN(sequences_, UploadInts(sequences));
  UM_ASSIGN_OR_RETURN(table_, UploadInts(pages_));
  UM_ASSIGN_OR_RETURN(keys_, Poisoned(2 * CacheCount()));
  UM_ASSIGN_OR_RETURN(values_, Poisoned(2 * CacheCount()));
  const auto ints = [](const Buffer& b) { return reinterpret_cast<const int*>(b.data()); };
  args->rope = {out_.data(),    nullptr,        nullptr,
                keys_.data(),   values_.data(), reinterpret_cast<const float*>(cos_sin_.data()),
                ints(rows_),    ints(rows_),    ints(sequences_),
                ints(table_),   case_.m,        case_.heads,
                case_.kv_heads, kChainHead,     case_.out,
                kPageTokens,    kMaxPages,      0,
                kChainHead};
  if (case_.layer) {
    args->rope.rotary = 0;
    args->rope.cos_sin = nullptr;
  }
  return {};
}

Result<CheckResult> ChainCheck::CompareTurned(std::vector<double> y) {
  const int64_t outputs = int64_t{case_.m} * case_.out;
  UM_ASSIGN_OR_RETURN(const std::vector<double> q, FetchValues(device_, DType::kBF16, out_, outputs));
  UM_ASSIGN_OR_RETURN(const std::vector<double> k, FetchValues(device_, DType::kBF16, keys_, CacheCount()));
  UM_ASSIGN_OR_RETURN(const std::vector<double> v, FetchValues(device_, DType::kBF16, values_, CacheCount()));
  std::vector<double> got;
  for (int t = 0; t < case_.m; ++t) {
    const int position = positions_[static_cast<size_t>(t)], heads = case_.heads + case_.kv_heads;
    RefRope(y.data() + int64_t{t} * case_.out, &position, inv_freq_.data(), 1.0, false, 1, heads, kChainHead,
            case_.layer ? 0 : kChainHead);
    const auto row = q.begin() + int64_t{t} * case_.out;
    got.insert(got.end(), row, row + case_.heads * kChainHead);
    const int64_t page = pages_[static_cast<size_t>(t * kMaxPages + position / kPageTokens)];
    for (const std::vector<double>* from : {&k, &v}) {
      for (int h = 0; h < case_.kv_heads; ++h) {
        const int64_t line = (page * case_.kv_heads + h) * kPageTokens + position % kPageTokens;
        const auto at = from->begin() + line * kChainHead;
        got.insert(got.end(), at, at + kChainHead);
      }
    }
  }
  UM_ASSIGN_OR_RETURN(const Buffer joined, Upload(got, DType::kF32));
  return CompareWith(device_, DType::kF32, joined, y);
}

// Of the stream, before link `l`: the kernel rounds before it takes off the mean and divides.
std::vector<double> ChainCheck::NormOf(const std::vector<double>& x, int l) const {
  const std::vector<double>&weight = norm_[l / 2], &bias = norm_bias_[l / 2];
  const size_t cols = weight.size();
  std::vector<double> y(x.size());
  for (size_t row = 0; row < x.size(); row += cols) {
    double mean = 0, squares = 0;
    for (size_t i = 0; i < cols; ++i) mean += case_.layer ? x[row + i] / static_cast<double>(cols) : 0;
    for (size_t i = 0; i < cols; ++i) squares += (x[row + i] - mean) * (x[row + i] - mean);
    const double root = std::sqrt(squares / static_cast<double>(cols) + static_cast<double>(kEps));
    for (size_t i = 0; i < cols; ++i) {
      const double scale = weight[i] + static_cast<double>(OffsetBehind(l - 1));
      y[row + i] = (RoundedTo(x[row + i] * scale) - mean * scale) / root + (case_.layer ? bias[i] : 0);
    }
  }
  return y;
}

std::vector<double> ChainCheck::After(int l, const std::vector<double>& x, const Matrix& w) {
  const Sizes size = SizesOf(case_, l);
  Case c;
  c.m = case_.m;
  c.n = size.n;
  c.k = size.k;
  if (l % 2 == 0) {
    c.scale = kScale;
    stream_ = LinearReference(c, x.data(), w.values.data(), bias_.data(), stream_.data());
    return stream_;
  }
  const std::vector<double> normed = NormOf(x, l);
  if (l == 1) {
    c.flags = case_.layer ? 0 : kLinearActMul;
    c.activation = case_.layer ? Activation::kRelu : Activation::kSilu;
  }
  const double* bias = case_.layer ? normed_bias_[l / 2].data() : nullptr;
  std::vector<double> y = LinearReference(c, normed.data(), w.values.data(), bias, nullptr);
  for (double& v : y) v = l == 1 ? RoundedTo(v) : v;
  return y;
}

Result<CheckResult> ChainCheck::Run(int repeats) {
  std::vector<Matrix> w;
  for (int l = 0; l < case_.links; ++l) {
    UM_ASSIGN_OR_RETURN(Matrix matrix, Weights(SizesOf(case_, l).n, SizesOf(case_, l).k));
    w.push_back(std::move(matrix));
  }
  UM_ASSIGN_OR_RETURN(ChainArgs args, Args(w));
  if (case_.heads > 0) UM_RETURN_IF_ERROR(AddRope(&args));
  UM_ASSIGN_OR_RETURN(const ChainMemory memory, ChainMemory::Make(device_));
  memory.AddTo(&args);
  UM_ASSIGN_OR_RETURN(const Launch launch, LaunchOfChain(device_, args));
  UM_RETURN_IF_ERROR(device_.Run(launch));
  UM_RETURN_IF_ERROR(device_.Synchronize());
  UM_ASSIGN_OR_RETURN(const bool clean, memory.IsClean(device_));
  if (!clean) return Internal("a chain has not left its memory as it was");
  std::vector<double> last = x_, narrow;
  for (int l = 0; l < case_.links; ++l) {
    last = After(l, last, w[static_cast<size_t>(l)]);
    if (l % 2 == 1) narrow = last;
  }
  UM_ASSIGN_OR_RETURN(CheckResult result, CompareWith(device_, DType::kF32, device_stream_, stream_));
  if (!narrow.empty()) {
    const Buffer& of = case_.links == kChainLinks ? out_ : wide_;
    UM_ASSIGN_OR_RETURN(const CheckResult other, case_.heads > 0 ? CompareTurned(std::move(narrow))
                                                                 : CompareWith(device_, DType::kBF16, of, narrow));
    result.error = std::max(result.error, other.error);
    result.norm = std::min(result.norm, other.norm);
  }
  UM_ASSIGN_OR_RETURN(result.microseconds, MedianMicroseconds(device_, launch, repeats));
  return result;
}

}  // namespace

std::span<const ChainCase> ChainCases() { return kCases; }

std::string ChainCaseName(const ChainCase& c) {
  return fmt::format("m={} in={} hidden={} wide={} out={} links={}{}{}", c.m, c.in, c.hidden, c.wide, c.out, c.links,
                     c.heads > 0 ? fmt::format(" heads={}/{}", c.heads, c.kv_heads) : "", c.layer ? " layer" : "");
}

Result<CheckResult> CheckChain(Device& device, const ChainCase& c, uint64_t seed, int repeats) {
  return ChainCheck(device, c, seed).Run(repeats);
}

}  // namespace unimax
