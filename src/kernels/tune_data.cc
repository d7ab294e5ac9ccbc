// SPDX-License-Identifier: Apache-2.0
#include "kernels/tune_data.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/args.h"
#include "kernels/pack.h"
#include "kernels/reference.h"

namespace unimax {
namespace {

constexpr int kPageTokens = 32;
constexpr float kUnit = 1.7320508f;  // uniform values within this have variance 1

// Up to `most` of 0 .. count - 1, from the first to the last.
std::vector<int> Spread(int count, int most) {
  std::vector<int> picked;
  const int wanted = std::min(count, most);
  for (int i = 0; i < wanted; ++i) {
    picked.push_back(wanted == 1 ? 0 : static_cast<int>(int64_t{i} * (count - 1) / (wanted - 1)));
  }
  return picked;
}

std::vector<double> Widen(DType type, const std::vector<std::byte>& bytes) {
  std::vector<float> values(bytes.size() / static_cast<size_t>(Info(type).block_bytes));
  Dequantize(type, bytes.data(), values.size(), values.data());
  return {values.begin(), values.end()};
}

uint64_t WeightBytes(const Case& c) {
  const uint64_t plain = static_cast<uint64_t>(c.n) * static_cast<uint64_t>(c.k) * 4;
  return c.act == DType::kF32 ? plain : PackedBytes(c.n, c.k);
}

int PagesOf(const Case& c) { return (c.tokens + kPageTokens - 1) / kPageTokens; }
int SequencesOf(const Case& c) { return c.decode ? c.m : 1; }
// Elements of K, or of V.
int64_t CacheElements(const Case& c) {
  return int64_t{SequencesOf(c)} * PagesOf(c) * kPageTokens * c.attention.kv_heads * c.attention.head_dim;
}

class LinearData : public TuneData {
 public:
  LinearData(Device& device, const Case& c) : TuneData(device, c), gated_(c.flags & kLinearActMul) {
    out_ = gated_ ? c.n / 2 : c.n;
  }

  Status Fill(int sets, uint64_t seed) {
    const Case& c = case_;
    set_bytes_ = WeightBytes(c);
    const int64_t elements = static_cast<int64_t>(set_bytes_) * sets / ElementBytes();
    UM_ASSIGN_OR_RETURN(w_, Random(c.act, elements, seed, kUnit / std::sqrt(static_cast<float>(c.k))));
    UM_ASSIGN_OR_RETURN(x_, Random(c.act, int64_t{c.m} * c.k, seed + 1, kUnit));
    if (!c.bare) {
      UM_ASSIGN_OR_RETURN(bias_, Random(DType::kF32, c.n, seed + 2, 1));
    }
    if (c.residual) {
      UM_ASSIGN_OR_RETURN(residual_, Random(DType::kF32, int64_t{c.m} * out_, seed + 3, 1));
    }
    UM_ASSIGN_OR_RETURN(partial_, device_.Allocate(LinearSums(device_.limits()) * sizeof(float), "unfinished sums"));
    UM_ASSIGN_OR_RETURN(counters_,
                        device_.Allocate(LinearCounters(c.n, device_.limits()) * sizeof(int), "counters of panels"));
    UM_ASSIGN_OR_RETURN(words_, device_.Allocate(LinearWordBytes(device_.limits()), "words of panels"));
    UM_RETURN_IF_ERROR(device_.Fill(words_.data(), 0xff, words_.bytes()));
    output_type_ = c.flags & kLinearWide ? DType::kF32 : c.act;
    UM_ASSIGN_OR_RETURN(output_, Random(output_type_, int64_t{c.m} * out_, seed + 4, 1));
    return Reset();
  }

  Result<Launch> LaunchOn(const Row& row, int set) override {
    const Case& c = case_;
    const LinearOperands at = Operands(set);
    LinearArgs args{at.x, at.w, nullptr, nullptr, at.y,         c.m,     c.n,
                    c.k,  c.k,  out_,    c.flags, c.activation, c.scale, c.cap};
    args.bias = reinterpret_cast<const float*>(bias_.data());
    args.residual = reinterpret_cast<const float*>(residual_.data());
    args.partial = reinterpret_cast<float*>(partial_.data());
    args.counters = reinterpret_cast<int*>(counters_.data());
    args.words = reinterpret_cast<float*>(words_.data());
    return LaunchOf(device_, row, c, args);
  }

  LinearOperands Operands(int set) override {
    return {x_.data(), w_.data() + static_cast<uint64_t>(set) * set_bytes_, output_.data()};
  }

  Result<TuneSample> PlainReference() override {
    const std::vector<int> rows = Spread(case_.m, 16), columns = Spread(case_.n, 64);
    std::vector<double> x, w;
    for (const int r : rows) UM_RETURN_IF_ERROR(Append(case_.act, x_, int64_t{r} * case_.k, case_.k, &x));
    for (const int i : columns) UM_RETURN_IF_ERROR(Append(case_.act, w_, int64_t{i} * case_.k, case_.k, &w));
    TuneSample sample = At(rows, columns, case_.n);
    RefLinear(x.data(), w.data(), nullptr, nullptr, sample.values.data(), static_cast<int>(rows.size()),
              static_cast<int>(columns.size()), case_.k);
    return sample;
  }

  Result<TuneSample> Reference() override {
    const std::vector<int> rows = Spread(case_.m, 16), columns = Spread(out_, 64);
    const int m = static_cast<int>(rows.size()), n = static_cast<int>(columns.size()), k = case_.k;
    std::vector<double> x, w, up, bias, up_bias, residual;
    for (const int r : rows) {
      UM_RETURN_IF_ERROR(Append(case_.act, x_, int64_t{r} * k, k, &x));
      for (const int i : columns) {
        if (case_.residual) UM_RETURN_IF_ERROR(Append(DType::kF32, residual_, int64_t{r} * out_ + i, 1, &residual));
      }
    }
    for (const int i : columns) {
      UM_RETURN_IF_ERROR(AppendWeight(gated_ ? i / 16 * 32 + i % 16 : i, &w));
      if (gated_) UM_RETURN_IF_ERROR(AppendWeight(i / 16 * 32 + i % 16 + 16, &up));
      if (case_.bare) continue;
      UM_RETURN_IF_ERROR(Append(DType::kF32, bias_, i, 1, &bias));
      if (gated_) UM_RETURN_IF_ERROR(Append(DType::kF32, bias_, out_ + i, 1, &up_bias));
    }
    TuneSample sample = At(rows, columns, out_);
    const RefEpilogue epilogue{case_.activation, static_cast<double>(case_.scale), static_cast<double>(case_.cap)};
    const auto or_null = [](const std::vector<double>& values) { return values.empty() ? nullptr : values.data(); };
    RefLinear(x.data(), w.data(), or_null(bias), gated_ ? nullptr : or_null(residual), sample.values.data(), m, n, k,
              gated_ ? RefEpilogue() : epilogue);
    if (gated_) {
      std::vector<double> ups(sample.values.size());
      RefLinear(x.data(), up.data(), or_null(up_bias), nullptr, ups.data(), m, n, k);
      for (size_t i = 0; i < ups.size(); ++i) {
        const double product = RefAct(epilogue.act, sample.values[i]) * ups[i] * epilogue.scale;
        sample.values[i] = RefCap(product + (residual.empty() ? 0 : residual[i]), epilogue.cap);
      }
    }
    return sample;
  }

 private:
  static TuneSample At(const std::vector<int>& rows, const std::vector<int>& columns, int width) {
    TuneSample sample;
    for (const int r : rows) {
      for (const int i : columns) sample.at.push_back(static_cast<size_t>(r) * static_cast<size_t>(width) + i);
    }
    sample.values.resize(sample.at.size());
    return sample;
  }

  Status Append(DType type, const Buffer& from, int64_t first, int64_t count, std::vector<double>* to) {
    UM_ASSIGN_OR_RETURN(const std::vector<double> values,
                        Fetch(type, from.data() + first * Info(type).block_bytes, count));
    to->insert(to->end(), values.begin(), values.end());
    return {};
  }

  // Row `n` of the weight of set 0.
  Status AppendWeight(int n, std::vector<double>* to) {
    if (case_.act == DType::kF32) return Append(DType::kF32, w_, int64_t{n} * case_.k, case_.k, to);
    const int64_t strip = static_cast<int64_t>(PackedBytes(kPackRows, case_.k)) / 2;
    std::vector<double> tiles;
    UM_RETURN_IF_ERROR(Append(case_.act, w_, n / kPackRows * strip, strip, &tiles));
    for (int k = 0; k < case_.k; ++k) {
      const int in_tile = TileIndex(device_.limits().tile_order, n % kPackRows, k % kPackK);
      to->push_back(tiles[static_cast<size_t>(k / kPackK * kPackElements + in_tile)]);
    }
    return {};
  }

  bool gated_;
  int out_;
  uint64_t set_bytes_ = 0;
  Buffer x_, w_, bias_, residual_, words_;
};

class AttentionData : public TuneData {
 public:
  AttentionData(Device& device, const Case& c) : TuneData(device, c) {}

  Status Fill(int sets, uint64_t seed) {
    const Case& c = case_;
    const AttentionShape& a = c.attention;
    const int64_t q_cols = int64_t{a.heads} * a.head_dim;
    UM_ASSIGN_OR_RETURN(cache_, Random(c.act, CacheElements(c) * 2 * sets, seed, kUnit));
    UM_ASSIGN_OR_RETURN(q_, Random(c.act, c.m * q_cols, seed + 1, 2 * kUnit));
    output_type_ = c.act;
    UM_ASSIGN_OR_RETURN(output_, Random(c.act, c.m * q_cols, seed + 2, 1));
    for (int t = 0; t < c.m; ++t) {
      positions_.push_back(c.decode ? c.tokens - 1 : c.tokens - c.m + t);
      sequences_.push_back(c.decode ? t : 0);
    }
    // Pages lie in an order that no prefetcher guesses.
    const int pages = SequencesOf(c) * PagesOf(c);
    int stride = pages * 5 / 8 + 1;
    while (std::gcd(stride, pages) != 1) ++stride;
    for (int i = 0; i < pages; ++i) table_.push_back(static_cast<int>(int64_t{i} * stride % pages));
    for (const auto& [values, buffer] :
         {std::pair(&positions_, &device_positions_), std::pair(&sequences_, &device_sequences_),
          std::pair(&table_, &device_table_)}) {
      UM_ASSIGN_OR_RETURN(*buffer, device_.Allocate(values->size() * sizeof(int), "pages"));
      UM_RETURN_IF_ERROR(device_.Upload(buffer->data(), values->data(), values->size() * sizeof(int)));
    }
    const auto states = static_cast<size_t>(c.m) * static_cast<size_t>(a.heads);
    const auto splits = static_cast<size_t>(AttentionSplits(c, device_.limits()));
    UM_ASSIGN_OR_RETURN(partial_,
                        device_.Allocate(states * splits * static_cast<size_t>(a.head_dim + 2) * 4, "attention sums"));
    UM_ASSIGN_OR_RETURN(counters_, device_.Allocate(states * sizeof(int), "attention counters"));
    const auto words = static_cast<size_t>(RingBytes(a, false, device_.limits()));
    UM_ASSIGN_OR_RETURN(words_, device_.Allocate(words, "words of ring rows"));
    UM_RETURN_IF_ERROR(device_.Fill(words_.data(), 0xff, words));
    return Reset();
  }

  Result<Launch> LaunchOn(const Row& row, int set) override {
    const Case& c = case_;
    const AttentionShape& a = c.attention;
    AttentionArgs args{};
    args.q = q_.data();
    args.k_cache = Keys(set);
    args.v_cache = Keys(set) + CacheElements(c) * ElementBytes();
    args.y = output_.data();
    args.positions = Ints(device_positions_);
    args.sequences = Ints(device_sequences_);
    args.page_table = Ints(device_table_);
    args.partial = reinterpret_cast<float*>(partial_.data());
    args.counters = reinterpret_cast<int*>(counters_.data());
    args.m = c.m;
    args.heads = a.heads;
    args.kv_heads = a.kv_heads;
    args.head_dim = a.head_dim;
    args.q_stride = a.heads * a.head_dim;
    args.page_tokens = kPageTokens;
    args.max_pages = PagesOf(c);
    args.splits = AttentionSplits(c, device_.limits());
    args.scale = a.scale;
    args.cap = c.cap;
    args.window = c.window;
    args.words = words_.data();
    return LaunchOf(device_, row, c, args);
  }

  Result<TuneSample> Reference() override {
    const AttentionShape& a = case_.attention;
    const int group = a.heads / a.kv_heads, dim = a.head_dim;
    TuneSample sample;
    for (const int t : Spread(case_.m, 2)) {
      for (const int kv : Spread(a.kv_heads, 2)) {
        const int tokens = positions_[static_cast<size_t>(t)] + 1;
        std::vector<double> keys, values;
        for (int page = 0; page * kPageTokens < tokens; ++page) {
          const int sequence = sequences_[static_cast<size_t>(t)];
          const int place = table_[static_cast<size_t>(sequence) * PagesOf(case_) + page];
          const int64_t first = (int64_t{place} * a.kv_heads + kv) * kPageTokens * dim;
          for (const auto& [to, offset] : {std::pair(&keys, int64_t{0}), std::pair(&values, CacheElements(case_))}) {
            UM_ASSIGN_OR_RETURN(const std::vector<double> part,
                                Fetch(case_.act, Keys(0) + (offset + first) * ElementBytes(), kPageTokens * dim));
            to->insert(to->end(), part.begin(), part.end());
          }
        }
        const int64_t at = (int64_t{t} * a.heads + kv * group) * dim;
        UM_ASSIGN_OR_RETURN(const std::vector<double> q,
                            Fetch(case_.act, q_.data() + at * ElementBytes(), int64_t{group} * dim));
        std::vector<double> y(q.size());
        RefAttentionRow(q.data(), keys.data(), values.data(), y.data(), tokens, group, 1, dim,
                        static_cast<double>(a.scale), static_cast<double>(case_.cap), case_.window);
        for (size_t i = 0; i < y.size(); ++i) sample.at.push_back(static_cast<size_t>(at) + i);
        sample.values.insert(sample.values.end(), y.begin(), y.end());
      }
    }
    return sample;
  }

 private:
  const std::byte* Keys(int set) const { return cache_.data() + CacheElements(case_) * 2 * ElementBytes() * set; }
  static int* Ints(const Buffer& buffer) { return reinterpret_cast<int*>(buffer.data()); }

  std::vector<int> positions_, sequences_, table_;
  Buffer q_, cache_, device_positions_, device_sequences_, device_table_;
  Buffer words_;  // of ring rows, which leave them as they were
};

}  // namespace

double TuneData::SetBytes(const Case& c) {
  if (c.op == OpKind::kLinear) return static_cast<double>(WeightBytes(c));
  return 2.0 * static_cast<double>(CacheElements(c)) * Info(c.act).block_bytes;
}

Result<std::unique_ptr<TuneData>> TuneData::Make(Device& device, const Case& c, int sets, uint64_t seed) {
  if (c.op == OpKind::kLinear) {
    auto data = std::make_unique<LinearData>(device, c);
    UM_RETURN_IF_ERROR(data->Fill(sets, seed * 8));
    return std::unique_ptr<TuneData>(std::move(data));
  }
  if (c.op != OpKind::kAttention) return Internal("{} has no data to measure rows with", OpName(c.op));
  auto data = std::make_unique<AttentionData>(device, c);
  UM_RETURN_IF_ERROR(data->Fill(sets, seed * 8));
  return std::unique_ptr<TuneData>(std::move(data));
}

Result<Buffer> TuneData::Random(DType type, int64_t count, uint64_t seed, float scale) {
  UM_ASSIGN_OR_RETURN(
      Buffer buffer,
      device_.Allocate(static_cast<size_t>(count) * static_cast<size_t>(Info(type).block_bytes), "random values"));
  const char* name = type == DType::kF32    ? "fill_random_f32"
                     : type == DType::kBF16 ? "fill_random_bf16"
                                            : "fill_random_f16";
  UM_ASSIGN_OR_RETURN(const Kernel kernel, device_.FindKernel(name));
  Launch launch = Launch::Of(kernel, FillRandomArgs{buffer.data(), count, seed << 40, scale, 0.0f});
  launch.threads = 256;
  launch.grid_x = static_cast<int>(std::clamp<int64_t>(count / 4096, 1, 1024));
  UM_RETURN_IF_ERROR(device_.Run(launch));
  return buffer;
}

Result<std::vector<double>> TuneData::Fetch(DType type, const std::byte* from, int64_t count) {
  std::vector<std::byte> bytes(static_cast<size_t>(count) * static_cast<size_t>(Info(type).block_bytes));
  UM_RETURN_IF_ERROR(device_.Download(bytes.data(), from, bytes.size()));
  return Widen(type, bytes);
}

// A row that failed may have left counters that are not zero. The output becomes NaN in every type.
Status TuneData::Reset() {
  UM_RETURN_IF_ERROR(device_.Fill(counters_.data(), 0, counters_.bytes()));
  return device_.Fill(output_.data(), 0xff, output_.bytes());
}

Result<std::vector<double>> TuneData::Output() {
  return Fetch(output_type_, output_.data(), static_cast<int64_t>(output_.bytes()) / Info(output_type_).block_bytes);
}

}  // namespace unimax
