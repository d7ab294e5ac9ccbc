// SPDX-License-Identifier: Apache-2.0
#include "exec/team.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "exec/fit.h"
#include "exec/step_check.h"
#include "exec/team_plan.h"
#include "exec/team_weights.h"
#include "kernels/reference.h"

namespace unimax {
namespace {

class TeamExecutor : public Executor {
 public:
  TeamExecutor(const Program& program, const ExecutorOptions& options, const TeamOptions& team)
      : program_(Fuse(program, {.residual = true})),
        options_(options),
        check_(program_, options),
        plain_(team.plain),
        deterministic_(team.deterministic),
        team_(team.threads),
        kernels_(KernelsFor(team.isa)) {}

  Status Load(const WeightSource& source);
  Status Run(const Step& step) override;
  Result<std::span<const int>> Ids() override { return std::span<const int>(ids_.data(), sampled_); }
  Result<std::span<const int>> PreviousIds() override {
    return std::span<const int>(previous_.data(), previous_count_);
  }
  Result<std::span<const float>> Logits(int row) override;
  Result<std::vector<float>> Read(int value) override;
  MemoryUse memory() const override {
    uint64_t angles = 0;
    for (const auto& table : cos_sin_) angles += table.size() * sizeof(float);
    return {weights_.bytes(), kv_.bytes(), workspace_.bytes() + angles};
  }
  uint64_t page_bytes() const override;
  Status ReadPage(int page, std::span<std::byte> to) override;
  Status WritePage(int page, std::span<const std::byte> from) override;
  // With one order of sums for any number of threads, their number does not matter.
  std::string PageForm() const override { return DescribeWith(deterministic_ ? 0 : team_.threads()); }
  std::string Describe() const override { return DescribeWith(team_.threads()); }

 private:
  Status Allocate();
  std::string DescribeWith(int threads) const {
    return fmt::format(
        "team, {}, {} weights, {} KV{}", IsaName(kernels_.isa),
        threads > 0 ? fmt::format("{} threads, {}", threads, weights_.form_name()) : std::string(weights_.form_name()),
        kv_form_ == KvForm::kF32 ? "f32" : "f16", deterministic_ ? ", deterministic" : "");
  }
  // Calls part(address, bytes) for each run of a page's bytes in their order: keys, then values, layer by layer.
  template <class Part>
  void EachRun(int page, const Part& part) const {
    const auto pages = static_cast<uint64_t>(options_.pages), at = static_cast<uint64_t>(page);
    for (int layer = 0; layer < program_.layers; ++layer) {
      part(KvAt(layer, false) + at * (key_bytes_ / pages), key_bytes_ / pages);
      part(KvAt(layer, true) + at * (value_bytes_ / pages), value_bytes_ / pages);
    }
  }
  void ChooseSplits(const Step& step);
  int MaxRows(int value) const {
    return program_.values[value].rows == Rows::kTokens ? options_.max_tokens : options_.max_outputs;
  }
  int RowsOf(int value) const { return program_.values[value].rows == Rows::kTokens ? tokens_ : outputs_; }
  int Stride(int value) const {
    const Value& v = program_.values[value];
    return v.parent >= 0 ? program_.values[v.parent].cols : v.cols;
  }
  float* At(int value) const {
    return value < 0 ? nullptr : buffers_[static_cast<size_t>(plan_.buffer_of[value])] + program_.values[value].offset;
  }
  // The norm of `rows` rows from `first` on; y is null: its own output.
  NormArgs NormOf(const Op& op, int first, int rows, float* y) const;
  const float* VectorAt(int weight) const { return weight < 0 ? nullptr : weights_[weight].vector.data(); }
  std::byte* KvAt(int layer, bool values) const {
    return kv_base_ + (values ? static_cast<uint64_t>(program_.layers) * key_bytes_ : 0) +
           static_cast<uint64_t>(layer) * (values ? value_bytes_ : key_bytes_);
  }

  // One thread's part of a stage.
  void RunStage(const Stage& stage, const Step& step, int thread, int threads);
  void RunEmbed(const Op& op, const Step& step, int thread, int threads);
  void RunAddPosition(const Op& op, const Step& step, int thread, int threads);
  void RunLinear(const Stage& stage, int thread, int threads);
  void RunRopeAndStore(const Op& op, const Step& step, int thread, int threads);
  void RunAttention(const Op& op, const Step& step, int thread, int threads);
  void RunActMul(const Stage& stage, int thread, int threads);
  void RunSample(const Op& op, int thread, int threads);

  Program program_;
  ExecutorOptions options_;
  StepCheck check_;
  bool plain_, deterministic_;
  Team team_;
  const CpuKernels& kernels_;
  TeamWeights weights_;
  BufferPlan plan_;
  std::vector<Stage> stages_;
  KvForm kv_form_ = KvForm::kF16;

  Arena workspace_, kv_;
  std::byte* kv_base_ = nullptr;  // keys of all layers, then values of all layers
  uint64_t key_bytes_ = 0, value_bytes_ = 0;
  std::vector<float*> buffers_;        // of plan_
  std::byte* quantized_ = nullptr;     // [max rows, widest packed input], shared
  std::vector<float*> own_norm_;       // thread -> one row
  std::vector<std::byte*> own_quant_;  // thread -> one quantised row
  float* partial_ = nullptr;           // of AttentionArgs
  int partial_rows_ = 0;
  std::vector<std::vector<float>> cos_sin_;  // of each rope
  std::vector<BestLogit> best_;              // [max_outputs, threads]
  std::vector<int> ids_, previous_;          // of the last step, and of the one before
  size_t sampled_ = 0, previous_count_ = 0;
  int tokens_ = 0, outputs_ = 0, splits_ = 1;
};

Status TeamExecutor::Load(const WeightSource& source) {
  const AttentionShape& a = program_.attention;
  if (a.head_dim > kWidestHead) return BadModel("heads of {} are wider than {}", a.head_dim, kWidestHead);
  UM_ASSIGN_OR_RETURN(weights_, TeamWeights::Load(program_, source, kernels_, team_, plain_, options_.loading));
  kv_form_ = plain_ || weights_.all_f32() ? KvForm::kF32 : KvForm::kF16;
  plan_ = PlanBuffers(program_, program_.ops.empty() ? -1 : program_.ops.back().out);
  stages_ = PlanStages(program_, plan_, [&](int w) { return weights_[w].packed; });
  return Allocate();
}

Status TeamExecutor::Allocate() {
  const auto threads = static_cast<uint64_t>(team_.threads());
  const AttentionShape& a = program_.attention;

  const uint64_t element = kv_form_ == KvForm::kF32 ? 4 : 2;
  const uint64_t heads = static_cast<uint64_t>(options_.pages) * static_cast<uint64_t>(a.kv_heads) *
                         static_cast<uint64_t>(a.head_dim) * element;
  key_bytes_ = heads * static_cast<uint64_t>(KeyStride(options_.page_tokens));
  value_bytes_ = heads * static_cast<uint64_t>(options_.page_tokens);
  const uint64_t kv = static_cast<uint64_t>(program_.layers) * (key_bytes_ + value_bytes_);
  const auto value_bytes = [&](int value) {
    return static_cast<uint64_t>(MaxRows(value)) * static_cast<uint64_t>(program_.values[value].cols) * sizeof(float);
  };
  uint64_t bytes = 0, quantized = 0, norm = 0, quantized_row = 0;
  for (int value : plan_.example) bytes += Arena::Rounded(value_bytes(value));
  for (const Stage& stage : stages_) {
    if (stage.op.kind != OpKind::kLinear) continue;
    const int cols = program_.weights[stage.op.weight].cols;
    norm = std::max(norm, static_cast<uint64_t>(cols) * sizeof(float));
    if (!weights_[stage.op.weight].packed) continue;
    const auto row = static_cast<uint64_t>(QuantizedStride(cols));
    quantized_row = std::max(quantized_row, row);
    quantized = std::max(quantized, row * static_cast<uint64_t>(MaxRows(stage.op.in)));
  }
  // Tokens are split only where rows alone do not feed the threads.
  partial_rows_ = a.kv_heads == 0 ? 0 : std::min(options_.max_tokens, 2 * team_.threads() / a.kv_heads + 1);
  const uint64_t partial = static_cast<uint64_t>(partial_rows_) * static_cast<uint64_t>(a.heads) * threads *
                           static_cast<uint64_t>(a.head_dim + 2) * sizeof(float);
  bytes += Arena::Rounded(quantized) + Arena::Rounded(partial);
  bytes += threads * (Arena::Rounded(norm) + Arena::Rounded(quantized_row));
  // The weights are there already, so what is free now must hold the rest.
  UM_RETURN_IF_ERROR(CheckFits({weights_.bytes(), kv, bytes}, AvailableMemory() + weights_.bytes(), "this machine",
                               options_, "take a smaller model"));
  UM_ASSIGN_OR_RETURN(kv_, Arena::Take(Arena::Rounded(kv)));
  kv_base_ = kv_.Next(kv);
  UM_ASSIGN_OR_RETURN(workspace_, Arena::Take(bytes));
  for (int value : plan_.example) buffers_.push_back(reinterpret_cast<float*>(workspace_.Next(value_bytes(value))));
  quantized_ = workspace_.Next(quantized);
  partial_ = reinterpret_cast<float*>(workspace_.Next(partial));
  for (uint64_t t = 0; t < threads; ++t) {
    own_norm_.push_back(reinterpret_cast<float*>(workspace_.Next(norm)));
    own_quant_.push_back(workspace_.Next(quantized_row));
  }
  const int positions = options_.max_pages * options_.page_tokens;
  for (const Rope& rope : program_.ropes) cos_sin_.push_back(CosSinTable(rope, positions));
  best_.resize(static_cast<size_t>(options_.max_outputs) * threads);
  ids_.resize(static_cast<size_t>(options_.max_outputs));
  previous_.resize(ids_.size());
  return {};
}

// A function of the step alone, so that all threads see the same.
void TeamExecutor::ChooseSplits(const Step& step) {
  splits_ = 1;
  if (deterministic_) return;  // the one sum that depends on what else is in the step
  const int units = tokens_ * program_.attention.kv_heads, threads = team_.threads();
  constexpr int kWorthwhile = 128;  // below, the parts cost more to combine than they save
  const int longest = *std::max_element(step.positions.begin(), step.positions.end()) + 1;
  if (units == 0 || units >= 2 * threads || tokens_ > partial_rows_ || longest < kWorthwhile) return;
  splits_ = threads / std::gcd(threads, units);
}

Status TeamExecutor::Run(const Step& step) {
  UM_RETURN_IF_ERROR(check_(step, static_cast<int>(sampled_)));
  tokens_ = static_cast<int>(step.ids.size());
  outputs_ = static_cast<int>(step.outputs.size());
  std::swap(ids_, previous_);
  previous_count_ = std::exchange(sampled_, 0);
  if (tokens_ == 0) return {};
  ChooseSplits(step);
  team_.Run([&](int thread, int threads) {
    for (const Stage& stage : stages_) {
      RunStage(stage, step, thread, threads);
      team_.Barrier();  // the next stage reads what this one wrote
    }
  });
  return {};
}

void TeamExecutor::RunStage(const Stage& stage, const Step& step, int thread, int threads) {
  const Op& op = stage.op;
  switch (op.kind) {
    case OpKind::kEmbed:
      return RunEmbed(op, step, thread, threads);
    case OpKind::kAddPosition:
      return RunAddPosition(op, step, thread, threads);
    case OpKind::kNorm:
      return kernels_.norm(NormOf(op, 0, RowsOf(op.out), nullptr), thread, threads);
    case OpKind::kLinear:
      return RunLinear(stage, thread, threads);
    case OpKind::kRopeAndStore:
      return RunRopeAndStore(op, step, thread, threads);
    case OpKind::kAttention:
      return RunAttention(op, step, thread, threads);
    case OpKind::kActMul:
      return RunActMul(stage, thread, threads);
    case OpKind::kAdd:
      return kernels_.add({At(op.in), At(op.in2), At(op.out), RowsOf(op.out), Stride(op.in), op.scale}, thread,
                          threads);
    case OpKind::kSelect: {
      const int cols = Stride(op.in);
      for (int o = outputs_ * thread / threads; o < outputs_ * (thread + 1) / threads; ++o) {
        const float* row = At(op.in) + static_cast<int64_t>(step.outputs[static_cast<size_t>(o)]) * cols;
        std::copy_n(row, cols, At(op.out) + static_cast<int64_t>(o) * cols);
      }
      return;
    }
    case OpKind::kSample:
      return RunSample(op, thread, threads);
  }
}

void TeamExecutor::RunEmbed(const Op& op, const Step& step, int thread, int threads) {
  const SourceTensor& table = weights_[op.weight].table;
  for (int t = tokens_ * thread / threads; t < tokens_ * (thread + 1) / threads; ++t) {
    float* y = At(op.out) + static_cast<int64_t>(t) * table.cols;
    Dequantize(table.type, table.Row(StepId(step.ids[static_cast<size_t>(t)], previous_)),
               static_cast<uint64_t>(table.cols), y);
    for (int c = 0; c < table.cols && op.scale != 1.0f; ++c) y[c] *= op.scale;
  }
}

void TeamExecutor::RunAddPosition(const Op& op, const Step& step, int thread, int threads) {
  const int cols = program_.weights[op.weight].cols;
  for (int t = tokens_ * thread / threads; t < tokens_ * (thread + 1) / threads; ++t) {
    const int64_t at = static_cast<int64_t>(t) * cols;
    const float* row = VectorAt(op.weight) + static_cast<int64_t>(step.positions[t] + op.first) * cols;
    kernels_.add({At(op.in) + at, row, At(op.out) + at, 1, cols}, 0, 1);
  }
}

NormArgs TeamExecutor::NormOf(const Op& op, int first, int rows, float* y) const {
  const int cols = program_.weights[op.weight].cols;
  NormArgs args = {};
  args.x_stride = Stride(op.in);
  args.y_stride = y != nullptr ? cols : Stride(op.out);
  args.x = At(op.in) + static_cast<int64_t>(first) * args.x_stride;
  args.weight = VectorAt(op.weight);
  args.y = y != nullptr ? y : At(op.out) + static_cast<int64_t>(first) * args.y_stride;
  args.m = rows;
  args.cols = cols;
  args.eps = op.eps;
  args.bias = VectorAt(op.bias);
  args.groups = program_.values[op.in].cols / cols;
  args.offset = op.offset;
  args.flags = op.norm == NormKind::kLayer ? kNormLayer : 0;
  return args;
}

void TeamExecutor::RunLinear(const Stage& stage, int thread, int threads) {
  const Op& op = stage.op;
  const TeamWeight& weight = weights_[op.weight];
  const int rows = RowsOf(op.out), cols = program_.weights[op.weight].cols;
  if (rows == 0) return;
  const float* x = At(op.in);
  std::byte* quantized = quantized_;
  int stride = Stride(op.in);

  // The input: by each thread for itself where there is one row, else by rows with a barrier behind.
  const bool own = rows == 1;
  const int first = own ? 0 : rows * thread / threads;
  const int count = own ? 1 : rows * (thread + 1) / threads - first;
  if (stage.has_norm) {
    float* y = own ? own_norm_[static_cast<size_t>(thread)] : At(op.in) + static_cast<int64_t>(first) * cols;
    kernels_.norm(NormOf(stage.norm, first, count, y), 0, 1);
    if (own) x = y;
    if (own) stride = cols;
  }
  if (weight.packed && !stage.quantized_input) {
    if (own) quantized = own_quant_[static_cast<size_t>(thread)];
    std::byte* y = quantized + first * QuantizedStride(cols);
    kernels_.quantize({x + static_cast<int64_t>(first) * stride, y, count, cols, stride}, 0, 1);
  }
  if (!own && (stage.has_norm || (weight.packed && !stage.quantized_input))) {
    team_.Barrier();  // every thread reads all rows of the input
  }

  const int y_stride = Stride(op.out);
  const float *bias = VectorAt(op.bias), *residual = At(op.in2);
  for (const WeightSegment& s : weight.segments) {
    const void* input = IsPacked(s.form) ? static_cast<const void*>(quantized) : x;
    const LinearArgs args = {.x = input,
                             .w = s.data,
                             .bias = bias != nullptr ? bias + s.first_row : nullptr,
                             .residual = residual != nullptr ? residual + s.first_row : nullptr,
                             .y = At(op.out) + s.first_row,
                             .m = rows,
                             .n = s.rows,
                             .k = cols,
                             .x_stride = stride,
                             .y_stride = y_stride,
                             .act = op.act,
                             .scale = op.scale,
                             .cap = op.cap};
    kernels_.linear[static_cast<int>(s.form)](args, thread, threads);
  }
}

void TeamExecutor::RunRopeAndStore(const Op& op, const Step& step, int thread, int threads) {
  const AttentionShape& a = program_.attention;
  RopeStoreArgs args = {};
  args.q = At(op.in);
  args.k = At(op.in2);
  args.v = At(op.in3);
  args.k_cache = KvAt(op.layer, false);
  args.v_cache = KvAt(op.layer, true);
  args.rope_rows = step.positions.data();
  if (op.rope >= 0) {
    const Rope& rope = program_.ropes[static_cast<size_t>(op.rope)];
    args.cos_sin = cos_sin_[static_cast<size_t>(op.rope)].data();
    if (!step.rope_rows.empty() && !rope.long_inv_freq.empty()) args.rope_rows = step.rope_rows.data();
    args.rotary = 2 * static_cast<int>(rope.inv_freq.size());
    args.interleaved = rope.interleaved ? 1 : 0;
  }
  args.positions = step.positions.data();
  args.sequences = step.sequences.data();
  args.page_table = step.page_table.data();
  args.m = tokens_;
  args.heads = a.heads;
  args.kv_heads = a.kv_heads;
  args.head_dim = a.head_dim;
  args.stride = Stride(op.in);
  args.page_tokens = options_.page_tokens;
  args.max_pages = options_.max_pages;
  kernels_.rope_store[static_cast<int>(kv_form_)](args, thread, threads);
}

void TeamExecutor::RunAttention(const Op& op, const Step& step, int thread, int threads) {
  const AttentionShape& a = program_.attention;
  AttentionArgs args = {};
  args.q = At(op.in);
  args.k_cache = KvAt(op.layer, false);
  args.v_cache = KvAt(op.layer, true);
  args.y = At(op.out);
  args.positions = step.positions.data();
  args.sequences = step.sequences.data();
  args.page_table = step.page_table.data();
  args.partial = partial_;
  args.m = tokens_;
  args.heads = a.heads;
  args.kv_heads = a.kv_heads;
  args.head_dim = a.head_dim;
  args.q_stride = Stride(op.in);
  args.page_tokens = options_.page_tokens;
  args.max_pages = options_.max_pages;
  args.splits = splits_;
  args.scale = a.scale;
  args.cap = op.cap;
  args.window = op.window;
  kernels_.attention[static_cast<int>(kv_form_)](args, thread, threads);
  if (splits_ > 1) {
    team_.Barrier();  // combine reads the parts of all threads
    kernels_.combine(args, thread, threads);
  }
}

void TeamExecutor::RunActMul(const Stage& stage, int thread, int threads) {
  const Op& op = stage.op;
  const int rows = RowsOf(op.out), cols = program_.values[op.out].cols;
  kernels_.act_mul({At(op.in), At(op.in2), At(op.out), rows, cols, Stride(op.in), op.act}, thread, threads);
  // Both cut the rows into the same pieces of 32 columns: a thread quantises what it has just written.
  if (stage.quantize_output) kernels_.quantize({At(op.out), quantized_, rows, cols, cols}, thread, threads);
}

void TeamExecutor::RunSample(const Op& op, int thread, int threads) {
  const int vocab = Stride(op.in);
  for (int o = 0; o < outputs_; ++o) {
    const float* logits = At(op.in) + static_cast<int64_t>(o) * vocab;
    const auto begin = static_cast<int>(int64_t{vocab} * thread / threads);
    const auto end = static_cast<int>(int64_t{vocab} * (thread + 1) / threads);
    best_[static_cast<size_t>(o * threads + thread)] = kernels_.best(logits, begin, end);
  }
  team_.Barrier();  // thread 0 reads every thread's best
  if (thread != 0) return;
  for (int o = 0; o < outputs_; ++o) {
    const BestLogit* parts = best_.data() + o * threads;
    BestLogit best = parts[0];
    for (int t = 1; t < threads; ++t) {
      if (parts[t].index < 0 || (best.index >= 0 && parts[t].value > best.value)) best = parts[t];
    }
    const int id = best.index;
    ids_[static_cast<size_t>(o)] = id;
    std::memcpy(At(op.out) + o, &id, sizeof(id));
  }
  sampled_ = static_cast<size_t>(outputs_);
}

Result<std::span<const float>> TeamExecutor::Logits(int row) {
  if (program_.logits < 0) return Internal("the program has no logits");
  if (row < 0 || row >= outputs_) return Internal("the last step has no output row {}", row);
  const int vocab = program_.values[program_.logits].cols;
  return std::span<const float>(At(program_.logits) + static_cast<int64_t>(row) * vocab, static_cast<size_t>(vocab));
}

Result<std::vector<float>> TeamExecutor::Read(int value) {
  if (value < 0 || value >= static_cast<int>(program_.values.size()) || plan_.buffer_of[value] < 0) {
    return Internal("value {} is not computed", value);
  }
  const Value& v = program_.values[value];
  std::vector<float> dense;
  for (int r = 0; r < RowsOf(value); ++r) {
    const float* row = At(value) + static_cast<int64_t>(r) * Stride(value);
    for (int c = 0; c < v.cols; ++c) {
      int32_t id = 0;
      std::memcpy(&id, row + c, sizeof(id));
      dense.push_back(v.storage == Storage::kIds ? static_cast<float>(id) : row[c]);
    }
  }
  return dense;
}

uint64_t TeamExecutor::page_bytes() const {
  return static_cast<uint64_t>(program_.layers) * (key_bytes_ + value_bytes_) / static_cast<uint64_t>(options_.pages);
}

Status TeamExecutor::ReadPage(int page, std::span<std::byte> to) {
  UM_CHECK(page >= 0 && page < options_.pages && to.size() == page_bytes());
  std::byte* next = to.data();
  EachRun(page, [&](const std::byte* run, uint64_t bytes) { next = std::copy_n(run, bytes, next); });
  return {};
}

Status TeamExecutor::WritePage(int page, std::span<const std::byte> from) {
  UM_CHECK(page >= 0 && page < options_.pages && from.size() == page_bytes());
  const std::byte* next = from.data();
  EachRun(page, [&](std::byte* run, uint64_t bytes) {
    std::copy_n(next, bytes, run);
    next += bytes;
  });
  return {};
}

}  // namespace

Result<std::unique_ptr<Executor>> MakeTeamExecutor(const Program& program, const WeightSource& source,
                                                   const ExecutorOptions& options, const TeamOptions& team) {
  if (!Supported(team.isa)) return UsageError("this machine does not have the instruction set {}", IsaName(team.isa));
  if (team.threads < 1) return UsageError("threads: {} is below 1", team.threads);
  auto executor = std::make_unique<TeamExecutor>(program, options, team);
  UM_RETURN_IF_ERROR(executor->Load(source));
  return std::unique_ptr<Executor>(std::move(executor));
}

}  // namespace unimax
