// SPDX-License-Identifier: Apache-2.0
#include "engine/model.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/mapped_file.h"
#include "device/open.h"
#include "engine/model_cache.h"
#include "engine/softmax_bases.h"
#include "exec/graph.h"
#include "exec/reference.h"
#include "exec/team.h"
#include "models/checkpoint_source.h"
#include "models/config.h"
#include "models/registry.h"

namespace unimax {
namespace {

constexpr int kPageTokens = 32;
constexpr int kDefaultContext = 4096;

Result<DType> ParseType(const std::string& name) {
  if (name == "f32") return DType::kF32;
  if (name == "bf16") return DType::kBF16;
  if (name == "f16") return DType::kF16;
  return UsageError("--dtype {}: give auto, f32, bf16 or f16", name);
}

Result<Isa> ParseIsa(const std::string& name) {
  std::string usable;
  for (Isa isa : kIsas) {
    if (!Supported(isa)) continue;
    if (name == IsaName(isa)) return isa;
    usable += fmt::format("{}{}", usable.empty() ? "" : ", ", IsaName(isa));
  }
  return UsageError("--isa {}: this machine has {}", name, usable);
}

}  // namespace

Result<std::unique_ptr<Model>> Model::Open(const ModelOptions& options) {
  auto model = std::make_unique<Model>();
  model->options_ = options;
  if (options.dtype != "auto") UM_RETURN_IF_ERROR(ParseType(options.dtype).status());
  if (!options.config.empty()) {
    UM_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(options.config));
    const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
    UM_ASSIGN_OR_RETURN(model->config_, ReadJsonConfig(text, "", options.config));
    DType type = DType::kBF16;
    if (options.dtype != "auto") {
      UM_ASSIGN_OR_RETURN(type, ParseType(options.dtype));
    }
    model->source_ = std::make_unique<RandomSource>(type);
  } else {
    UM_ASSIGN_OR_RETURN(const std::string path, ResolveModel(options.model));
    UM_ASSIGN_OR_RETURN(model->checkpoint_, Checkpoint::Open(path));
    UM_ASSIGN_OR_RETURN(model->config_, ReadConfig(*model->checkpoint_));
    model->source_ = std::make_unique<CheckpointSource>(*model->checkpoint_);
    UM_RETURN_IF_ERROR(model->LoadText());
  }
  UM_ASSIGN_OR_RETURN(model->program_, BuildProgram(model->config_));
  return model;
}

Status Model::LoadText() {
  UM_ASSIGN_OR_RETURN(text_, ReadModelText(*checkpoint_));
  if (text_.tokenizer == nullptr) return {};
  const auto piece = [&](int id) { return std::string(id < 0 ? "" : text_.tokenizer->PieceOf(id)); };
  if (text_.bos_token.empty()) text_.bos_token = piece(config_.bos_id);
  if (text_.eos_token.empty()) text_.eos_token = piece(config_.eos_ids.empty() ? -1 : config_.eos_ids[0]);
  return {};
}

// The activation type on a device: what was asked for, or what the checkpoint holds; integers are expanded to bf16.
DType Model::DeviceType() const {
  if (options_.dtype != "auto") return ParseType(options_.dtype).value();
  return IsInteger(main_type()) ? DType::kBF16 : main_type();
}

Result<std::unique_ptr<Executor>> Model::MakeExecutor(const Program& program, const std::string& executor,
                                                      int threads) {
  if (executor == "reference") return MakeReferenceExecutor(program, *source_, limits_);
  const bool graph = executor == "graph", stream = executor == "stream";
  if (executor != "auto" && !graph && !stream) {
    return UsageError("--executor {}: give auto, graph, stream or reference", executor);
  }
  if (device_ != nullptr) {
    if (stream && options_.deterministic) {
      return UsageError("--executor stream sums in orders of its own: leave out --deterministic or take graph");
    }
    const GraphOptions::Stream how = graph || options_.deterministic ? GraphOptions::kNever
                                     : stream                        ? GraphOptions::kAlways
                                                                     : GraphOptions::kWhereItFits;
    GraphOptions options = {
        .act = DeviceType(), .deterministic = options_.deterministic, .stream = how, .note_times = options_.note_times};
    UM_ASSIGN_OR_RETURN(options.forced, ParseForced(options_.force));
    if (plan_) options.plan = &*plan_;
    options.note_scores = options_.note_scores;
    if (!options_.phi.empty()) {
      UM_ASSIGN_OR_RETURN(const SoftmaxBases bases, ReadSoftmaxBases(options_.phi, program));
      options.phi = bases.mean;
    }
    if (!options.forced.empty() && how == GraphOptions::kWhereItFits) options.stream = GraphOptions::kNever;
    return MakeGraphExecutor(program, *source_, *device_, limits_, options);
  }
  if (!options_.phi.empty() || options_.note_scores) {
    return UsageError("phi is for attention on a GPU: give --device");
  }
  if (!options_.force.empty())
    return UsageError("--force {} chooses among kernels of a GPU: give --device", options_.force);
  if (!options_.plan.empty() && options_.plan != "none") {
    return UsageError("--plan {} is for a GPU: give --device", options_.plan);
  }
  if (graph || stream) return UsageError("--executor {} runs on a GPU or the emulator: give --device", executor);
  TeamOptions team;
  if (options_.threads > 0) team.threads = options_.threads;
  if (threads > 0) team.threads = threads;
  team.deterministic = options_.deterministic;
  if (options_.isa != "auto") {
    UM_ASSIGN_OR_RETURN(team.isa, ParseIsa(options_.isa));
  }
  team.plain = options_.dtype == "f32";
  return MakeTeamExecutor(program, *source_, limits_, team);
}

Result<std::unique_ptr<Model>> Model::Load(const ModelOptions& options) {
  if (options.dtype != "auto") UM_RETURN_IF_ERROR(ParseType(options.dtype).status());
  if (options.isa != "auto") UM_RETURN_IF_ERROR(ParseIsa(options.isa).status());
  UM_ASSIGN_OR_RETURN(const DeviceChoice choice, ParseDevice(options.device));
  UM_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, Open(options));
  UM_ASSIGN_OR_RETURN(OpenedDevice opened, unimax::Open(choice));
  model->device_ = std::move(opened.device);
  model->device_note_ = opened.why;
  LogInfo("{}", opened.why);
  if (model->device_ != nullptr && IsInteger(model->main_type()) && options.dtype == "auto") {
    LogInfo("weights of type {} are expanded to bf16 on this device", Info(model->main_type()).name);
  }

  if (model->device_ != nullptr) {
    UM_ASSIGN_OR_RETURN(model->plan_, FindPlan(options.plan, model->device_->limits(), BuiltInPlans()));
  }

  const int own = std::max(model->config_.context, 1);
  model->context_ = options.context > 0 ? options.context : std::min(own, kDefaultContext);
  if (model->context_ > own) {
    return UsageError("--context {} is more than the model's {}", model->context_, own);
  }
  ExecutorOptions& limits = model->limits_;
  limits.page_tokens = kPageTokens;
  limits.max_sequences = options.sequences;
  limits.max_pages = (model->context_ + kPageTokens - 1) / kPageTokens;
  limits.pages = limits.max_pages * options.sequences;
  limits.max_tokens = std::max(std::min(options.max_tokens, model->context_ * options.sequences), options.sequences);
  limits.max_outputs = std::max(options.sequences, options.outputs);
  limits.loading = options.loading;
  UM_ASSIGN_OR_RETURN(model->executor_, model->MakeExecutor(model->program_, options.executor));
  return model;
}

Result<std::vector<int>> Model::EncodePrompt(const std::string& prompt, bool raw) const {
  if (!raw) return EncodeMessages({{"user", prompt, ""}});
  if (text_.tokenizer == nullptr) return BadModel("{} has no tokenizer", options_.model);
  std::vector<int> ids = text_.EncodeText(prompt);
  UM_RETURN_IF_ERROR(CheckIds(ids));
  return ids;
}

Result<std::vector<int>> Model::EncodeMessages(const std::vector<Message>& messages) const {
  if (text_.tokenizer == nullptr) return BadModel("{} has no tokenizer", options_.model);
  UM_RETURN_IF_ERROR(text_.chat_error.At(options_.model));
  std::vector<int> ids;
  if (text_.chat_template) {
    UM_ASSIGN_OR_RETURN(const Rendered rendered,
                        text_.chat_template->Render(messages, true, text_.bos_token, text_.eos_token));
    ids = text_.EncodeChat(rendered, true);
  } else {
    std::string all;
    for (const Message& message : messages) all += (all.empty() ? "" : "\n") + message.content;
    ids = text_.EncodeText(all);
  }
  UM_RETURN_IF_ERROR(CheckIds(ids));
  return ids;
}

Status Model::CheckIds(const std::vector<int>& ids) const {
  for (const int id : ids) {
    if (id >= config_.vocab) return BadModel("the tokenizer gives id {} but the model has {} ids", id, config_.vocab);
  }
  return {};
}

PrefixScope Model::prefix_scope() const {
  PrefixScope scope;
  scope.model_digest = options_.model.empty() ? options_.config : options_.model;
  scope.kv_type = executor_->Describe();  // names the types of weights and cache
  scope.page_tokens = limits_.page_tokens;
  if (options_.deterministic) scope.sum_order = "one";
  return scope;
}

DType Model::main_type() const {
  if (!checkpoint_) return options_.dtype == "auto" ? DType::kBF16 : ParseType(options_.dtype).value();
  const TensorView* largest = nullptr;
  for (const TensorView& tensor : checkpoint_->tensors()) {
    if (largest == nullptr || tensor.bytes.size() > largest->bytes.size()) largest = &tensor;
  }
  return largest == nullptr ? DType::kBF16 : largest->type;
}

bool Model::EndsAt(int id) const {
  return std::find(config_.eos_ids.begin(), config_.eos_ids.end(), id) != config_.eos_ids.end();
}

}  // namespace unimax
