// SPDX-License-Identifier: Apache-2.0
#include "exec/stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace unimax {
namespace {

constexpr int kXBudget = 80 * 1024;  // shared memory for x: more would leave the ring too shallow
constexpr unsigned kLastEpoch = 1u << 30;

// The kernel for a model's heads, as named in kernels/gpu/stream_entries.h.
struct StreamKernel {
  const char* name;
  int head_dim, group;  // group: most query heads of a KV head
};
constexpr StreamKernel kKernels[] = {
    {"stream_bf16_64_4", 64, 4}, {"stream_bf16_128_1", 128, 1}, {"stream_bf16_128_4", 128, 4}};

const StreamKernel* KernelFor(const AttentionShape& a) {
  for (const StreamKernel& k : kKernels) {
    if (k.head_dim == a.head_dim && a.heads <= k.group * a.kv_heads) return &k;
  }
  return nullptr;
}

std::string StageName(const StreamStage& s) {
  switch (s.kind) {
    case StreamKind::kEmbed:
      return "embed";
    case StreamKind::kNorm:
      return fmt::format("norm {}", s.n);
    case StreamKind::kLinear:
      return fmt::format("linear {}x{}", s.n, s.k);
    case StreamKind::kAttention:
      return "attention";
    case StreamKind::kMerge:
      return "merge";
    case StreamKind::kChoose:
      return "choose";
  }
  return "";
}

// The largest x that has room; those that have not are read as they are needed.
int BytesOfX(const std::vector<int>& widths, int rows) {
  int most = 0;
  for (const int k : widths) most = k * rows * 2 <= kXBudget ? std::max(most, k * rows * 2) : most;
  return most;
}
int RoundUp(int bytes) { return (bytes + 127) / 128 * 128; }

}  // namespace

std::string ProgramKey(const Program& program) {
  const AttentionShape& a = program.attention;
  std::string text = fmt::format("{} {} {} {} {};", program.layers, program.vocab, a.heads, a.kv_heads, a.head_dim);
  for (const Op& op : program.ops) {
    const auto weight = static_cast<size_t>(std::max(op.weight, 0));
    const bool none = op.weight < 0;
    text += fmt::format("{} {} {} {};", OpName(op.kind), none ? 0 : program.weights[weight].rows,
                        none ? 0 : program.weights[weight].cols, op.window);
  }
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (const unsigned char c : text) hash = (hash ^ c) * 0x100000001b3u;
  return fmt::format("{:016x}", hash);
}

Result<std::unique_ptr<StreamStep>> StreamStep::Make(const Program& program, const StreamShared& shared) {
  const Limits& limits = shared.device.limits();
  const StreamKernel* kernel = KernelFor(program.attention);
  if (kernel == nullptr) {
    return UsageError("no stream kernel for {} heads of {} elements over {} KV heads", program.attention.heads,
                      program.attention.head_dim, program.attention.kv_heads);
  }
  if (shared.options.page_tokens != kStreamPageTokens) {
    return UsageError("the stream kernel takes pages of {} tokens", kStreamPageTokens);
  }
  auto step = std::make_unique<StreamStep>(shared);
  const Result<Kernel> found = shared.device.FindKernel(kernel->name);
  if (!found.ok()) return UsageError("{} has no stream kernel", limits.target);
  step->kernel_ = found.value();
  step->max_rows_ = std::min({kStreamMostRows, shared.options.max_sequences, shared.options.max_outputs});
  step->group_ = kernel->group;
  const int splits = std::max(1, limits.multiprocessors / program.attention.kv_heads);
  UM_ASSIGN_OR_RETURN(
      step->plan_, PlanStream(program, {.blocks = limits.multiprocessors, .rows = step->max_rows_, .splits = splits}));
  const StreamLayout layout{step->max_rows_};
  const int attention = layout.AttentionBytes(kernel->head_dim, kernel->group);
  if (layout.ring(RoundUp(attention)) + 2 * kStreamSlotBytes > limits.shared_bytes_per_block) {
    return UsageError("{} has too little shared memory for the stream kernel", limits.name);
  }
  step->args_.splits = splits;
  UM_RETURN_IF_ERROR(step->Allocate(program));
  UM_RETURN_IF_ERROR(step->Upload(program));
  return step;
}

uint64_t StreamStep::workspace_bytes() const {
  uint64_t bytes = 0;
  for (const Buffer& words : words_) bytes += words.bytes();
  return bytes;
}

Status StreamStep::Allocate(const Program& program) {
  Device& device = shared_.device;
  const auto rows = static_cast<size_t>(max_rows_), blocks = static_cast<size_t>(device.limits().multiprocessors);
  for (const uint64_t bytes : plan_.buffers) {
    UM_ASSIGN_OR_RETURN(Buffer buffer, device.Allocate(bytes, "words of the stream kernel"));
    words_.push_back(std::move(buffer));
  }
  UM_ASSIGN_OR_RETURN(best_, device.Allocate(blocks * rows * 2 * kStreamWordBytes, "words of the stream kernel"));
  UM_ASSIGN_OR_RETURN(stages_, device.Allocate(plan_.stages.size() * sizeof(StreamStage), "stages"));
  const AttentionShape& a = program.attention;
  args_.stages = reinterpret_cast<const StreamStage*>(stages_.data());
  args_.best = best_.data();
  if (shared_.note_times) {
    const uint64_t bytes = blocks * plan_.stages.size() * kStreamMarks * sizeof(*args_.marks);
    UM_ASSIGN_OR_RETURN(marks_, device.Allocate(bytes, "times of the stream kernel"));
    UM_RETURN_IF_ERROR(device.Fill(marks_.data(), 0, bytes));
    args_.marks = reinterpret_cast<unsigned long long*>(marks_.data());
  }
  args_.chosen = shared_.chosen;
  args_.previous = shared_.chosen;
  args_.fault = shared_.fault;
  UM_ASSIGN_OR_RETURN(claims_, device.Allocate(plan_.stages.size() * sizeof(unsigned), "claims of the stream kernel"));
  args_.claims = reinterpret_cast<unsigned*>(claims_.data());
  args_.count = static_cast<int>(plan_.stages.size());
  args_.max_pages = shared_.options.max_pages;
  args_.heads = a.heads;
  args_.kv_heads = a.kv_heads;
  args_.head_dim = a.head_dim;
  args_.vocab = program.vocab;
  args_.attention_scale = a.scale;
  return ResetEpochs();
}

// Epochs only grow within a life of the words.
Status StreamStep::ResetEpochs() {
  for (const Buffer& words : words_) UM_RETURN_IF_ERROR(shared_.device.Fill(words.data(), 0, words.bytes()));
  UM_RETURN_IF_ERROR(shared_.device.Fill(best_.data(), 0, best_.bytes()));
  UM_RETURN_IF_ERROR(shared_.device.Fill(shared_.fault, 0, kFaultWords * sizeof(int)));
  UM_RETURN_IF_ERROR(shared_.device.Fill(claims_.data(), 0, claims_.bytes()));
  args_.epoch = 0;
  args_.steps = 0;
  return {};
}

// The stages with addresses in place of numbers.
Status StreamStep::Upload(const Program& program) {
  const auto words = [&](int buffer) {
    return buffer < 0 ? nullptr : static_cast<void*>(words_[static_cast<size_t>(buffer)].data());
  };
  std::vector<StreamStage> stages;
  for (const PlannedStage& planned : plan_.stages) {
    StreamStage s = planned.stage;
    s.w = planned.weight < 0 ? nullptr : shared_.weight(planned.weight);
    s.bias = Vector(planned.bias);
    s.norm = Vector(planned.norm);
    s.places = Vector(planned.places);
    s.x = words(planned.x);
    s.x_sums = words(planned.x_sums);
    s.residual = words(planned.residual);
    s.y = s.flags & kStreamLogits ? shared_.logits : words(planned.y);
    s.y_wide = words(planned.y_wide);
    s.y_sums = words(planned.y_sums);
    if (planned.norm_before != nullptr) {
      UM_ASSIGN_OR_RETURN(const NormFold fold, shared_.folds.Of(*planned.linear, *planned.norm_before));
      std::tie(s.slope, s.bias) = std::tie(fold.slope, fold.bias);
    }
    s.partial = words(planned.partial);
    if (s.kind == StreamKind::kAttention) {
      const uint64_t at = static_cast<uint64_t>(planned.layer) * shared_.layer_bytes;
      s.k_cache = shared_.k_cache + at;
      s.v_cache = shared_.v_cache + at;
      if (planned.rope >= 0) {
        const Rope& rope = program.ropes[static_cast<size_t>(planned.rope)];
        s.cos_sin = reinterpret_cast<const float*>(shared_.cos_sin(planned.rope));
        s.rotary = static_cast<int>(rope.inv_freq.size()) * 2;
        s.interleaved = rope.interleaved;
      }
    }
    stages.push_back(s);
  }
  return shared_.device.Upload(stages_.data(), stages.data(), stages.size() * sizeof(StreamStage));
}

Status StreamStep::Run(const StreamInputs& inputs) {
  const Limits& limits = shared_.device.limits();
  if (args_.epoch > kLastEpoch) UM_RETURN_IF_ERROR(ResetEpochs());
  const int rows = static_cast<int>(inputs.ids.size());
  for (size_t row = 0; row < inputs.ids.size(); ++row) {
    args_.rows[row] = {inputs.ids[row], inputs.positions[row], inputs.sequences[row], inputs.rope_rows[row]};
  }
  args_.page_table = inputs.page_table;
  args_.m = rows;
  const StreamLayout layout{rows};
  args_.x_bytes = RoundUp(std::max(layout.AttentionBytes(args_.head_dim, group_), BytesOfX(plan_.widths, rows)));
  const int ring = layout.ring(args_.x_bytes);
  args_.slots =
      std::min(static_cast<int>(limits.shared_bytes_per_block - ring) / kStreamSlotBytes, StreamLayout::kMostSlots);
  if (args_.marks != nullptr) UM_RETURN_IF_ERROR(shared_.device.Fill(args_.marks, 0, marks_.bytes()));
  Launch launch = Launch::Of(kernel_, args_);
  launch.grid_x = limits.multiprocessors;
  launch.threads = (kStreamGroups + kStreamFeeders) * limits.lanes;
  launch.shared_bytes = ring + args_.slots * kStreamSlotBytes;
  launch.together = true;
  UM_RETURN_IF_ERROR(shared_.device.Run(launch));
  args_.epoch += static_cast<unsigned>(args_.count) + 1;
  ++args_.steps;
  return {};
}

Result<std::vector<StageTime>> StreamStep::Times() {
  std::vector<StageTime> times;
  if (args_.marks == nullptr) return times;
  std::vector<unsigned long long> marks(marks_.bytes() / sizeof(unsigned long long));
  UM_RETURN_IF_ERROR(shared_.device.Download(marks.data(), marks_.data(), marks_.bytes()));
  UM_RETURN_IF_ERROR(shared_.device.Fill(marks_.data(), 0, marks_.bytes()));
  if (marks[0] == 0) return times;
  const size_t stages = plan_.stages.size(), step = stages * kStreamMarks;
  unsigned long long start = ~0ull;
  for (size_t at = 0; at < marks.size(); at += step) start = std::min(start, marks[at]);
  for (size_t s = 0; s < stages; ++s) {
    double sum[kStreamMarks] = {}, last = 0;
    int count[kStreamMarks] = {};
    for (size_t at = s * kStreamMarks; at < marks.size(); at += step) {
      for (size_t m = 0; m < kStreamMarks; ++m) {
        if (marks[at + m] < start) continue;  // never
        const double us = static_cast<double>(marks[at + m] - start) * 1e-3;
        sum[m] += us;
        ++count[m];
        if (m == static_cast<size_t>(StreamMark::kEnd)) last = std::max(last, us);
      }
    }
    const auto mean = [&](StreamMark m) {
      const auto i = static_cast<size_t>(m);
      return count[i] > 0 ? sum[i] / count[i] : 0;
    };
    const StreamStage& stage = plan_.stages[s].stage;
    const bool linear = stage.kind == StreamKind::kLinear;
    times.push_back({.name = StageName(stage),
                     .bytes = linear ? 2.0 * stage.n * stage.k : 0,
                     .begin = mean(StreamMark::kBegin),
                     .ready = mean(StreamMark::kReady),
                     .end = mean(StreamMark::kEnd),
                     .last = last,
                     .fed = mean(StreamMark::kFed)});
  }
  return times;
}

Status StreamStep::FaultIn(const int* fault) const {
  if (fault[0] == 0) return {};
  return NoDevice("the stream kernel {} at stage {} of {} in block {} (epoch {}): try --executor graph",
                  fault[0] == kStreamTimeout ? "waited in vain for a result" : "found a result newer than it expects",
                  fault[1], args_.count, fault[2], fault[3]);
}

}  // namespace unimax
