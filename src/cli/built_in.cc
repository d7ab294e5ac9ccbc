// SPDX-License-Identifier: Apache-2.0
#include "cli/built_in.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "base/clock.h"
#include "exec/graph.h"
#include "exec/read_rate.h"
#include "exec/reference.h"
#include "exec/team.h"
#include "exec/tune_cases.h"
#include "kernels/plan.h"
#include "models/checkpoint_source.h"
#include "models/config.h"
#include "models/registry.h"

namespace unimax {
namespace {

constexpr BuiltIn kModels[] = {
    {"llama, grouped heads of 64", R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
      "hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4,
      "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 512, "max_position_embeddings": 256,
      "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "hidden_act": "silu", "tie_word_embeddings": false})"},
    {"gpt2, layer norms and biases", R"({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 128,
      "n_layer": 2, "n_head": 4, "n_inner": 192, "n_positions": 96, "n_ctx": 96, "vocab_size": 512,
      "activation_function": "gelu", "layer_norm_epsilon": 1e-5})"},
    {"gemma2, windows and soft caps", R"({"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2",
      "hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 2,
      "num_key_value_heads": 1, "head_dim": 64, "vocab_size": 512, "max_position_embeddings": 256,
      "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "gelu_pytorch_tanh", "sliding_window": 16,
      "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 64, "attn_logit_softcapping": 20.0,
      "final_logit_softcapping": 15.0})"}};

constexpr int kPrompt = 40, kSteps = 6, kTimedContext = 128, kTimedSteps = 32;

uint64_t Mix(uint64_t z) {  // the finalizer of MurmurHash3
  z = (z ^ (z >> 33)) * 0xff51afd7ed558ccdu;
  z = (z ^ (z >> 33)) * 0xc4ceb9fe1a85ec53u;
  return z ^ (z >> 33);
}

// Matrices keep the variance of what they multiply; norms are near 1, biases near 0.
class HashedSource : public WeightSource {
 public:
  Result<SourceTensor> Find(const std::string& name, int rows, int cols) const override {
    const auto count = static_cast<size_t>(rows) * static_cast<size_t>(cols);
    uint64_t seed = 0;
    for (const char c : name) seed = Mix(seed + static_cast<unsigned char>(c) + 0x9e3779b97f4a7c15u);
    const bool vector = rows == 1, bias = name.ends_with("bias");
    const float middle = vector && !bias ? 1.0f : 0.0f;
    const float width = vector ? 0.125f : std::sqrt(3.0f / static_cast<float>(cols));
    std::vector<uint16_t>& values = tensors_[name];
    values.resize(count);
    for (size_t i = 0; i < count; ++i) {
      const auto unit = static_cast<float>(static_cast<int32_t>(Mix(seed + i) >> 32)) * 0x1p-31f;
      values[i] = FloatToBF16(middle + width * unit);
    }
    return SourceTensor{DType::kBF16, reinterpret_cast<const std::byte*>(values.data()), rows, cols};
  }
  void Done(const SourceTensor&) const override {}

 private:
  mutable std::map<std::string, std::vector<uint16_t>> tensors_;
};

Result<Program> ProgramOf(const std::string& config, const std::string& name) {
  UM_ASSIGN_OR_RETURN(const ModelConfig read, ReadJsonConfig(config, "", name));
  return BuildProgram(read);
}

Result<Program> TimedProgram(const Device* device) {
  const std::string config = fmt::format(
      R"({{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048,
      "intermediate_size": 5632, "num_hidden_layers": {}, "num_attention_heads": 32, "num_key_value_heads": 8,
      "vocab_size": 4096, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
      "hidden_act": "silu", "tie_word_embeddings": false}})",
      device != nullptr ? 16 : 2);
  return ProgramOf(config, "times");
}

ExecutorOptions LimitsFor(int tokens) {
  ExecutorOptions limits;
  limits.max_sequences = limits.max_outputs = 1;
  limits.max_tokens = tokens;
  limits.pages = limits.max_pages = (tokens + limits.page_tokens - 1) / limits.page_tokens;
  return limits;
}

Result<std::unique_ptr<Executor>> Make(const Program& program, const WeightSource& source, Device* device, DType act,
                                       const ExecutorOptions& limits) {
  if (device != nullptr) return MakeGraphExecutor(program, source, *device, limits, {.act = act});
  TeamOptions team;
  team.plain = act == DType::kF32;
  return MakeTeamExecutor(program, source, limits, team);
}

// One sequence, whose pages lie in reverse order.
class Sequence {
 public:
  Sequence(Executor& executor, const ExecutorOptions& limits) : executor_(executor) {
    for (int page = limits.max_pages - 1; page >= 0; --page) pages_.push_back(page);
  }
  Status Run(std::span<const int> ids) {
    std::vector<int> positions(ids.size());
    const std::vector<int> sequences(ids.size(), 0), outputs = {static_cast<int>(ids.size()) - 1};
    std::iota(positions.begin(), positions.end(), position_);
    UM_RETURN_IF_ERROR(executor_.Run({ids, positions, sequences, pages_, outputs, positions}));
    position_ += static_cast<int>(ids.size());
    return executor_.Ids().status();  // waits
  }
  void Forget(int position) { position_ = position; }

 private:
  Executor& executor_;
  std::vector<int> pages_;
  int position_ = 0;
};

std::vector<int> Prompt(int count, int vocab) {
  std::vector<int> ids;
  for (int i = 0; i < count; ++i) ids.push_back((17 + 31 * i) % vocab);
  return ids;
}

int Top(std::span<const float> logits) { return static_cast<int>(std::ranges::max_element(logits) - logits.begin()); }

double RelativeError(std::span<const float> got, std::span<const float> want) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += std::pow(static_cast<double>(got[i]) - want[i], 2);
    norm += std::pow(static_cast<double>(want[i]), 2);
  }
  const double error = std::sqrt(difference / norm);
  return std::isfinite(error) ? error : INFINITY;
}

double Quantile(std::vector<double>& sorted, double q) {
  return sorted[static_cast<size_t>(q * static_cast<double>(sorted.size() - 1) + 0.5)];
}

}  // namespace

std::span<const BuiltIn> BuiltInModels() { return kModels; }

Result<BuiltInCheck> CheckBuiltIn(const BuiltIn& model, Device* device, DType act) {
  UM_ASSIGN_OR_RETURN(const Program program, ProgramOf(model.config, model.name));
  const HashedSource source;
  const ExecutorOptions limits = LimitsFor(kPrompt + kSteps);
  UM_ASSIGN_OR_RETURN(const auto truth, MakeReferenceExecutor(program, source, limits));
  UM_ASSIGN_OR_RETURN(const auto executor, Make(program, source, device, act, limits));
  BuiltInCheck check;
  check.executor = executor->Describe();
  check.tolerance = act == DType::kF32 ? 1e-4 : 5e-2;
  Sequence wanted(*truth, limits), given(*executor, limits);
  std::vector<int> ids = Prompt(kPrompt, program.vocab);
  for (; check.steps <= kSteps; ++check.steps) {
    UM_RETURN_IF_ERROR(wanted.Run(ids));
    UM_RETURN_IF_ERROR(given.Run(ids));
    UM_ASSIGN_OR_RETURN(const auto want, truth->Logits(0));
    UM_ASSIGN_OR_RETURN(const auto got, executor->Logits(0));
    check.error = std::max(check.error, RelativeError(got, want));
    check.same_ids += Top(got) == Top(want);
    ids = {Top(want)};
  }
  return check;
}

Result<BuiltInTimes> TimeBuiltIn(Device* device) {
  UM_ASSIGN_OR_RETURN(const Program program, TimedProgram(device));
  const RandomSource source(DType::kBF16);
  const ExecutorOptions limits = LimitsFor(kTimedContext + kTimedSteps);
  UM_ASSIGN_OR_RETURN(const auto executor, Make(program, source, device, DType::kBF16, limits));
  BuiltInTimes times;
  times.executor = executor->Describe();
  times.context = kTimedContext;
  const Cost cost = ProgramCost(program, 1, 1, kTimedContext, {});
  times.bytes = cost.weight_bytes + cost.kv_bytes;
  UM_ASSIGN_OR_RETURN(times.read_rate, ReadRate(device, 0));
  Sequence sequence(*executor, limits);
  const std::vector<int> prompt = Prompt(kTimedContext, program.vocab), next = {5};
  std::vector<double> prefill, decode;
  for (int i = 0; i < 4; ++i) {  // the first warms up
    sequence.Forget(0);
    const double begin = NowMilliseconds();
    UM_RETURN_IF_ERROR(sequence.Run(prompt));
    if (i > 0) prefill.push_back(NowMilliseconds() - begin);
  }
  for (int i = 0; i < kTimedSteps; ++i) {
    const double begin = NowMilliseconds();
    UM_RETURN_IF_ERROR(sequence.Run(next));
    if (i >= 4) decode.push_back(NowMilliseconds() - begin);
  }
  std::ranges::sort(prefill);
  std::ranges::sort(decode);
  times.prefill_ms = Quantile(prefill, 0.5);
  times.decode_ms = Quantile(decode, 0.5);
  times.decode_low = Quantile(decode, 0.25);
  times.decode_high = Quantile(decode, 0.75);
  return times;
}

Result<std::vector<BuiltInTune>> TuneBuiltIn(Device& device, std::string_view only) {
  const Limits& limits = device.limits();
  const bool emulator = limits.target.starts_with("emulator");  // it is slow, and its times say nothing
  UM_ASSIGN_OR_RETURN(const Program program,
                      emulator ? ProgramOf(kModels[0].config, kModels[0].name) : TimedProgram(&device));
  const TuneShapes shapes = emulator ? TuneShapes{{1}, {}, 64} : TuneShapes{{1, 8, 32}, {512}, 1024};
  std::vector<BuiltInTune> all;
  for (const Case& c : TuneCases(FuseForGraph(program, DType::kBF16), limits, DType::kBF16, shapes)) {
    const std::vector<const Row*> rows = CandidateRows(c, limits);
    const auto wanted = [&](const Row* row) { return std::string_view(row->kernel).find(only) != only.npos; };
    if (!TuneData::Has(c.op) || rows.size() < 2 || std::ranges::none_of(rows, wanted)) continue;
    UM_ASSIGN_OR_RETURN(std::vector<TunedRow> tuned, MeasureRows(device, c, rows, TuneOptionsFor(limits, 0)));
    all.push_back({c, std::move(tuned)});
  }
  return all;
}

}  // namespace unimax
