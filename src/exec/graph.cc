// SPDX-License-Identifier: Apache-2.0
#include "exec/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <ranges>

#include "base/log.h"
#include "exec/fit.h"
#include "exec/graph_chain.h"
#include "exec/graph_draw.h"
#include "exec/graph_pages.h"
#include "exec/graph_plan.h"
#include "exec/graph_softmax.h"
#include "exec/graph_weights.h"
#include "exec/step_check.h"
#include "exec/stream.h"
#include "kernels/args.h"
#include "kernels/reference.h"
#include "program/liveness.h"

namespace unimax {
namespace {

struct RecordedStep {
  std::vector<Launch> launches;
  std::unique_ptr<Graph> graph;  // null until captured
  int64_t guarded_blocks = 0;
};

std::span<const int> RopeRowsOf(const Step& step) { return step.rope_rows.empty() ? step.positions : step.rope_rows; }

// Blocks of a chain leave one by one: of a launch that follows, two blocks would settle where the first ones were. So
// each takes more than half of a multiprocessor's shared memory.
void Spread(Launch* launch, const Limits& limits) {
  if (int64_t{launch->grid_x} * launch->grid_y * launch->grid_z > limits.multiprocessors) return;
  launch->shared_bytes = std::max(launch->shared_bytes, static_cast<int>(limits.shared_bytes_per_block / 2) + 1024);
}

class GraphExecutor : public Executor {
 public:
  GraphExecutor(Program program, Device& device, const ExecutorOptions& options, const GraphOptions& graph)
      : program_(std::move(program)),
        device_(device),
        options_(options),
        graph_(graph),
        check_(program_, options),
        launches_(program_, device.limits(), options, graph),
        pages_(program_, options, Info(graph.act).block_bytes),
        folds_(program_, device, [this](int w) { return WeightAt(w); }) {}

  Status Load(const WeightSource& source);
  Status Run(const Step& step) override;
  Result<std::span<const int>> Ids() override { return IdsOf(run_ % 2); }
  Result<std::span<const int>> PreviousIds() override { return IdsOf((run_ + 1) % 2); }
  bool runs_ahead() const override { return graph_.ahead; }
  Result<std::vector<StageTime>> StageTimes() override {
    return stream_ != nullptr ? stream_->Times() : std::vector<StageTime>();
  }
  Result<GuardCount> Guard() override { return softmax_.Count(); }
  Result<std::vector<float>> LargestScores() override { return softmax_.Scores(last_.tokens); }
  int draw_entries() const override { return draw_ == nullptr ? -1 : draw_->most_entries(); }
  Result<std::span<const float>> Logits(int row) override;
  Result<std::vector<float>> Read(int value) override;
  MemoryUse memory() const override { return {memory_.weights, memory_.kv, memory_.workspace + folds_.bytes()}; }
  uint64_t page_bytes() const override { return pages_.page_bytes(); }
  Status ReadPage(int page, std::span<std::byte> to) override { return pages_.Read(page, to); }
  Status WritePage(int page, std::span<const std::byte> from) override { return pages_.Write(page, from); }
  std::string PageForm() const override;
  std::string PlanText(int tokens, int decodes, int context) const override;
  std::string Describe() const override {
    return fmt::format("{}, {} ({}), {}{}", stream_ != nullptr ? "graph and stream" : "graph", device_.limits().name,
                       device_.limits().target, Info(graph_.act).name, graph_.deterministic ? ", deterministic" : "");
  }

 private:
  int ElementBytes(Storage storage) const { return storage == Storage::kNarrow ? Info(graph_.act).block_bytes : 4; }
  uint64_t ValueBytes(int value) const;
  int Stride(int value) const;
  std::byte* At(int value) const;  // null for -1
  // The same of a row; null for -1.
  std::byte* AtRow(int value, int row) const {
    if (value < 0) return nullptr;
    return At(value) + int64_t{row} * Stride(value) * ElementBytes(program_.values[static_cast<size_t>(value)].storage);
  }
  template <class T>
  T* As(int value) const {
    return reinterpret_cast<T*>(At(value));
  }
  std::byte* WeightAt(int w) const { return w < 0 ? nullptr : weights_[static_cast<size_t>(w)].data(); }
  int* Chosen() const { return reinterpret_cast<int*>(chosen_.data()) + StreamStep::kFaultWords; }
  const float* Floats(int w) const { return reinterpret_cast<const float*>(WeightAt(w)); }

  bool Draws() const { return program_.logits >= 0 && program_.ops.back().kind == OpKind::kSample; }
  uint64_t SplitBytes() const;
  size_t SplitCounters() const;
  uint64_t RingWords() const {
    return static_cast<uint64_t>(RingBytes(program_.attention, graph_.deterministic, device_.limits()));
  }
  uint64_t WordBytes() const { return RingWords() + static_cast<uint64_t>(LinearWordBytes(device_.limits())); }
  Status CheckRows() const;
  Status CheckFits(uint64_t weight_bytes);
  Status Allocate();
  Status MakeStream();
  bool StreamsShape(const StepShape& shape) const;
  bool Streams(const StepShape& shape, const Step& step) const;
  Status UploadInputs(const Step& step);
  Status UploadPages(const Step& step);
  Status FetchIds(const Step& step);
  Result<std::span<const int>> IdsOf(int slot);
  Result<RecordedStep*> Recorded(const StepShape& shape);
  Result<Launch> Plan(const Op& op, const StepShape& shape, RowPart part);
  AttentionArgs AttentionOf(const Op& op, const StepShape& shape, RowPart part) const;
  LinearArgs LinearOf(const Op& op, const Case& c, RowPart part) const;
  RopeStoreArgs RopeOf(const Op& op, const StepShape& shape, RowPart part) const;
  Result<Launch> Chain(const ChainOps& chain, const StepShape& shape, RowPart part);
  template <class Args>
  Result<Launch> MakeLaunch(const Case& c, const Args& args);

  // Step inputs on the device, packed for the shape: ids, positions, sequences, rows of the rotary table, outputs.
  int* Input(int index, const StepShape& shape) const {
    return reinterpret_cast<int*>(inputs_.data()) + static_cast<int64_t>(index) * shape.tokens;
  }

  Program program_;
  Device& device_;
  ExecutorOptions options_;
  GraphOptions graph_;
  StepCheck check_;
  GraphPlan launches_;
  MemoryUse memory_;
  std::vector<Buffer> weights_, values_, cos_sin_;  // cos_sin_: one a rope
  BufferPlan plan_;
  GraphSoftmax softmax_;
  GraphPages pages_;
  NormFolds folds_;
  Buffer inputs_, page_table_, partial_, counters_, words_;  // words_: those of attention, then those of products
  Buffer chosen_;  // what StreamStep::FaultIn looks at, then the ids of the last step's outputs, for the next step
  int chosen_value_ = -1;               // the value that stands for them
  int run_ = 0;                         // steps so far; results of the last two lie in the device's fetch slots
  std::array<size_t, 2> fetched_ = {};  // ids in each
  std::vector<int> host_inputs_, host_pages_;
  std::map<StepShape, RecordedStep> recorded_;
  StepShape last_;
  std::unique_ptr<StreamStep> stream_;  // null: every step goes op by op
  bool stream_refused_ = false;         // the device cannot run all of its blocks at once
  int measured_rows_ = -1;              // up to which one launch was measured to be faster; -1: it was not measured
  std::unique_ptr<DrawStage> draw_;     // null: the largest logits alone
  std::unique_ptr<ChainStage> chains_;  // null: every product is a launch of its own
  std::vector<float> logits_;
};

uint64_t GraphExecutor::ValueBytes(int value) const {
  const Value& v = program_.values[static_cast<size_t>(value)];
  const int rows = v.rows == Rows::kTokens ? options_.max_tokens : options_.max_outputs;
  return static_cast<uint64_t>(rows) * static_cast<uint64_t>(v.cols) * static_cast<uint64_t>(ElementBytes(v.storage));
}

int GraphExecutor::Stride(int value) const {
  const Value& v = program_.values[static_cast<size_t>(value)];
  return v.parent >= 0 ? program_.values[static_cast<size_t>(v.parent)].cols : v.cols;
}

std::byte* GraphExecutor::At(int value) const {
  if (value < 0) return nullptr;
  if (value == chosen_value_) return reinterpret_cast<std::byte*>(Chosen());
  const Value& v = program_.values[static_cast<size_t>(value)];
  return values_[static_cast<size_t>(plan_.buffer_of[static_cast<size_t>(value)])].data() +
         static_cast<int64_t>(v.offset) * ElementBytes(v.storage);
}

// Unfinished sums of split decode rows and of products that blocks share; no two launches use them at once.
uint64_t GraphExecutor::SplitBytes() const {
  const AttentionShape& a = program_.attention;
  const uint64_t attention = static_cast<uint64_t>(options_.max_sequences) * static_cast<uint64_t>(a.heads) *
                             kMostSplits * static_cast<uint64_t>(a.head_dim + 2);
  return 4 * std::max(attention, static_cast<uint64_t>(LinearSums(device_.limits())));
}

size_t GraphExecutor::SplitCounters() const {
  int outputs = 0;
  for (const Weight& weight : program_.weights) outputs = std::max(outputs, weight.rows);
  return std::max(static_cast<size_t>(options_.max_sequences) * static_cast<size_t>(program_.attention.heads),
                  static_cast<size_t>(LinearCounters(outputs, device_.limits())));
}

// That every op has a kernel row, in a decode step and in a long one, before anything is loaded.
Status GraphExecutor::CheckRows() const {
  const int tokens = std::min(options_.max_tokens, options_.max_pages * options_.page_tokens);
  for (const StepShape& shape : {StepShape{1, 1, 1, 1}, StepShape{tokens, 1, 0, tokens}}) {
    for (const Op& op : program_.ops) {
      const Case c = launches_.CaseOf(op, shape, launches_.PartsOf(op, shape).front());
      const Value& in = program_.values[static_cast<size_t>(std::max(op.in, 0))];
      const bool head = op.kind == OpKind::kAttention || op.kind == OpKind::kRopeAndStore;
      const std::string size = head ? fmt::format("heads of {} elements", c.attention.head_dim)
                                    : fmt::format("{} rows and {} columns", c.n, c.k);
      // Matrix instructions take x as the norm, the attention or the activation before wrote it.
      const bool linear = op.kind == OpKind::kLinear;
      const bool wide_x = linear && in.storage == Storage::kWide && graph_.act != DType::kF32;
      const bool crooked_x = linear && graph_.act != DType::kF32 && (Stride(op.in) % 8 != 0 || in.offset % 8 != 0);
      if (launches_.RowOf(c) != nullptr && !wide_x && !crooked_x) continue;
      return BadModel("{} {} in {}: no kernel takes {}{}; use --device cpu{}", OpName(op.kind),
                      program_.values[static_cast<size_t>(op.out)].name, Info(graph_.act).name, size,
                      wide_x      ? " of a wide input"
                      : crooked_x ? " of rows that are no multiples of 16 bytes"
                                  : "",
                      graph_.act != DType::kF32 ? " or --dtype f32" : "");
    }
  }
  return {};
}

Status GraphExecutor::CheckFits(uint64_t weight_bytes) {
  memory_.weights = weight_bytes;
  memory_.kv = pages_.bytes();
  memory_.workspace = SplitBytes() + WordBytes();
  for (int example : plan_.example) memory_.workspace += ValueBytes(example);
  if (Draws()) memory_.workspace += DrawStage::Bytes(options_);
  if (launches_.Chains()) memory_.workspace += ChainStage::Bytes(program_.hidden);
  return unimax::CheckFits(memory_, static_cast<uint64_t>(device_.limits().free_bytes), device_.limits().name, options_,
                           "take a smaller model or --device cpu");
}

Status GraphExecutor::Allocate() {
  for (int example : plan_.example) {
    UM_ASSIGN_OR_RETURN(Buffer buffer,
                        device_.Allocate(ValueBytes(example), program_.values[static_cast<size_t>(example)].name));
    values_.push_back(std::move(buffer));
  }
  UM_RETURN_IF_ERROR(pages_.Allocate(device_));
  for (const Rope& rope : program_.ropes) {
    const std::vector<float> table = CosSinTable(rope, options_.max_pages * options_.page_tokens);
    UM_ASSIGN_OR_RETURN(Buffer buffer, device_.Allocate(std::max<size_t>(table.size() * 4, 16), "rotary table"));
    UM_RETURN_IF_ERROR(device_.Upload(buffer.data(), table.data(), table.size() * 4));
    cos_sin_.push_back(std::move(buffer));
  }
  const size_t inputs = static_cast<size_t>(4 * options_.max_tokens + options_.max_outputs);
  UM_ASSIGN_OR_RETURN(inputs_, device_.Allocate(inputs * sizeof(int), "step inputs"));
  const size_t pages = static_cast<size_t>(options_.max_sequences) * static_cast<size_t>(options_.max_pages);
  UM_ASSIGN_OR_RETURN(page_table_, device_.Allocate(pages * sizeof(int), "page table"));
  UM_ASSIGN_OR_RETURN(partial_, device_.Allocate(SplitBytes(), "unfinished sums"));
  const size_t counters = SplitCounters();
  UM_ASSIGN_OR_RETURN(counters_, device_.Allocate(counters * sizeof(int), "counters of unfinished sums"));
  UM_RETURN_IF_ERROR(device_.Fill(counters_.data(), 0, counters * sizeof(int)));
  UM_ASSIGN_OR_RETURN(words_, device_.Allocate(WordBytes(), "words of unfinished sums"));
  UM_RETURN_IF_ERROR(device_.Fill(words_.data(), 0xff, WordBytes()));
  host_inputs_.reserve(inputs);
  // Apart from the values, whose buffers the next step writes before and while it reads these.
  const size_t chosen = static_cast<size_t>(StreamStep::kFaultWords + options_.max_outputs) * sizeof(int);
  UM_ASSIGN_OR_RETURN(chosen_, device_.Allocate(chosen, "chosen ids"));
  UM_RETURN_IF_ERROR(device_.Fill(chosen_.data(), 0, chosen));
  if (program_.ops.back().kind == OpKind::kSample) chosen_value_ = program_.ops.back().out;
  UM_ASSIGN_OR_RETURN(chains_, ChainStage::Make(device_, launches_.Chains(), program_, folds_));
  if (Draws()) {
    UM_ASSIGN_OR_RETURN(draw_, DrawStage::Make(device_, options_, program_.vocab, graph_.forced));
  }
  return {};
}

Status GraphExecutor::Load(const WeightSource& source) {
  plan_ = PlanBuffers(program_, program_.logits, launches_.Together());
  UM_RETURN_IF_ERROR(CheckRows());
  UM_RETURN_IF_ERROR(CheckFits(DeviceWeightBytes(program_, graph_.act)));
  UM_ASSIGN_OR_RETURN(weights_, UploadWeights(program_, source, device_, graph_.act, kScratchBytes, options_.loading));
  UM_RETURN_IF_ERROR(Allocate());
  UM_ASSIGN_OR_RETURN(softmax_, GraphSoftmax::Make(device_, program_, options_, graph_));
  return graph_.stream == GraphOptions::kNever || graph_.note_scores ? Status() : MakeStream();
}

Status GraphExecutor::MakeStream() {
  if (graph_.act != DType::kBF16) {
    return graph_.stream == GraphOptions::kAlways ? UsageError("the stream kernel works in bf16: add --dtype bf16")
                                                  : Status();
  }
  const StreamShared shared = {device_,
                               options_,
                               [this](int w) { return WeightAt(w); },
                               [this](int rope) { return cos_sin_[static_cast<size_t>(rope)].data(); },
                               folds_,
                               pages_.Keys(0),
                               pages_.Values(0),
                               pages_.layer_bytes(),
                               program_.logits < 0 ? nullptr : As<float>(program_.logits),
                               Chosen(),
                               reinterpret_cast<int*>(chosen_.data()),
                               graph_.note_times};
  Result<std::unique_ptr<StreamStep>> made = StreamStep::Make(program_, shared);
  if (made.ok()) {
    stream_ = std::move(made).value();
    if (graph_.plan != nullptr) measured_rows_ = graph_.plan->StreamRows(ProgramKey(program_), graph_.act);
    memory_.workspace += stream_->workspace_bytes();
    return {};
  }
  const bool unfit = made.status().kind() == ErrorKind::kUsage;
  return unfit && graph_.stream == GraphOptions::kWhereItFits ? Status() : made.status();
}

bool GraphExecutor::StreamsShape(const StepShape& shape) const {
  if (stream_ == nullptr || stream_refused_ || !shape.decode() || shape.tokens > stream_->max_rows()) return false;
  const int pays = measured_rows_ >= 0 ? measured_rows_ : StreamStep::kPaysUpTo;
  if (graph_.stream == GraphOptions::kWhereItFits && shape.tokens > pays) return false;
  return shape.outputs == shape.tokens;
}

// A decode step whose rows all want their logits, in their order.
bool GraphExecutor::Streams(const StepShape& shape, const Step& step) const {
  return StreamsShape(shape) && std::ranges::equal(step.outputs, std::views::iota(0, shape.outputs));
}

std::string GraphExecutor::PlanText(int tokens, int decodes, int context) const {
  const StepShape shape = {tokens, std::max(decodes, 1), decodes,
                           static_cast<int>(std::bit_ceil(static_cast<unsigned>(context)))};
  const char* why = graph_.stream == GraphOptions::kAlways ? "forced"
                    : measured_rows_ >= 0                  ? "measured"
                                                           : "built-in bound";
  const std::string streams =
      StreamsShape(shape) ? fmt::format("in one launch (stream; {}); op by op it would be:\n", why) : "";
  return streams + launches_.Text(shape);
}

Status GraphExecutor::UploadInputs(const Step& step) {
  host_inputs_.clear();
  for (std::span<const int> part : {step.ids, step.positions, step.sequences, RopeRowsOf(step), step.outputs}) {
    host_inputs_.insert(host_inputs_.end(), part.begin(), part.end());
  }
  return device_.Upload(inputs_.data(), host_inputs_.data(), host_inputs_.size() * sizeof(int));
}

Status GraphExecutor::UploadPages(const Step& step) {
  if (std::equal(host_pages_.begin(), host_pages_.end(), step.page_table.begin(), step.page_table.end())) return {};
  host_pages_.assign(step.page_table.begin(), step.page_table.end());
  return device_.Upload(page_table_.data(), host_pages_.data(), host_pages_.size() * sizeof(int));
}

template <class Args>
Result<Launch> GraphExecutor::MakeLaunch(const Case& c, const Args& args) {
  const Row* row = launches_.RowOf(c);
  if (row == nullptr) return Internal("no kernel row fits {} with m={} n={} k={}", OpName(c.op), c.m, c.n, c.k);
  UM_ASSIGN_OR_RETURN(Launch launch, LaunchOf(device_, *row, c, args));
  launch.overlap = true;
  return launch;
}

AttentionArgs GraphExecutor::AttentionOf(const Op& op, const StepShape& shape, RowPart part) const {
  const Case c = launches_.CaseOf(op, shape, part);
  AttentionArgs args{};
  args.q = AtRow(op.in, part.first);
  args.k_cache = pages_.Keys(op.layer);
  args.v_cache = pages_.Values(op.layer);
  args.y = AtRow(op.out, part.first);
  args.positions = Input(1, shape) + part.first;
  args.sequences = Input(2, shape) + part.first;
  args.page_table = reinterpret_cast<const int*>(page_table_.data());
  args.partial = reinterpret_cast<float*>(partial_.data());
  args.counters = reinterpret_cast<int*>(counters_.data());
  args.m = c.m;
  const AttentionShape& a = program_.attention;
  std::tie(args.heads, args.kv_heads, args.head_dim) = std::tie(a.heads, a.kv_heads, a.head_dim);
  args.q_stride = Stride(op.in);
  args.page_tokens = options_.page_tokens;
  args.max_pages = options_.max_pages;
  args.splits = AttentionSplits(c, device_.limits());
  std::tie(args.scale, args.cap, args.window) = std::tie(a.scale, op.cap, op.window);
  args.split_tokens = c.split_tokens;
  args.words = words_.data();
  softmax_.AddTo(&args, op.layer);
  return args;
}

LinearArgs GraphExecutor::LinearOf(const Op& op, const Case& c, RowPart part) const {
  LinearArgs args{};
  args.x = AtRow(op.in, part.first);
  args.w = WeightAt(op.weight);
  args.y = AtRow(op.out, part.first);
  args.bias = Floats(op.bias);
  args.residual = reinterpret_cast<const float*>(AtRow(op.in2, part.first));
  std::tie(args.m, args.n, args.k, args.flags) = std::tie(c.m, c.n, c.k, c.flags);
  std::tie(args.act, args.scale, args.cap) = std::tie(op.act, op.scale, op.cap);
  args.x_stride = Stride(op.in);
  args.y_stride = Stride(op.out);
  args.partial = reinterpret_cast<float*>(partial_.data());
  args.counters = reinterpret_cast<int*>(counters_.data());
  args.words = reinterpret_cast<float*>(words_.data() + RingWords());
  return args;
}

Result<Launch> GraphExecutor::Chain(const ChainOps& chain, const StepShape& shape, RowPart part) {
  ChainArgs args{};
  for (int number : chain.linear) {
    const Op& op = program_.ops[static_cast<size_t>(number)];
    static_cast<LinearArgs&>(args.link[args.links++]) = LinearOf(op, launches_.CaseOf(op, shape, part), part);
  }
  if (chain.rope >= 0) args.rope = RopeOf(program_.ops[static_cast<size_t>(chain.rope)], shape, part);
  return chains_->Plan(chain, args, [this](int w) { return Floats(w); });
}

RopeStoreArgs GraphExecutor::RopeOf(const Op& op, const StepShape& shape, RowPart part) const {
  const AttentionShape& a = program_.attention;
  RopeStoreArgs args{};
  std::tie(args.q, args.k, args.v) =
      std::make_tuple(AtRow(op.in, part.first), AtRow(op.in2, part.first), AtRow(op.in3, part.first));
  std::tie(args.k_cache, args.v_cache) = std::make_tuple(pages_.Keys(op.layer), pages_.Values(op.layer));
  if (op.rope >= 0) {
    const Rope& rope = program_.ropes[static_cast<size_t>(op.rope)];
    args.cos_sin = reinterpret_cast<const float*>(cos_sin_[static_cast<size_t>(op.rope)].data());
    args.interleaved = rope.interleaved;
    args.rotary = static_cast<int>(rope.inv_freq.size()) * 2;
  }
  args.positions = Input(1, shape) + part.first;
  args.sequences = Input(2, shape) + part.first;
  args.rope_rows = Input(3, shape) + part.first;
  args.page_table = reinterpret_cast<const int*>(page_table_.data());
  std::tie(args.m, args.stride) = std::make_tuple(part.count, Stride(op.in));
  std::tie(args.heads, args.kv_heads, args.head_dim) = std::tie(a.heads, a.kv_heads, a.head_dim);
  std::tie(args.page_tokens, args.max_pages) = std::tie(options_.page_tokens, options_.max_pages);
  return args;
}

Result<Launch> GraphExecutor::Plan(const Op& op, const StepShape& shape, RowPart part) {
  const Case c = launches_.CaseOf(op, shape, part);
  const int* ids = Input(0, shape);
  const int* positions = Input(1, shape);
  const int* outputs = Input(4, shape);
  const float *weight = Floats(op.weight), *bias = Floats(op.bias);
  switch (op.kind) {
    case OpKind::kEmbed:
      return MakeLaunch(
          c, EmbedArgs{ids, WeightAt(op.weight), As<float>(op.out), c.m, c.n, program_.vocab, op.scale, Chosen()});
    case OpKind::kAddPosition:
      return MakeLaunch(c, AddPositionArgs{As<float>(op.in), weight, positions, As<float>(op.out), c.m, c.n,
                                           program_.weights[static_cast<size_t>(op.weight)].rows, op.first});
    case OpKind::kNorm:
      return MakeLaunch(c, NormArgs{At(op.in), weight, At(op.out), c.m, c.n, op.eps, bias, c.groups, Stride(op.in),
                                    Stride(op.out), op.offset, c.flags});
    case OpKind::kLinear:
      return MakeLaunch(c, LinearOf(op, c, part));
    case OpKind::kRopeAndStore:
      return MakeLaunch(c, RopeOf(op, shape, part));
    case OpKind::kAttention:
      return MakeLaunch(c, AttentionOf(op, shape, part));
    case OpKind::kActMul:
      return MakeLaunch(c, ActMulArgs{At(op.in), At(op.in2), At(op.out), c.m, c.n, Stride(op.in), op.act, c.flags});
    case OpKind::kAdd:
      return MakeLaunch(c, AddArgs{As<float>(op.in), At(op.in2), As<float>(op.out), c.m, c.n, op.scale});
    case OpKind::kSelect:
      return MakeLaunch(c, SelectArgs{As<float>(op.in), outputs, As<float>(op.out), c.m, c.n});
    case OpKind::kSample:
      return MakeLaunch(c, SampleArgs{As<float>(op.in), As<int>(op.out), c.m, c.n});
  }
  return Internal("op {} has no launch", OpName(op.kind));
}

Result<RecordedStep*> GraphExecutor::Recorded(const StepShape& shape) {
  const auto found = recorded_.find(shape);
  if (found != recorded_.end()) return &found->second;
  // Steps that are not decode steps seldom come again in the same shape: only the last one is kept.
  std::erase_if(recorded_, [](const auto& entry) { return !entry.first.decode(); });
  RecordedStep step;
  bool chained = false;  // the launch before was a chain
  for (size_t i = 0; i < program_.ops.size(); ++i) {
    const Op& op = program_.ops[i];
    const ChainOps chain = launches_.ChainAt(i, shape);
    if (chain.linear.size() > 1) {
      for (const RowPart& part : launches_.PartsOf(op, shape)) {
        UM_ASSIGN_OR_RETURN(const Launch launch, Chain(chain, shape, part));
        step.launches.push_back(launch);
      }
      i = chain.Last();
      chained = true;
      continue;
    }
    if (op.kind == OpKind::kAttention && softmax_.notes_scores()) {  // of what it will read
      const AttentionArgs args = AttentionOf(op, shape, {0, shape.tokens, shape.decode()});
      UM_ASSIGN_OR_RETURN(const Launch launch, softmax_.NoteScores(args, op.layer));
      step.launches.push_back(launch);
    }
    for (const RowPart& part : launches_.PartsOf(op, shape)) {
      UM_ASSIGN_OR_RETURN(Launch launch, Plan(op, shape, part));
      step.guarded_blocks += GraphSoftmax::GuardedBlocks(*launches_.RowOf(launches_.CaseOf(op, shape, part)), launch);
      // A decode row fetches older keys before the launch before it has ended, which may have written them here.
      if (op.kind == OpKind::kAttention && graph_.deterministic && !shape.decode()) launch.overlap = false;
      if (chained) Spread(&launch, device_.limits());
      chained = false;
      step.launches.push_back(launch);
    }
  }
  if (!step.launches.empty()) step.launches.front().overlap = false;  // it follows a copy, not a kernel
  if (graph_.capture && shape.decode()) {
    UM_ASSIGN_OR_RETURN(step.graph, device_.Capture([&]() -> Status {
      for (const Launch& launch : step.launches) UM_RETURN_IF_ERROR(device_.Run(launch));
      return {};
    }));
  }
  return &recorded_.emplace(shape, std::move(step)).first->second;
}

Status GraphExecutor::Run(const Step& step) {
  const int before = static_cast<int>(fetched_[static_cast<size_t>(run_ % 2)]);
  UM_RETURN_IF_ERROR(check_(step, before));
  UM_ASSIGN_OR_RETURN(const StepShape shape, launches_.ShapeOf(step));
  last_ = shape;
  if (draw_ != nullptr && !step.draws.empty()) {
    UM_RETURN_IF_ERROR(draw_->Check(step, before));
    UM_RETURN_IF_ERROR(draw_->Keep(Chosen(), static_cast<size_t>(before)));
  }
  UM_RETURN_IF_ERROR(UploadPages(step));
  if (Streams(shape, step)) {
    const Status ran = stream_->Run(
        {step.ids, step.positions, step.sequences, RopeRowsOf(step), reinterpret_cast<const int*>(page_table_.data())});
    if (ran.ok()) return FetchIds(step);
    if (ran.kind() != ErrorKind::kUsage || graph_.stream == GraphOptions::kAlways) return ran;
    LogWarning("{}: decode steps go op by op from now on", ran.text());
    stream_refused_ = true;  // what it did before may still be fetched
  }
  UM_RETURN_IF_ERROR(UploadInputs(step));
  UM_ASSIGN_OR_RETURN(RecordedStep * recorded, Recorded(shape));
  softmax_.Ran(recorded->guarded_blocks);
  if (recorded->graph != nullptr) {
    UM_RETURN_IF_ERROR(device_.Run(*recorded->graph));
  } else {
    for (const Launch& launch : recorded->launches) UM_RETURN_IF_ERROR(device_.Run(launch));
  }
  return FetchIds(step);
}

// Draws what the step asks for, then begins to bring the ids that it has chosen to the host, before the next step.
Status GraphExecutor::FetchIds(const Step& step) {
  const auto slot = static_cast<size_t>(++run_ % 2);
  fetched_[slot] = chosen_value_ < 0 ? 0 : static_cast<size_t>(last_.outputs);
  if (draw_ != nullptr && !step.draws.empty()) {
    UM_RETURN_IF_ERROR(draw_->Run(step, As<float>(program_.logits), Chosen()));
  }
  const size_t words = static_cast<size_t>(StreamStep::kFaultWords) + fetched_[slot];
  return device_.Fetch(static_cast<int>(slot), chosen_.data(), words * sizeof(int));
}

Result<std::span<const int>> GraphExecutor::IdsOf(int slot) {
  if (chosen_value_ < 0) return Internal("the program does not sample");
  UM_ASSIGN_OR_RETURN(const std::byte* bytes, device_.Fetched(slot));
  const int* words = reinterpret_cast<const int*>(bytes);
  if (stream_ != nullptr) UM_RETURN_IF_ERROR(stream_->FaultIn(words));
  return std::span<const int>(words + StreamStep::kFaultWords, fetched_[static_cast<size_t>(slot)]);
}

Result<std::span<const float>> GraphExecutor::Logits(int row) {
  if (program_.logits < 0) return Internal("the program has no logits");
  logits_.resize(static_cast<size_t>(program_.vocab));
  const float* from = As<float>(program_.logits) + static_cast<int64_t>(row) * program_.vocab;
  UM_RETURN_IF_ERROR(device_.Download(logits_.data(), from, logits_.size() * 4));
  return std::span<const float>(logits_);
}

Result<std::vector<float>> GraphExecutor::Read(int value) {
  const Value& v = program_.values[static_cast<size_t>(value)];
  const int rows = v.rows == Rows::kTokens ? last_.tokens : last_.outputs;
  const int bytes = ElementBytes(v.storage);
  std::vector<float> values;
  std::vector<std::byte> row(static_cast<size_t>(v.cols) * static_cast<size_t>(bytes));
  for (int t = 0; t < rows; ++t) {
    UM_RETURN_IF_ERROR(
        device_.Download(row.data(), At(value) + static_cast<int64_t>(t) * Stride(value) * bytes, row.size()));
    const size_t at = values.size();
    values.resize(at + static_cast<size_t>(v.cols));
    if (v.storage == Storage::kIds) {
      for (int c = 0; c < v.cols; ++c)
        values[at + static_cast<size_t>(c)] = static_cast<float>(reinterpret_cast<int*>(row.data())[c]);
    } else {
      Dequantize(v.storage == Storage::kWide ? DType::kF32 : graph_.act, row.data(), static_cast<uint64_t>(v.cols),
                 values.data() + at);
    }
  }
  return values;
}

// Rows that were forced sum in orders of their own.
std::string GraphExecutor::PageForm() const {
  std::string form = Describe();
  for (const ForcedRow& row : graph_.forced) form += fmt::format(", {}={}", OpName(row.op), row.variant);
  return form;
}

}  // namespace

Program FuseForGraph(const Program& program, DType act) {
  return Fuse(program, {.residual = true, .act_mul = act != DType::kF32, .act = true});
}

Result<std::unique_ptr<Executor>> MakeGraphExecutor(const Program& program, const WeightSource& source, Device& device,
                                                    const ExecutorOptions& options, const GraphOptions& graph) {
  if (options.page_tokens % 32 != 0) return Internal("pages of {} positions, no multiple of 32", options.page_tokens);
  auto executor = std::make_unique<GraphExecutor>(FuseForGraph(program, graph.act), device, options, graph);
  UM_RETURN_IF_ERROR(executor->Load(source));
  return std::unique_ptr<Executor>(std::move(executor));
}

}  // namespace unimax
