// SPDX-License-Identifier: Apache-2.0
#include "exec/graph_softmax.h"

#include <string_view>

namespace unimax {

Result<GraphSoftmax> GraphSoftmax::Make(Device& device, const Program& program, const ExecutorOptions& options,
                                        const GraphOptions& graph) {
  GraphSoftmax made;
  made.device_ = &device;
  made.layers_ = program.layers;
  made.heads_ = program.attention.heads;
  made.kv_heads_ = program.attention.kv_heads;
  made.max_tokens_ = options.max_tokens;
  UM_ASSIGN_OR_RETURN(made.redone_, device.Allocate(sizeof(int), "blocks done again"));
  UM_RETURN_IF_ERROR(device.Fill(made.redone_.data(), 0, sizeof(int)));
  if (!graph.phi.empty()) {
    const size_t count = static_cast<size_t>(made.layers_) * static_cast<size_t>(made.kv_heads_);
    if (graph.phi.size() != count) {
      return UsageError("phi has {} values where the model has {} layers of {} KV heads", graph.phi.size(),
                        made.layers_, made.kv_heads_);
    }
    UM_ASSIGN_OR_RETURN(made.phi_, device.Allocate(count * sizeof(float), "phi"));
    UM_RETURN_IF_ERROR(device.Upload(made.phi_.data(), graph.phi.data(), count * sizeof(float)));
  }
  if (graph.note_scores) {
    if (graph.act != DType::kBF16) return UsageError("phi is for the rows in bf16: add --dtype bf16");
    const size_t count =
        static_cast<size_t>(made.layers_) * static_cast<size_t>(options.max_tokens) * static_cast<size_t>(made.heads_);
    UM_ASSIGN_OR_RETURN(made.scores_, device.Allocate(count * sizeof(float), "largest scores"));
  }
  return made;
}

void GraphSoftmax::AddTo(AttentionArgs* args, int layer) const {
  if (phi_.bytes() > 0) args->phi = reinterpret_cast<const float*>(phi_.data()) + int64_t{layer} * kv_heads_;
  args->redone = reinterpret_cast<int*>(redone_.data());
}

Result<Launch> GraphSoftmax::NoteScores(const AttentionArgs& args, int layer) const {
  UM_ASSIGN_OR_RETURN(const Kernel kernel, device_->FindKernel("largest_scores_bf16"));
  AttentionArgs own = args;
  own.y = reinterpret_cast<float*>(scores_.data()) + int64_t{layer} * max_tokens_ * heads_;
  Launch launch = Launch::Of(kernel, own);
  launch.grid_x = args.m;
  launch.grid_y = heads_;
  launch.threads = 128;
  launch.shared_bytes = device_->limits().lanes * static_cast<int>(sizeof(float));
  return launch;
}

int64_t GraphSoftmax::GuardedBlocks(const Row& row, const Launch& launch) {
  const bool guarded = row.op == OpKind::kAttention && std::string_view(row.variant) == "unified";
  return guarded ? int64_t{launch.grid_x} * launch.grid_y * launch.grid_z : 0;
}

Result<GuardCount> GraphSoftmax::Count() const {
  int redone = 0;
  UM_RETURN_IF_ERROR(device_->Download(&redone, redone_.data(), sizeof(redone)));
  return GuardCount{blocks_, redone};
}

Result<std::vector<float>> GraphSoftmax::Scores(int tokens) const {
  std::vector<float> scores;
  if (!notes_scores()) return scores;
  const size_t each = static_cast<size_t>(tokens) * static_cast<size_t>(heads_);
  scores.resize(each * static_cast<size_t>(layers_));
  for (int layer = 0; layer < layers_; ++layer) {
    const std::byte* from = scores_.data() + int64_t{layer} * max_tokens_ * heads_ * static_cast<int>(sizeof(float));
    UM_RETURN_IF_ERROR(
        device_->Download(scores.data() + each * static_cast<size_t>(layer), from, each * sizeof(float)));
  }
  return scores;
}

}  // namespace unimax
