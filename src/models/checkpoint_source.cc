// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint_source.h"

#include <fmt/format.h>

#include "models/config.h"

namespace unimax {
namespace {

struct NameRow {
  std::string_view architecture;  // GGUF's; "": all that have no row of their own
  std::string_view canonical, gguf;
};
// Tensor names of the GGUF specification (ggml-org/ggml docs/gguf.md, "Standardized tensor names") and, for what stands
// behind attention and feed-forward, of gguf-py's tensor_mapping.
constexpr NameRow kOuter[] = {
    {"", "model.embed_tokens", "token_embd"},
    {"", "model.norm", "output_norm"},
    {"", "lm_head", "output"},
    {"gpt2", "transformer.wte", "token_embd"},
    {"gpt2", "transformer.wpe", "position_embd"},
    {"", "transformer.ln_f", "output_norm"},
    {"gptneox", "gpt_neox.embed_in", "token_embd"},
    {"gptneox", "gpt_neox.final_layer_norm", "output_norm"},
    {"gptneox", "embed_out", "output"},
    {"falcon", "transformer.word_embeddings", "token_embd"},
};
constexpr NameRow kInner[] = {
    {"", "input_layernorm", "attn_norm"},
    {"", "self_attn.q_proj", "attn_q"},
    {"", "self_attn.k_proj", "attn_k"},
    {"", "self_attn.v_proj", "attn_v"},
    {"", "self_attn.o_proj", "attn_output"},
    {"", "self_attn.q_norm", "attn_q_norm"},
    {"", "self_attn.k_norm", "attn_k_norm"},
    {"", "self_attn.qkv_proj", "attn_qkv"},
    {"gemma2", "post_attention_layernorm", "post_attention_norm"},
    {"gemma3", "post_attention_layernorm", "post_attention_norm"},
    {"olmo2", "post_attention_layernorm", "post_attention_norm"},
    {"", "post_attention_layernorm", "ffn_norm"},
    {"", "pre_feedforward_layernorm", "ffn_norm"},
    {"", "post_feedforward_layernorm", "post_ffw_norm"},
    {"glm4", "post_self_attn_layernorm", "post_attention_norm"},
    {"glm4", "post_mlp_layernorm", "post_ffw_norm"},
    {"", "mlp.gate_proj", "ffn_gate"},
    {"", "mlp.up_proj", "ffn_up"},
    {"", "mlp.down_proj", "ffn_down"},
    {"", "mlp.gate_up_proj", "ffn_up"},
    {"gpt2", "ln_1", "attn_norm"},
    {"gpt2", "ln_2", "ffn_norm"},
    {"gpt2", "attn.c_attn", "attn_qkv"},
    {"gpt2", "attn.c_proj", "attn_output"},
    {"gpt2", "mlp.c_fc", "ffn_up"},
    {"gpt2", "mlp.c_proj", "ffn_down"},
    {"gptneox", "attention.query_key_value", "attn_qkv"},
    {"gptneox", "attention.dense", "attn_output"},
    {"falcon", "self_attention.query_key_value", "attn_qkv"},
    {"falcon", "self_attention.dense", "attn_output"},
    {"", "mlp.dense_h_to_4h", "ffn_up"},
    {"", "mlp.dense_4h_to_h", "ffn_down"},
};

template <size_t n>
std::string_view Mapped(const NameRow (&rows)[n], std::string_view architecture, std::string_view name) {
  for (const NameRow& row : rows) {
    if (row.canonical == name && (row.architecture.empty() || row.architecture == architecture)) return row.gguf;
  }
  return "";
}

// "model.layers.3.mlp.up_proj" -> "3", "mlp.up_proj"; false where no part is a number.
bool SplitLayer(std::string_view stem, std::string_view* number, std::string_view* rest) {
  for (size_t dot = stem.find('.'); dot != std::string_view::npos; dot = stem.find('.', dot + 1)) {
    const size_t end = stem.find('.', dot + 1);
    if (end == std::string_view::npos) return false;
    *number = stem.substr(dot + 1, end - dot - 1);
    *rest = stem.substr(end + 1);
    if (number->find_first_not_of("0123456789") == std::string_view::npos && !number->empty()) return true;
  }
  return false;
}

}  // namespace

std::string GgufName(std::string_view architecture, const std::string& name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string::npos) return "";
  const std::string_view stem = std::string_view(name).substr(0, dot), kind = std::string_view(name).substr(dot);
  std::string_view number, rest;
  if (!SplitLayer(stem, &number, &rest)) {
    const std::string_view outer = Mapped(kOuter, architecture, stem);
    return outer.empty() ? "" : fmt::format("{}{}", outer, kind);
  }
  const std::string_view inner = Mapped(kInner, architecture, rest);
  return inner.empty() ? "" : fmt::format("blk.{}.{}{}", number, inner, kind);
}

Result<const TensorView*> CheckpointSource::Tensor(const std::string& name) const {
  if (checkpoint_.gguf() == nullptr) return NeedTensor(checkpoint_, name);
  UM_ASSIGN_OR_RETURN(const std::string_view architecture, checkpoint_.gguf()->String("general.architecture"));
  const std::string own = GgufName(architecture, name);
  if (own.empty()) return BadModel("{}: no tensor of GGUF is known to hold {}", checkpoint_.path(), name);
  return checkpoint_.Need(own);
}

Result<SourceTensor> CheckpointSource::Find(const std::string& name, int rows, int cols) const {
  UM_ASSIGN_OR_RETURN(const TensorView* tensor, Tensor(name));
  // A vector is stored with one dimension: one row.
  const uint64_t found_cols = tensor->shape.empty() ? 1 : tensor->shape.back();
  uint64_t found_rows = 1;
  for (size_t i = 0; i + 1 < tensor->shape.size(); ++i) found_rows *= tensor->shape[i];
  if (found_rows != static_cast<uint64_t>(rows) || found_cols != static_cast<uint64_t>(cols)) {
    return BadModel("{}: tensor {} is [{}, {}] where the configuration asks for [{}, {}]", checkpoint_.path(),
                    tensor->name, found_rows, found_cols, rows, cols);
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
