// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint_source.h"

#include <fmt/format.h>

namespace unimax {
namespace {

struct NamePair {
  std::string_view canonical, gguf;
};
// Tensor names of the GGUF specification (ggml-org/ggml docs/gguf.md, "Standardized tensor names").
constexpr NamePair kOuter[] = {
    {"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {"lm_head", "output"}};
constexpr NamePair kInner[] = {
    {"input_layernorm", "attn_norm"}, {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},   {"self_attn.o_proj", "attn_output"}, {"post_attention_layernorm", "ffn_norm"},
    {"mlp.gate_proj", "ffn_gate"},    {"mlp.up_proj", "ffn_up"},           {"mlp.down_proj", "ffn_down"}};

constexpr std::string_view kLayers = "model.layers.";

}  // namespace

std::string GgufName(const std::string& name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string::npos) return "";
  const std::string_view stem = std::string_view(name).substr(0, dot), kind = std::string_view(name).substr(dot);
  if (stem.substr(0, kLayers.size()) != kLayers) {
    for (const NamePair& pair : kOuter) {
      if (stem == pair.canonical) return fmt::format("{}{}", pair.gguf, kind);
    }
    return "";
  }
  const std::string_view rest = stem.substr(kLayers.size());
  const size_t end = rest.find('.');
  if (end == std::string_view::npos) return "";
  for (const NamePair& pair : kInner) {
    if (rest.substr(end + 1) == pair.canonical) return fmt::format("blk.{}.{}{}", rest.substr(0, end), pair.gguf, kind);
  }
  return "";
}

Result<SourceTensor> CheckpointSource::Find(const std::string& name, int rows, int cols) const {
  const std::string own = checkpoint_.kind() == Checkpoint::Kind::kGguf ? GgufName(name) : name;
  UM_ASSIGN_OR_RETURN(const TensorView* tensor, checkpoint_.Need(own));
  // A vector is stored with one dimension: one row.
  const uint64_t found_cols = tensor->shape.empty() ? 1 : tensor->shape.back();
  uint64_t found_rows = 1;
  for (size_t i = 0; i + 1 < tensor->shape.size(); ++i) found_rows *= tensor->shape[i];
  if (found_rows != static_cast<uint64_t>(rows) || found_cols != static_cast<uint64_t>(cols)) {
    return BadModel("{}: tensor {} is [{}, {}] where the configuration asks for [{}, {}]", checkpoint_.path(), own,
                    found_rows, found_cols, rows, cols);
  }
  return SourceTensor{tensor->type, tensor->bytes.data(), rows, cols};
}

void CheckpointSource::Done(const SourceTensor& tensor) const {
  if (tensor.own != nullptr || tensor.rows == 0) return;
  const std::byte* end = tensor.Row(tensor.rows - 1) + RowBytes(tensor.type, static_cast<uint64_t>(tensor.cols));
  TensorView view;
  view.bytes = {tensor.data, static_cast<size_t>(end - tensor.data)};
  checkpoint_.Forget(view);
}

Result<SourceTensor> RandomSource::Find(const std::string&, int rows, int cols) const {
  return SourceTensor{type_, nullptr, rows, cols};
}

}  // namespace unimax
