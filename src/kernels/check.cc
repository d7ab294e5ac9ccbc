// SPDX-License-Identifier: Apache-2.0
#include "kernels/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "kernels/args.h"
#include "kernels/check_draw.h"
#include "kernels/check_linear.h"
#include "kernels/pack.h"
#include "kernels/reference.h"

namespace unimax {
namespace {

constexpr int kPageTokens = 32;

// Values of one tensor: as the device sees them (rounded) and in double for the reference.
struct Tensor {
  std::vector<double> exact;
  Buffer device;
};

struct Pages;

class Checker {
 public:
  Checker(Device& device, const Row& row, const Case& c, uint64_t seed, int repeats)
      : device_(device), row_(row), case_(c), random_(seed), repeats_(repeats) {}

  Result<CheckResult> Run();

 private:
  float Draw() { return std::normal_distribution<float>()(random_); }
  static float Round(DType type, float v) {
    if (type == DType::kF32) return v;
    return type == DType::kBF16 ? BF16ToFloat(FloatToBF16(v)) : F16ToFloat(FloatToF16(v));
  }
  Result<Tensor> Random(DType type, int64_t count, float scale = 1.0f);
  Result<Buffer> UploadAs(DType type, const std::vector<double>& values);
  Result<Buffer> UploadPacked(const std::vector<double>& w, int n, int k);
  Result<Buffer> UploadInts(const std::vector<int>& values);
  Result<Buffer> Poisoned(DType type, int64_t count);
  static float* Floats(const Buffer& b) { return reinterpret_cast<float*>(b.data()); }
  static int* Ints(const Buffer& b) { return reinterpret_cast<int*>(b.data()); }
  template <class Args>
  Status Launch(const Args& args);
  // Of the last launch again, after its first result was fetched: rows that work in place may be repeated on any
  // values. The buffers of the case must still be there.
  Result<double> Median() { return MedianMicroseconds(device_, launch_, repeats_); }
  Result<CheckResult> Compare(DType type, const Buffer& out, const std::vector<double>& reference);

  Result<CheckResult> Embed();
  Result<CheckResult> AddPosition();
  Result<CheckResult> Norm();
  Result<CheckResult> Linear();
  Result<CheckResult> RopeAndStore();
  Result<CheckResult> Attention();
  Status SpoilUnseen(const Pages& pages, Tensor* cache);
  Result<bool> SameAlone(const AttentionArgs& args, const Buffer& y);
  Result<CheckResult> ActMul();
  Result<CheckResult> Add();
  Result<CheckResult> Select();
  Result<CheckResult> Sample();

  Device& device_;
  const Row& row_;
  const Case& case_;
  std::mt19937_64 random_;
  int repeats_;
  unimax::Launch launch_;
};

Result<Buffer> Checker::UploadAs(DType type, const std::vector<double>& values) {
  UM_ASSIGN_OR_RETURN(Buffer buffer, device_.Allocate(values.size() * Info(type).block_bytes, "check"));
  if (type == DType::kF32) {
    std::vector<float> f(values.begin(), values.end());
    UM_RETURN_IF_ERROR(device_.Upload(buffer.data(), f.data(), f.size() * 4));
  } else {
    std::vector<uint16_t> h;
    h.reserve(values.size());
    for (double v : values) h.push_back(RoundTo(type, static_cast<float>(v)));
    UM_RETURN_IF_ERROR(device_.Upload(buffer.data(), h.data(), h.size() * 2));
  }
  return buffer;
}

Result<Tensor> Checker::Random(DType type, int64_t count, float scale) {
  Tensor t;
  t.exact.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) t.exact.push_back(Round(type, Draw() * scale));
  UM_ASSIGN_OR_RETURN(t.device, UploadAs(type, t.exact));
  return t;
}

Result<Buffer> Checker::UploadPacked(const std::vector<double>& w, int n, int k) {
  std::vector<uint16_t> packed(PackedBytes(n, k) / 2);
  std::vector<float> values(static_cast<size_t>(k));
  PackStrips(
      device_.limits().tile_order, row_.act, 0, (n + kPackRows - 1) / kPackRows, k,
      [&](int r) -> const float* {
        if (r >= n) return nullptr;
        for (int i = 0; i < k; ++i)
          values[static_cast<size_t>(i)] = static_cast<float>(w[static_cast<size_t>(int64_t{r} * k + i)]);
        return values.data();
      },
      packed.data());
  UM_ASSIGN_OR_RETURN(Buffer buffer, device_.Allocate(packed.size() * 2, "check weights"));
  UM_RETURN_IF_ERROR(device_.Upload(buffer.data(), packed.data(), packed.size() * 2));
  return buffer;
}

Result<Buffer> Checker::UploadInts(const std::vector<int>& values) {
  UM_ASSIGN_OR_RETURN(Buffer buffer, device_.Allocate(values.size() * sizeof(int), "check"));
  UM_RETURN_IF_ERROR(device_.Upload(buffer.data(), values.data(), values.size() * sizeof(int)));
  return buffer;
}

// NaN in every type, so that an element that is not written is noticed.
Result<Buffer> Checker::Poisoned(DType type, int64_t count) {
  const size_t bytes = static_cast<size_t>(count) * static_cast<size_t>(Info(type).block_bytes);
  UM_ASSIGN_OR_RETURN(Buffer buffer, device_.Allocate(bytes, "check output"));
  UM_RETURN_IF_ERROR(device_.Fill(buffer.data(), 0xff, bytes));
  return buffer;
}

template <class Args>
Status Checker::Launch(const Args& args) {
  UM_ASSIGN_OR_RETURN(launch_, LaunchOf(device_, row_, case_, args));
  UM_RETURN_IF_ERROR(device_.Run(launch_));
  return device_.Synchronize();
}

Result<CheckResult> Checker::Compare(DType type, const Buffer& out, const std::vector<double>& reference) {
  UM_ASSIGN_OR_RETURN(CheckResult result, CompareWith(device_, type, out, reference));
  UM_ASSIGN_OR_RETURN(result.microseconds, Median());
  return result;
}

Result<CheckResult> Checker::Embed() {
  constexpr int kVocab = 100;  // not a multiple of 16
  const int cols = case_.n;
  const bool packed = row_.act != DType::kF32;
  UM_ASSIGN_OR_RETURN(Tensor table, Random(row_.act, int64_t{kVocab} * cols));
  if (packed) {
    UM_ASSIGN_OR_RETURN(table.device, UploadPacked(table.exact, kVocab, cols));
  }
  std::vector<int> ids;
  for (int i = 0; i < case_.m; ++i) ids.push_back(static_cast<int>(random_() % kVocab));
  // Every other one as a step names it that was launched before the step before it gave its ids.
  std::vector<int> named = ids, chosen;
  for (size_t i = 1; i < ids.size(); i += 2) {
    chosen.push_back(ids[i]);
    named[i] = -static_cast<int>(chosen.size());
  }
  chosen.push_back(-1);
  UM_ASSIGN_OR_RETURN(Buffer device_ids, UploadInts(named));
  UM_ASSIGN_OR_RETURN(Buffer device_chosen, UploadInts(chosen));
  UM_ASSIGN_OR_RETURN(Buffer y, Poisoned(DType::kF32, int64_t{case_.m} * cols));
  UM_RETURN_IF_ERROR(Launch(EmbedArgs{reinterpret_cast<int*>(device_ids.data()), table.device.data(),
                                      reinterpret_cast<float*>(y.data()), case_.m, cols, kVocab, case_.scale,
                                      reinterpret_cast<int*>(device_chosen.data())}));
  std::vector<double> reference(static_cast<size_t>(case_.m) * cols);
  RefEmbed(ids.data(), table.exact.data(), reference.data(), case_.m, cols, case_.scale);
  return Compare(DType::kF32, y, reference);
}

Result<CheckResult> Checker::AddPosition() {
  constexpr int kRows = 70, kFirst = 2;
  const int64_t count = int64_t{case_.m} * case_.n;
  UM_ASSIGN_OR_RETURN(Tensor x, Random(DType::kF32, count));
  UM_ASSIGN_OR_RETURN(Tensor table, Random(DType::kF32, int64_t{kRows} * case_.n));
  std::vector<int> positions;
  for (int i = 0; i < case_.m; ++i) positions.push_back(static_cast<int>(random_() % (kRows - kFirst)));
  UM_ASSIGN_OR_RETURN(Buffer device_positions, UploadInts(positions));
  float* in_place = Floats(x.device);
  UM_RETURN_IF_ERROR(
      Launch(AddPositionArgs{in_place, Floats(table.device), reinterpret_cast<int*>(device_positions.data()), in_place,
                             case_.m, case_.n, kRows, kFirst}));
  std::vector<double> reference(static_cast<size_t>(count));
  RefAddPosition(x.exact.data(), table.exact.data(), positions.data(), reference.data(), case_.m, case_.n, kFirst);
  return Compare(DType::kF32, x.device, reference);
}

// Where in and out have one type, the norm works in place, within rows that are longer than their heads.
Result<CheckResult> Checker::Norm() {
  constexpr float kEps = 1e-5f;
  constexpr int kBeyond = 3;
  const DType in = case_.flags & kNormNarrowIn ? row_.act : DType::kF32;
  const DType out = case_.flags & kNormWideOut ? DType::kF32 : row_.act;
  const bool in_place = in == out;
  const int run = case_.groups * case_.n, stride = in_place ? run + kBeyond : run;
  const bool layer = case_.flags & kNormLayer;
  UM_ASSIGN_OR_RETURN(Tensor x, Random(in, int64_t{case_.m} * stride, 3.0f));
  UM_ASSIGN_OR_RETURN(Tensor w, Random(DType::kF32, case_.n));
  UM_ASSIGN_OR_RETURN(Tensor bias, Random(DType::kF32, case_.n));
  UM_ASSIGN_OR_RETURN(Buffer fresh, Poisoned(out, int64_t{case_.m} * stride));
  const Buffer& y = in_place ? x.device : fresh;
  const bool biased = layer && !case_.bare;
  UM_RETURN_IF_ERROR(Launch(NormArgs{x.device.data(), Floats(w.device), y.data(), case_.m, case_.n, kEps,
                                     biased ? Floats(bias.device) : nullptr, case_.groups, in_place ? stride : 0,
                                     in_place ? stride : 0, case_.offset, case_.flags}));
  std::vector<double> reference = x.exact;  // what lies beyond the heads must stay
  for (int t = 0; t < case_.m; ++t) {
    double* row = reference.data() + int64_t{t} * stride;
    RefNorm(row, w.exact.data(), row, case_.groups, case_.n, static_cast<double>(kEps),
            {layer ? NormKind::kLayer : NormKind::kRms, static_cast<double>(case_.offset),
             biased ? bias.exact.data() : nullptr});
  }
  return Compare(out, y, reference);
}

Result<CheckResult> Checker::Linear() {
  const int m = case_.m, n = case_.n, k = case_.k;
  const bool gated = case_.flags & kLinearActMul;
  const int out = gated ? n / 2 : n;
  const DType out_type = case_.flags & kLinearWide ? DType::kF32 : row_.act;
  UM_ASSIGN_OR_RETURN(Tensor x, Random(row_.act, int64_t{m} * k));
  UM_ASSIGN_OR_RETURN(Tensor w, Random(row_.act, int64_t{n} * k, 1.0f / std::sqrt(static_cast<float>(k))));
  if (row_.act != DType::kF32) {
    UM_ASSIGN_OR_RETURN(w.device, UploadPacked(w.exact, n, k));
  }
  UM_ASSIGN_OR_RETURN(Tensor bias, Random(DType::kF32, n));
  UM_ASSIGN_OR_RETURN(Tensor residual, Random(DType::kF32, int64_t{m} * out));
  UM_ASSIGN_OR_RETURN(Buffer fresh, Poisoned(out_type, int64_t{m} * out));
  // A wide result takes the place of its residual.
  const bool in_place = case_.residual && out_type == DType::kF32;
  const Buffer& y = in_place ? residual.device : fresh;
  LinearArgs args{x.device.data(), w.device.data(),  nullptr,     nullptr,  y.data(), m, n, k, k, out,
                  case_.flags,     case_.activation, case_.scale, case_.cap};
  if (!case_.bare) args.bias = Floats(bias.device);
  if (case_.residual) args.residual = Floats(residual.device);
  UM_ASSIGN_OR_RETURN(Buffer partial, Poisoned(DType::kF32, LinearSums(device_.limits())));
  UM_ASSIGN_OR_RETURN(Buffer counters,
                      UploadInts(std::vector<int>(static_cast<size_t>(LinearCounters(n, device_.limits())), 0)));
  UM_ASSIGN_OR_RETURN(Buffer words, Poisoned(DType::kF32, LinearWordBytes(device_.limits()) / 4));
  args.partial = Floats(partial);
  args.counters = Ints(counters);
  args.words = Floats(words);  // poison has all bits set, as they must be
  UM_RETURN_IF_ERROR(Launch(args));

  return Compare(out_type, y,
                 LinearReference(case_, x.exact.data(), w.exact.data(), case_.bare ? nullptr : bias.exact.data(),
                                 case_.residual ? residual.exact.data() : nullptr));
}

// Positions and pages of a step's rows: decode rows are one sequence each, prefill rows are dealt to two sequences.
struct Pages {
  std::vector<int> positions, sequences, table;
  int max_pages = 0, count = 0, total = 0;
};

Pages MakePages(const Case& c, std::mt19937_64& random) {
  Pages p;
  p.max_pages = (c.tokens + kPageTokens - 1) / kPageTokens + 1;
  const int first = c.decode ? c.m : (c.m * 2 + 2) / 3;  // rows of the first sequence
  p.count = c.decode ? c.m : 2;
  for (int t = 0; t < c.m; ++t) {
    p.sequences.push_back(c.decode ? t : t >= first);
    const int row = t >= first ? t - first : t;
    const int rows = t >= first ? c.m - first : first;
    p.positions.push_back(c.decode ? std::max(c.tokens - 1 - t * 7, 0) : c.tokens - rows + row);
  }
  p.total = p.count * p.max_pages;
  for (int i = 0; i < p.total; ++i) p.table.push_back(i);
  std::shuffle(p.table.begin(), p.table.end(), random);
  return p;
}

// Index of [position, kv head] of a sequence in a cache of [pages, kv_heads, page_tokens, head_dim].
int64_t CacheRow(const Pages& p, const AttentionShape& a, int sequence, int position, int kv) {
  const int64_t page = p.table[static_cast<size_t>(sequence * p.max_pages + position / kPageTokens)];
  return ((page * a.kv_heads + kv) * kPageTokens + position % kPageTokens) * a.head_dim;
}

Result<CheckResult> Checker::RopeAndStore() {
  const AttentionShape& a = case_.attention;
  const int stride = (a.heads + 2 * a.kv_heads) * a.head_dim;
  const Pages pages = MakePages(case_, random_);
  const bool interleaved = case_.m % 2 == 0;
  UM_ASSIGN_OR_RETURN(Tensor qkv, Random(row_.act, int64_t{case_.m} * stride));
  const int64_t cache = int64_t{pages.total} * a.kv_heads * kPageTokens * a.head_dim;
  UM_ASSIGN_OR_RETURN(Buffer k_cache, Poisoned(row_.act, cache));
  UM_ASSIGN_OR_RETURN(Buffer v_cache, Poisoned(row_.act, cache));
  const int rotary = case_.rotary < 0 ? a.head_dim : case_.rotary;
  std::vector<double> inv_freq;
  for (int i = 0; i < rotary / 2; ++i) inv_freq.push_back(std::pow(10000.0, -2.0 * i / rotary));
  // Rows of the table that are no positions: half of the sequences are as if they used a second set of frequencies.
  const int context = case_.tokens + 1;
  const std::vector<float> table = CosSinTable(inv_freq, 1.0, 2 * context);
  UM_ASSIGN_OR_RETURN(Buffer cos_sin, UploadAs(DType::kF32, std::vector<double>(table.begin(), table.end())));
  std::vector<int> rope_rows = pages.positions;
  for (size_t t = 0; t < rope_rows.size(); ++t) rope_rows[t] += pages.sequences[t] % 2 * context;
  UM_ASSIGN_OR_RETURN(Buffer device_rows, UploadInts(rope_rows));
  UM_ASSIGN_OR_RETURN(Buffer positions, UploadInts(pages.positions));
  UM_ASSIGN_OR_RETURN(Buffer sequences, UploadInts(pages.sequences));
  UM_ASSIGN_OR_RETURN(Buffer page_table, UploadInts(pages.table));
  const int element = Info(row_.act).block_bytes;
  std::byte* base = qkv.device.data();
  UM_RETURN_IF_ERROR(Launch(RopeStoreArgs{base, base + int64_t{a.heads} * a.head_dim * element,
                                          base + int64_t{a.heads + a.kv_heads} * a.head_dim * element, k_cache.data(),
                                          v_cache.data(), Floats(cos_sin), Ints(device_rows), Ints(positions),
                                          Ints(sequences), Ints(page_table), case_.m, a.heads, a.kv_heads, a.head_dim,
                                          stride, kPageTokens, pages.max_pages, interleaved, rotary}));
  // Compared together: rotated q, then the k and v that must now stand in the pages.
  UM_ASSIGN_OR_RETURN(const std::vector<double> got_q,
                      FetchValues(device_, row_.act, qkv.device, int64_t{case_.m} * stride));
  UM_ASSIGN_OR_RETURN(const std::vector<double> got_k, FetchValues(device_, row_.act, k_cache, cache));
  UM_ASSIGN_OR_RETURN(const std::vector<double> got_v, FetchValues(device_, row_.act, v_cache, cache));
  std::vector<double> got, reference;
  for (int t = 0; t < case_.m; ++t) {
    double* row = qkv.exact.data() + int64_t{t} * stride;
    RefRope(row, &rope_rows[static_cast<size_t>(t)], inv_freq.data(), 1.0, interleaved, 1, a.heads + a.kv_heads,
            a.head_dim, rotary);
    const int q_cols = a.heads * a.head_dim;
    got.insert(got.end(), got_q.begin() + int64_t{t} * stride, got_q.begin() + int64_t{t} * stride + q_cols);
    reference.insert(reference.end(), row, row + stride);
    for (const auto* values : {&got_k, &got_v}) {
      for (int kv = 0; kv < a.kv_heads; ++kv) {
        const int64_t at =
            CacheRow(pages, a, pages.sequences[static_cast<size_t>(t)], pages.positions[static_cast<size_t>(t)], kv);
        got.insert(got.end(), values->begin() + at, values->begin() + at + a.head_dim);
      }
    }
  }
  UM_ASSIGN_OR_RETURN(Buffer joined, UploadAs(DType::kF32, got));
  return Compare(DType::kF32, joined, reference);
}

// The page table with numbers of no page where no row of the sequence sees any position: a kernel must not touch them.
std::vector<int> WithoutUnseen(const Pages& pages, int window) {
  constexpr int kNoPage = 1 << 24;
  std::vector<int> table = pages.table, done(static_cast<size_t>(pages.count), 0);
  for (size_t t = 0; t < pages.positions.size() && window > 0; ++t) {
    const int sequence = pages.sequences[t];
    if (done[static_cast<size_t>(sequence)]++ > 0) continue;  // the first row sees the furthest back
    const int first = std::max(pages.positions[t] + 1 - window, 0) / kPageTokens;
    std::fill_n(table.begin() + int64_t{sequence} * pages.max_pages, first, kNoPage);
  }
  return table;
}

// Whether rows that are launched alone give the bits that stand in y, as --deterministic wants it.
Result<bool> Checker::SameAlone(const AttentionArgs& args, const Buffer& y) {
  const auto bytes = static_cast<size_t>(args.heads * args.head_dim * Info(row_.act).block_bytes);
  Case one = case_;
  one.m = 1;
  UM_ASSIGN_OR_RETURN(Buffer alone, device_.Allocate(bytes, "check output"));
  std::vector<std::byte> got(bytes), wanted(bytes);
  for (const int row : {0, case_.m / 2, case_.m - 1}) {
    UM_RETURN_IF_ERROR(device_.Fill(alone.data(), 0xff, bytes));
    AttentionArgs of_row = args;
    of_row.q = static_cast<const std::byte*>(args.q) + static_cast<size_t>(row) * bytes;
    of_row.y = alone.data();
    of_row.positions += row;
    of_row.sequences += row;
    of_row.m = 1;
    UM_ASSIGN_OR_RETURN(const unimax::Launch launch, LaunchOf(device_, row_, one, of_row));
    UM_RETURN_IF_ERROR(device_.Run(launch));
    UM_RETURN_IF_ERROR(device_.Synchronize());
    UM_RETURN_IF_ERROR(device_.Download(got.data(), alone.data(), bytes));
    UM_RETURN_IF_ERROR(device_.Download(wanted.data(), y.data() + static_cast<size_t>(row) * bytes, bytes));
    if (got != wanted) return false;
  }
  return true;
}

// What lies behind a sequence's newest position is no number: nothing of it may reach a sum.
Status Checker::SpoilUnseen(const Pages& pages, Tensor* cache) {
  const AttentionShape& a = case_.attention;
  const size_t dims = static_cast<size_t>(a.head_dim);
  std::vector<double> values(cache->exact.size(), std::numeric_limits<double>::quiet_NaN());
  for (int t = 0; t < case_.m; ++t) {
    const auto row = static_cast<size_t>(t);
    for (int p = 0; p <= pages.positions[row]; ++p) {
      for (int kv = 0; kv < a.kv_heads; ++kv) {
        const int64_t at = CacheRow(pages, a, pages.sequences[row], p, kv);
        std::copy_n(cache->exact.begin() + at, dims, values.begin() + at);
      }
    }
  }
  UM_ASSIGN_OR_RETURN(cache->device, UploadAs(row_.act, values));
  return {};
}

Result<CheckResult> Checker::Attention() {
  const AttentionShape& a = case_.attention;
  const Pages pages = MakePages(case_, random_);
  const int64_t cache = int64_t{pages.total} * a.kv_heads * kPageTokens * a.head_dim;
  const int64_t q_cols = int64_t{a.heads} * a.head_dim;
  UM_ASSIGN_OR_RETURN(Tensor q, Random(row_.act, case_.m * q_cols, 2.0f));
  UM_ASSIGN_OR_RETURN(Tensor k, Random(row_.act, cache, 2.0f));
  UM_ASSIGN_OR_RETURN(Tensor v, Random(row_.act, cache));
  UM_RETURN_IF_ERROR(SpoilUnseen(pages, &k));
  UM_RETURN_IF_ERROR(SpoilUnseen(pages, &v));
  UM_ASSIGN_OR_RETURN(Buffer y, Poisoned(row_.act, case_.m * q_cols));
  UM_ASSIGN_OR_RETURN(Buffer positions, UploadInts(pages.positions));
  UM_ASSIGN_OR_RETURN(Buffer sequences, UploadInts(pages.sequences));
  UM_ASSIGN_OR_RETURN(Buffer page_table, UploadInts(WithoutUnseen(pages, case_.window)));
  const int splits = AttentionSplits(case_, device_.limits());
  UM_ASSIGN_OR_RETURN(Buffer partial, Poisoned(DType::kF32, int64_t{case_.m} * a.heads * splits * (a.head_dim + 2)));
  UM_ASSIGN_OR_RETURN(Buffer counters,
                      UploadInts(std::vector<int>(static_cast<size_t>(case_.m) * static_cast<size_t>(a.heads), 0)));
  UM_ASSIGN_OR_RETURN(Buffer words, Poisoned(DType::kF32, RingBytes(a, case_.split_tokens > 0, device_.limits()) / 4));
  const AttentionArgs args{q.device.data(),
                           k.device.data(),
                           v.device.data(),
                           y.data(),
                           Ints(positions),
                           Ints(sequences),
                           Ints(page_table),
                           Floats(partial),
                           Ints(counters),
                           case_.m,
                           a.heads,
                           a.kv_heads,
                           a.head_dim,
                           static_cast<int>(q_cols),
                           kPageTokens,
                           pages.max_pages,
                           splits,
                           a.scale,
                           case_.cap,
                           case_.window,
                           case_.split_tokens,
                           nullptr,
                           nullptr,
                           words.data()};
  UM_RETURN_IF_ERROR(Launch(args));
  bool same = true;
  if (case_.split_tokens > 0) {
    UM_ASSIGN_OR_RETURN(same, SameAlone(args, y));
  }
  std::vector<double> reference(static_cast<size_t>(case_.m * q_cols));
  for (int t = 0; t < case_.m; ++t) {
    const int tokens = pages.positions[static_cast<size_t>(t)] + 1;
    std::vector<double> keys, values;
    for (int p = 0; p < tokens; ++p) {
      for (int kv = 0; kv < a.kv_heads; ++kv) {
        const int64_t at = CacheRow(pages, a, pages.sequences[static_cast<size_t>(t)], p, kv);
        keys.insert(keys.end(), k.exact.begin() + at, k.exact.begin() + at + a.head_dim);
        values.insert(values.end(), v.exact.begin() + at, v.exact.begin() + at + a.head_dim);
      }
    }
    RefAttentionRow(q.exact.data() + t * q_cols, keys.data(), values.data(), reference.data() + t * q_cols, tokens,
                    a.heads, a.kv_heads, a.head_dim, static_cast<double>(a.scale), static_cast<double>(case_.cap),
                    case_.window);
  }
  UM_ASSIGN_OR_RETURN(CheckResult result, Compare(row_.act, y, reference));
  if (!same) result.error = std::numeric_limits<double>::infinity();
  return result;
}

Result<CheckResult> Checker::ActMul() {
  const int stride = 2 * case_.n;
  const DType in = case_.flags & kActWideIn ? DType::kF32 : row_.act;
  UM_ASSIGN_OR_RETURN(Tensor x, Random(in, int64_t{case_.m} * stride, 2.0f));
  UM_ASSIGN_OR_RETURN(Buffer y, Poisoned(row_.act, int64_t{case_.m} * case_.n));
  std::byte* up = x.device.data() + int64_t{case_.n} * Info(row_.act).block_bytes;
  UM_RETURN_IF_ERROR(Launch(ActMulArgs{x.device.data(), case_.bare ? nullptr : up, y.data(), case_.m, case_.n, stride,
                                       case_.activation, case_.flags}));
  std::vector<double> reference(static_cast<size_t>(case_.m) * static_cast<size_t>(case_.n));
  for (int t = 0; t < case_.m; ++t) {
    const double* gate = x.exact.data() + int64_t{t} * stride;
    RefActMul(gate, case_.bare ? nullptr : gate + case_.n, reference.data() + int64_t{t} * case_.n, case_.n,
              case_.activation);
  }
  return Compare(row_.act, y, reference);
}

Result<CheckResult> Checker::Add() {
  const int64_t count = int64_t{case_.m} * case_.n;
  UM_ASSIGN_OR_RETURN(Tensor x, Random(DType::kF32, count));
  UM_ASSIGN_OR_RETURN(Tensor b, Random(row_.act, count));
  float* a = reinterpret_cast<float*>(x.device.data());
  UM_RETURN_IF_ERROR(Launch(AddArgs{a, b.device.data(), a, case_.m, case_.n, case_.scale}));
  std::vector<double> reference(static_cast<size_t>(count));
  RefAdd(x.exact.data(), b.exact.data(), reference.data(), count, static_cast<double>(case_.scale));
  return Compare(DType::kF32, x.device, reference);
}

Result<CheckResult> Checker::Select() {
  constexpr int kTokens = 17;
  UM_ASSIGN_OR_RETURN(Tensor x, Random(DType::kF32, int64_t{kTokens} * case_.n));
  std::vector<int> rows;
  std::vector<double> reference;
  for (int i = 0; i < case_.m; ++i) {
    rows.push_back(static_cast<int>(random_() % kTokens));
    const auto row = x.exact.begin() + int64_t{rows.back()} * case_.n;
    reference.insert(reference.end(), row, row + case_.n);
  }
  UM_ASSIGN_OR_RETURN(Buffer device_rows, UploadInts(rows));
  UM_ASSIGN_OR_RETURN(Buffer y, Poisoned(DType::kF32, int64_t{case_.m} * case_.n));
  UM_RETURN_IF_ERROR(
      Launch(SelectArgs{reinterpret_cast<float*>(x.device.data()), reinterpret_cast<int*>(device_rows.data()),
                        reinterpret_cast<float*>(y.data()), case_.m, case_.n}));
  return Compare(DType::kF32, y, reference);
}

Result<CheckResult> Checker::Sample() {
  const int vocab = case_.n;
  std::vector<double> logits;
  for (int64_t i = 0; i < int64_t{case_.m} * vocab; ++i) logits.push_back(Round(DType::kF32, Draw()));
  for (int t = 0; t < case_.m; ++t) {
    // Ties of the maximum (the lowest index wins), and in the last of several rows a logit that is not a number.
    double* row = logits.data() + int64_t{t} * vocab;
    if (vocab > 4) row[vocab / 2] = row[vocab - 2] = 9.0;
    if (t > 0 && t == case_.m - 1) row[vocab / 3] = std::nan("");
  }
  UM_ASSIGN_OR_RETURN(Buffer x, UploadAs(DType::kF32, logits));
  UM_ASSIGN_OR_RETURN(Buffer ids, Poisoned(DType::kI32, case_.m));
  UM_RETURN_IF_ERROR(
      Launch(SampleArgs{reinterpret_cast<float*>(x.data()), reinterpret_cast<int*>(ids.data()), case_.m, vocab}));
  std::vector<int> got(static_cast<size_t>(case_.m));
  UM_RETURN_IF_ERROR(device_.Download(got.data(), ids.data(), got.size() * sizeof(int)));
  CheckResult result;
  result.norm = std::sqrt(static_cast<double>(case_.m));
  for (int t = 0; t < case_.m; ++t) {
    if (got[static_cast<size_t>(t)] != RefSample(logits.data() + int64_t{t} * vocab, vocab)) result.error += 1;
  }
  UM_ASSIGN_OR_RETURN(result.microseconds, Median());
  return result;
}

Result<CheckResult> Checker::Run() {
  switch (row_.op) {
    case OpKind::kEmbed:
      return Embed();
    case OpKind::kAddPosition:
      return AddPosition();
    case OpKind::kNorm:
      return Norm();
    case OpKind::kLinear:
      return Linear();
    case OpKind::kRopeAndStore:
      return RopeAndStore();
    case OpKind::kAttention:
      return Attention();
    case OpKind::kActMul:
      return ActMul();
    case OpKind::kAdd:
      return Add();
    case OpKind::kSelect:
      return Select();
    case OpKind::kSample:
      return Sample();
  }
  return Internal("op without a check");
}

}  // namespace

Result<CheckResult> CheckRow(Device& device, const Row& row, const Case& c, uint64_t seed, int repeats) {
  const Case own = OwnCase(row, c);
  if (own.draws) return CheckDraws(device, row, own, seed, repeats);
  if (own.weight != ChunkForm::kSame) return CheckForm(device, row, own, seed, repeats);
  return Checker(device, row, own, seed, repeats).Run();
}

bool RowTakes(const Row& row, const Case& c, const Limits& limits) {
  const Case own = OwnCase(row, c);
  if (!HasKernel(row, limits)) return false;
  const LaunchShape shape = row.launch(own, limits);
  if (shape.shared_bytes > limits.shared_bytes_per_block) return false;
  // A plain f32 row has no interleaved weights.
  if (row.op == OpKind::kLinear && row.act == DType::kF32 && (c.flags & kLinearActMul)) return false;
  return row.fits(own, limits);
}

std::string CaseName(const Row& row, const Case& c) {
  std::string name;
  if (row.op == OpKind::kAttention || row.op == OpKind::kRopeAndStore) {
    name = fmt::format("m={} heads={}/{} dim={} tokens={}{}", c.m, c.attention.heads, c.attention.kv_heads,
                       c.attention.head_dim, c.tokens, c.decode ? " decode" : "");
    if (c.window > 0) name += fmt::format(" window={}", c.window);
    if (c.split_tokens > 0) name += fmt::format(" split={}", c.split_tokens);
    if (c.rotary >= 0) name += fmt::format(" rotary={}", c.rotary);
  } else {
    name = fmt::format("m={} n={}", c.m, c.n);
    if (row.op == OpKind::kLinear) {
      name +=
          fmt::format(" k={}{}{}", c.k, c.flags & kLinearWide ? " wide" : "", c.flags & kLinearActMul ? " gate" : "");
    }
    if (row.op == OpKind::kNorm && c.flags != 0) name += fmt::format(" flags={}", c.flags);
    if (c.groups > 1) name += fmt::format(" groups={}", c.groups);
  }
  if (c.activation != Activation::kNone) name += fmt::format(" {}", ActivationName(c.activation));
  if (c.residual) name += " residual";
  if (c.scale != 1) name += fmt::format(" scale={}", c.scale);
  if (c.cap > 0) name += fmt::format(" cap={}", c.cap);
  return name;
}

}  // namespace unimax
