// SPDX-License-Identifier: Apache-2.0
// Keys of GGUF metadata: ggml-org/ggml docs/gguf.md, "LLM" and "Rope".
#include <algorithm>
#include <cmath>
#include <string>

#include "base/json_walk.h"
#include "models/config.h"
#include "models/config_gguf_fields.h"

namespace unimax {
namespace {

class GgufConfigReader {
 public:
  GgufConfigReader(const GgufFile& file, const ArchitectureRow& row)
      : file_(file), metadata_(file.metadata()), row_(row), fields_(file, row) {}

  Result<ModelConfig> Read() {
    config_.architecture = row_.name;
    config_.activation = row_.activation;
    UM_RETURN_IF_ERROR(Shape());
    UM_RETURN_IF_ERROR(Refuse());
    UM_RETURN_IF_ERROR(Vocabulary());
    UM_RETURN_IF_ERROR(Scales());
    UM_RETURN_IF_ERROR(ReadGgufWindows(fields_, &config_));
    UM_RETURN_IF_ERROR(ReadGgufRope(fields_, &config_));
    UM_RETURN_IF_ERROR(Ends());
    config_.embedding_width = config_.hidden;
    config_.tied_embeddings = file_.Find("output.weight") == nullptr;
    config_.attention_bias = file_.Find("blk.0.attn_q.bias") != nullptr || file_.Find("blk.0.attn_qkv.bias") != nullptr;
    config_.mlp_bias = file_.Find("blk.0.ffn_gate.bias") != nullptr;
    return std::move(config_);
  }

 private:
  const std::string& where() const { return file_.name(); }
  std::string Key(std::string_view suffix) const { return fields_.Key(suffix); }

  Status Shape() {
    UM_ASSIGN_OR_RETURN(config_.layers, fields_.Whole("block_count", 1, kMaxLayers));
    UM_ASSIGN_OR_RETURN(config_.hidden, fields_.Whole("embedding_length", 1, kMaxHidden));
    UM_ASSIGN_OR_RETURN(config_.heads, fields_.Whole("attention.head_count", 1, kMaxHeads));
    UM_ASSIGN_OR_RETURN(config_.kv_heads, fields_.WholeOr("attention.head_count_kv", 1, kMaxHeads, config_.heads));
    if (config_.heads % config_.kv_heads != 0)
      return BadModel("{}: {} {} does not divide {} {}", where(), Key("attention.head_count_kv"), config_.kv_heads,
                      Key("attention.head_count"), config_.heads);
    if (fields_.Has("attention.key_length")) {
      UM_ASSIGN_OR_RETURN(config_.head_dim, fields_.Whole("attention.key_length", 1, kMaxHeadDim));
    } else if (config_.hidden % config_.heads != 0 || config_.hidden / config_.heads > kMaxHeadDim) {
      return BadModel("{}: {} {} does not fit {} {}", where(), Key("attention.head_count"), config_.heads,
                      Key("embedding_length"), config_.hidden);
    } else {
      config_.head_dim = config_.hidden / config_.heads;
    }
    if (config_.head_dim % 2 != 0)
      return BadModel("{}: {} makes heads of odd width {}", where(),
                      Key(fields_.Has("attention.key_length") ? "attention.key_length" : "attention.head_count"),
                      config_.head_dim);
    UM_ASSIGN_OR_RETURN(config_.intermediate, fields_.Whole("feed_forward_length", 1, kMaxIntermediate));
    UM_ASSIGN_OR_RETURN(const int64_t context, metadata_.Integer(Key("context_length")));
    UM_RETURN_IF_ERROR(CheckWhole(where(), Key("context_length"), context, 1, INT64_MAX));
    config_.context = static_cast<int>(std::min<int64_t>(context, kMaxContext));
    const char* eps_key = row_.layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
    if (!fields_.Has(eps_key)) return BadModel("{}: key {} is missing", where(), Key(eps_key));
    UM_ASSIGN_OR_RETURN(const double eps, fields_.RealOr(eps_key, 0.0, 1.0, 0.0));
    config_.norm_eps = static_cast<float>(eps);
    return {};
  }

  // Traits that would change the result and that this architecture's programs do not have.
  Status Refuse() const {
    UM_ASSIGN_OR_RETURN(const int experts, fields_.WholeOr("expert_count", 0, 1 << 16, 0));
    if (experts > 0)
      return BadModel("{}: {} is {}: mixtures of experts are not supported", where(), Key("expert_count"), experts);
    UM_ASSIGN_OR_RETURN(const int width, fields_.WholeOr("attention.value_length", 1, kMaxHidden, config_.head_dim));
    if (width != config_.head_dim)
      return BadModel("{}: {} is {}, but heads are {} wide: not supported", where(), Key("attention.value_length"),
                      width, config_.head_dim);
    if (file_.Find("blk.0.attn_norm_2.weight") != nullptr)
      return BadModel("{}: tensor blk.0.attn_norm_2.weight: two norms before attention are not supported", where());
    return {};
  }

  // Factors, caps and the like, where the architecture has them.
  Status Scales() {
    struct Row {
      const char* key;
      float ModelConfig::*field;
      bool inverse;
    };
    static constexpr Row kAnywhere[] = {{"attention.scale", &ModelConfig::attention_scale, false},
                                        {"attn_logit_softcapping", &ModelConfig::attention_cap, false},
                                        {"final_logit_softcapping", &ModelConfig::logit_cap, false}};
    static constexpr Row kMultipliers[] = {{"embedding_scale", &ModelConfig::embedding_scale, false},
                                           {"residual_scale", &ModelConfig::residual_scale, false},
                                           {"logit_scale", &ModelConfig::logit_scale, true}};
    const auto read = [&](const Row& row) -> Status {
      if (!fields_.Has(row.key)) return {};
      UM_ASSIGN_OR_RETURN(const double value, fields_.RealOr(row.key, 0.0, 1e9, 1.0));
      config_.*row.field = static_cast<float>(row.inverse ? 1.0 / value : value);
      return {};
    };
    if (row_.gguf_narrow_layers == config_.layers)
      config_.attention_scale = std::sqrt(static_cast<float>(config_.heads) / static_cast<float>(config_.hidden));
    for (const Row& row : kAnywhere) UM_RETURN_IF_ERROR(read(row));
    for (const Row& row : kMultipliers) {
      if (fields_.Has(row.key) && !row_.multipliers) return BadModel("{}: {} is not supported", where(), Key(row.key));
      UM_RETURN_IF_ERROR(read(row));
    }
    config_.parallel_residual = row_.parallel;
    if (fields_.Has("use_parallel_residual")) {
      UM_ASSIGN_OR_RETURN(config_.parallel_residual, metadata_.Bool(Key("use_parallel_residual")));
    }
    return {};
  }

  Status Vocabulary() {
    const TensorView* embedding = file_.Find("token_embd.weight");
    if (embedding == nullptr) return BadModel("{}: tensor token_embd.weight is missing", where());
    if (embedding->shape.size() != 2 || embedding->shape[1] != static_cast<uint64_t>(config_.hidden))
      return BadModel("{}: tensor token_embd.weight has no rows of {} {}", where(), Key("embedding_length"),
                      config_.hidden);
    if (embedding->shape[0] > kMaxVocab)
      return BadModel("{}: tensor token_embd.weight has {} rows, over {}", where(), embedding->shape[0], kMaxVocab);
    config_.vocab = static_cast<int>(embedding->shape[0]);
    const std::string size_key = Key("vocab_size");
    UM_ASSIGN_OR_RETURN(const int size, fields_.WholeOr("vocab_size", 1, INT32_MAX, config_.vocab));
    if (size > config_.vocab)
      return BadModel("{}: {} is {}, but the embedding has {} rows", where(), size_key, size, config_.vocab);
    const GgufValue* tokens = metadata_.Find("tokenizer.ggml.tokens");
    if (tokens != nullptr && tokens->is_array && tokens->count > embedding->shape[0])
      return BadModel("{}: tokenizer.ggml.tokens has {} items, but the embedding has {} rows", where(), tokens->count,
                      config_.vocab);
    return {};
  }

  // The id under `key`, -1 when there is none.
  Result<int> Token(const std::string& key) const {
    if (!metadata_.Has(key)) return -1;
    UM_ASSIGN_OR_RETURN(const int64_t id, metadata_.Integer(key));
    if (id == -1 || id == 0xffffffff) return -1;  // some writers say "none" this way
    UM_RETURN_IF_ERROR(CheckWhole(where(), key, id, 0, config_.vocab - 1));
    return static_cast<int>(id);
  }

  Status Ends() {
    UM_ASSIGN_OR_RETURN(config_.bos_id, Token("tokenizer.ggml.bos_token_id"));
    for (const char* name : {"eos", "eot", "eom"}) {
      UM_ASSIGN_OR_RETURN(const int id, Token(fmt::format("tokenizer.ggml.{}_token_id", name)));
      const auto& ids = config_.eos_ids;
      if (id >= 0 && std::find(ids.begin(), ids.end(), id) == ids.end()) config_.eos_ids.push_back(id);
    }
    return {};
  }

  const GgufFile& file_;
  const GgufMetadata& metadata_;
  const ArchitectureRow& row_;
  const GgufFields fields_;
  ModelConfig config_;
};

}  // namespace

Result<ModelConfig> ReadGgufConfig(const GgufFile& file) {
  UM_ASSIGN_OR_RETURN(const std::string_view name, file.metadata().String("general.architecture"));
  std::string supported;
  for (const ArchitectureRow& row : kArchitectures) {
    if (row.gguf.empty()) continue;
    if (row.gguf == name) return GgufConfigReader(file, row).Read();
    supported += fmt::format("{}{}", supported.empty() ? "" : ", ", row.gguf);
  }
  return BadModel("{}: general.architecture '{}' is not supported (supported: {})", file.name(), Printable(name),
                  supported);
}

}  // namespace unimax
