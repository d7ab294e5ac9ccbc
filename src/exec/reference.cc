// SPDX-License-Identifier: Apache-2.0
#include "exec/reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "exec/weight_rows.h"
#include "kernels/reference.h"

namespace unimax {
namespace {

class ReferenceExecutor : public Executor {
 public:
  ReferenceExecutor(const Program& program, const ExecutorOptions& options) : program_(program), options_(options) {}

  Status Load(const WeightSource& source);
  Status Run(const Step& step) override;
  Result<std::span<const int>> Ids() override { return std::span<const int>(ids_); }
  Result<std::span<const int>> PreviousIds() override { return std::span<const int>(previous_); }
  Result<std::span<const float>> Logits(int row) override;
  Result<std::vector<float>> Read(int value) override;
  MemoryUse memory() const override;
  uint64_t page_bytes() const override { return 2 * static_cast<uint64_t>(program_.layers) * RunElements() * 8; }
  Status ReadPage(int page, std::span<std::byte> to) override;
  Status WritePage(int page, std::span<const std::byte> from) override;
  std::string Describe() const override { return "reference, double precision"; }

 private:
  int RowsOf(int value) const { return program_.values[value].rows == Rows::kTokens ? tokens_ : outputs_; }
  // A value as a dense matrix: a view is copied out of its parent.
  std::vector<double> Dense(int value) const;
  void Write(int value, const std::vector<double>& dense);
  void RunOp(const Op& op, const Step& step);
  void Rotate(const Op& op, const Step& step, int heads, std::vector<double>* x) const;
  void RopeAndStore(const Op& op, const Step& step);
  void Attend(const Op& op, const Step& step);
  // Elements of a page that follow each other: the keys, or the values, of one layer.
  uint64_t RunElements() const {
    const AttentionShape& a = program_.attention;
    return static_cast<uint64_t>(options_.page_tokens) * static_cast<uint64_t>(a.kv_heads * a.head_dim);
  }
  double* CacheRow(std::vector<double>& cache, const Step& step, int layer, int sequence, int position);

  Program program_;
  ExecutorOptions options_;
  std::vector<std::vector<double>> weights_, values_;
  std::vector<double> k_cache_, v_cache_;  // [layers, pages, page_tokens, kv_heads, head_dim]
  std::vector<float> logits_;
  std::vector<int> ids_, previous_;  // chosen by the last step, and by the one before
  int tokens_ = 0, outputs_ = 0;
};

Status ReferenceExecutor::Load(const WeightSource& source) {
  std::vector<bool> used(program_.weights.size(), false);
  for (const Op& op : program_.ops) {
    if (op.weight >= 0) used[op.weight] = true;
    if (op.bias >= 0) used[op.bias] = true;
  }
  weights_.resize(program_.weights.size());
  for (size_t w = 0; w < weights_.size(); ++w) {
    if (!used[w]) continue;
    UM_ASSIGN_OR_RETURN(const std::vector<float> values, ReadVector(source, program_.weights[w]));
    weights_[w].assign(values.begin(), values.end());
  }
  values_.resize(program_.values.size());
  const AttentionShape& a = program_.attention;
  const size_t cache =
      static_cast<size_t>(program_.layers) * options_.pages * options_.page_tokens * a.kv_heads * a.head_dim;
  k_cache_.assign(cache, 0.0);
  v_cache_.assign(cache, 0.0);
  return {};
}

MemoryUse ReferenceExecutor::memory() const {
  MemoryUse use;
  for (const auto& w : weights_) use.weights += w.size() * sizeof(double);
  use.kv = (k_cache_.size() + v_cache_.size()) * sizeof(double);
  return use;
}

std::vector<double> ReferenceExecutor::Dense(int value) const {
  const Value& v = program_.values[value];
  if (v.parent < 0) return values_[value];
  const std::vector<double>& parent = values_[v.parent];
  const int stride = program_.values[v.parent].cols;
  std::vector<double> dense;
  for (int t = 0; t < RowsOf(value); ++t) {
    const auto row = parent.begin() + int64_t{t} * stride + v.offset;
    dense.insert(dense.end(), row, row + v.cols);
  }
  return dense;
}

void ReferenceExecutor::Write(int value, const std::vector<double>& dense) {
  const Value& v = program_.values[value];
  if (v.parent < 0) {
    values_[value] = dense;
    return;
  }
  const int stride = program_.values[v.parent].cols;
  for (int t = 0; t < RowsOf(value); ++t) {
    std::copy_n(dense.begin() + int64_t{t} * v.cols, v.cols,
                values_[v.parent].begin() + int64_t{t} * stride + v.offset);
  }
}

double* ReferenceExecutor::CacheRow(std::vector<double>& cache, const Step& step, int layer, int sequence,
                                    int position) {
  const AttentionShape& a = program_.attention;
  const int page =
      step.page_table[static_cast<size_t>(sequence * options_.max_pages + position / options_.page_tokens)];
  const int64_t row = (int64_t{layer} * options_.pages + page) * options_.page_tokens + position % options_.page_tokens;
  return cache.data() + row * a.kv_heads * a.head_dim;
}

void ReferenceExecutor::Rotate(const Op& op, const Step& step, int heads, std::vector<double>* x) const {
  if (op.rope < 0) return;
  const Rope& rope = program_.ropes[static_cast<size_t>(op.rope)];
  const int context = options_.max_pages * options_.page_tokens, head_dim = program_.attention.head_dim;
  const auto rotary = static_cast<int>(rope.inv_freq.size()) * 2;
  for (int t = 0; t < tokens_; ++t) {
    int row = step.rope_rows.empty() ? step.positions[t] : step.rope_rows[t];
    const bool second = !rope.long_inv_freq.empty() && row >= context;
    if (second) row -= context;
    RefRope(x->data() + int64_t{t} * heads * head_dim, &row, second ? rope.long_inv_freq.data() : rope.inv_freq.data(),
            rope.magnitude, rope.interleaved, 1, heads, head_dim, rotary);
  }
}

void ReferenceExecutor::RopeAndStore(const Op& op, const Step& step) {
  const AttentionShape& a = program_.attention;
  std::vector<double> q = Dense(op.in), k = Dense(op.in2);
  const std::vector<double> v = Dense(op.in3);
  Rotate(op, step, a.heads, &q);
  Rotate(op, step, a.kv_heads, &k);
  Write(op.out, q);
  const int row = a.kv_heads * a.head_dim;
  for (int t = 0; t < tokens_; ++t) {
    std::copy_n(k.begin() + int64_t{t} * row, row,
                CacheRow(k_cache_, step, op.layer, step.sequences[t], step.positions[t]));
    std::copy_n(v.begin() + int64_t{t} * row, row,
                CacheRow(v_cache_, step, op.layer, step.sequences[t], step.positions[t]));
  }
}

void ReferenceExecutor::Attend(const Op& op, const Step& step) {
  const AttentionShape& a = program_.attention;
  const std::vector<double> q = Dense(op.in);
  std::vector<double> y(q.size());
  const int row = a.kv_heads * a.head_dim;
  for (int t = 0; t < tokens_; ++t) {
    const int count = step.positions[t] + 1;
    std::vector<double> k, v;
    for (int p = 0; p < count; ++p) {
      const double* key = CacheRow(k_cache_, step, op.layer, step.sequences[t], p);
      const double* value = CacheRow(v_cache_, step, op.layer, step.sequences[t], p);
      k.insert(k.end(), key, key + row);
      v.insert(v.end(), value, value + row);
    }
    const int64_t at = int64_t{t} * a.heads * a.head_dim;
    RefAttentionRow(q.data() + at, k.data(), v.data(), y.data() + at, count, a.heads, a.kv_heads, a.head_dim,
                    static_cast<double>(a.scale), static_cast<double>(op.cap), op.window);
  }
  Write(op.out, y);
}

void ReferenceExecutor::RunOp(const Op& op, const Step& step) {
  const int rows = RowsOf(op.out);
  const Value& out = program_.values[op.out];
  std::vector<double> y(static_cast<size_t>(rows) * static_cast<size_t>(out.cols));
  const auto scale = static_cast<double>(op.scale);
  const auto weight = [&](int w) { return w < 0 ? nullptr : weights_[w].data(); };
  switch (op.kind) {
    case OpKind::kEmbed: {
      std::vector<int> given;
      for (const int id : step.ids) given.push_back(StepId(id, previous_));
      RefEmbed(given.data(), weight(op.weight), y.data(), rows, out.cols, scale);
      break;
    }
    case OpKind::kAddPosition:
      RefAddPosition(Dense(op.in).data(), weight(op.weight), step.positions.data(), y.data(), rows, out.cols, op.first);
      break;
    case OpKind::kNorm: {
      const int cols = program_.weights[op.weight].cols;
      RefNorm(Dense(op.in).data(), weight(op.weight), y.data(), rows * (out.cols / cols), cols,
              static_cast<double>(op.eps), {op.norm, static_cast<double>(op.offset), weight(op.bias)});
      break;
    }
    case OpKind::kLinear: {
      const std::vector<double> residual = op.in2 >= 0 ? Dense(op.in2) : std::vector<double>();
      RefLinear(Dense(op.in).data(), weight(op.weight), weight(op.bias), op.in2 >= 0 ? residual.data() : nullptr,
                y.data(), rows, out.cols, program_.weights[op.weight].cols,
                {op.act, scale, static_cast<double>(op.cap)});
      break;
    }
    case OpKind::kRopeAndStore:
      return RopeAndStore(op, step);
    case OpKind::kAttention:
      return Attend(op, step);
    case OpKind::kActMul: {
      const std::vector<double> up = op.in2 >= 0 ? Dense(op.in2) : std::vector<double>();
      RefActMul(Dense(op.in).data(), op.in2 >= 0 ? up.data() : nullptr, y.data(), static_cast<int64_t>(y.size()),
                op.act);
      break;
    }
    case OpKind::kAdd:
      RefAdd(Dense(op.in).data(), Dense(op.in2).data(), y.data(), static_cast<int64_t>(y.size()), scale);
      break;
    case OpKind::kSelect: {
      const std::vector<double> x = Dense(op.in);
      for (int o = 0; o < rows; ++o) {
        std::copy_n(x.begin() + int64_t{step.outputs[o]} * out.cols, out.cols, y.begin() + int64_t{o} * out.cols);
      }
      break;
    }
    case OpKind::kSample: {
      const std::vector<double> x = Dense(op.in);
      ids_.resize(static_cast<size_t>(rows));
      for (int o = 0; o < rows; ++o) y[o] = ids_[o] = RefSample(x.data() + int64_t{o} * program_.vocab, program_.vocab);
      break;
    }
  }
  Write(op.out, y);
}

Status ReferenceExecutor::Run(const Step& step) {
  tokens_ = static_cast<int>(step.ids.size());
  outputs_ = static_cast<int>(step.outputs.size());
  previous_ = std::move(ids_);
  ids_.clear();
  for (const Op& op : program_.ops) RunOp(op, step);
  return {};
}

Result<std::span<const float>> ReferenceExecutor::Logits(int row) {
  if (program_.logits < 0) return Internal("the program has no logits");
  const auto first = values_[program_.logits].begin() + int64_t{row} * program_.vocab;
  logits_.assign(first, first + program_.vocab);
  return std::span<const float>(logits_);
}

Status ReferenceExecutor::ReadPage(int page, std::span<std::byte> to) {
  UM_CHECK(page >= 0 && page < options_.pages && to.size() == page_bytes());
  std::byte* next = to.data();
  for (const std::vector<double>* cache : {&k_cache_, &v_cache_}) {
    for (int layer = 0; layer < program_.layers; ++layer, next += RunElements() * 8) {
      std::memcpy(next, cache->data() + static_cast<uint64_t>(layer * options_.pages + page) * RunElements(),
                  RunElements() * 8);
    }
  }
  return {};
}

Status ReferenceExecutor::WritePage(int page, std::span<const std::byte> from) {
  UM_CHECK(page >= 0 && page < options_.pages && from.size() == page_bytes());
  const std::byte* next = from.data();
  for (std::vector<double>* cache : {&k_cache_, &v_cache_}) {
    for (int layer = 0; layer < program_.layers; ++layer, next += RunElements() * 8) {
      std::memcpy(cache->data() + static_cast<uint64_t>(layer * options_.pages + page) * RunElements(), next,
                  RunElements() * 8);
    }
  }
  return {};
}

Result<std::vector<float>> ReferenceExecutor::Read(int value) {
  const std::vector<double> dense = Dense(value);
  return std::vector<float>(dense.begin(), dense.end());
}

}  // namespace

Result<std::unique_ptr<Executor>> MakeReferenceExecutor(const Program& program, const WeightSource& source,
                                                        const ExecutorOptions& options) {
  auto executor = std::make_unique<ReferenceExecutor>(program, options);
  UM_RETURN_IF_ERROR(executor->Load(source));
  return std::unique_ptr<Executor>(std::move(executor));
}

}  // namespace unimax
