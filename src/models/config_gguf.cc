// SPDX-License-Identifier: Apache-2.0
// Keys of GGUF metadata: ggml-org/ggml docs/gguf.md, "LLM" and "Rope".
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "models/config.h"
#include "models/config_rows.h"
#include "weights/json_walk.h"

namespace unimax {
namespace {

class GgufConfigReader {
 public:
  explicit GgufConfigReader(const GgufFile& file) : file_(file), metadata_(file.metadata()) {}

  Result<ModelConfig> Read() {
    UM_RETURN_IF_ERROR(Architecture());
    UM_RETURN_IF_ERROR(Shape());
    UM_RETURN_IF_ERROR(Refuse());
    UM_RETURN_IF_ERROR(Vocabulary());
    UM_RETURN_IF_ERROR(Rope());
    UM_RETURN_IF_ERROR(Divisors());
    UM_RETURN_IF_ERROR(Ends());
    config_.embedding_width = config_.hidden;
    config_.tied_embeddings = file_.Find("output.weight") == nullptr;
    config_.attention_bias = file_.Find("blk.0.attn_q.bias") != nullptr;
    config_.mlp_bias = file_.Find("blk.0.ffn_gate.bias") != nullptr;
    return std::move(config_);
  }

 private:
  const std::string& where() const { return file_.name(); }
  // "block_count" -> "<architecture>.block_count"
  std::string Key(std::string_view suffix) const { return fmt::format("{}.{}", prefix_, suffix); }

  Result<int> Whole(const std::string& key, int64_t min, int64_t max) const {
    UM_ASSIGN_OR_RETURN(const int64_t value, metadata_.Integer(key));
    UM_RETURN_IF_ERROR(CheckWhole(where(), key, value, min, max));
    return static_cast<int>(value);
  }
  Result<int> WholeOr(const std::string& key, int64_t min, int64_t max, int fallback) const {
    if (!metadata_.Has(key)) return fallback;
    return Whole(key, min, max);
  }
  Result<double> RealOr(const std::string& key, double above, double max, double fallback) const {
    if (!metadata_.Has(key)) return fallback;
    UM_ASSIGN_OR_RETURN(const double value, metadata_.Number(key));
    UM_RETURN_IF_ERROR(CheckReal(where(), key, value, above, max));
    return value;
  }

  Status Architecture() {
    UM_ASSIGN_OR_RETURN(const std::string_view name, metadata_.String("general.architecture"));
    std::string supported;
    for (const ArchitectureRow& row : kArchitectures) {
      if (row.name != "llama") continue;  // families follow
      if (row.gguf == name) {
        row_ = &row;
        config_.architecture = row.name;
        config_.activation = row.activation;
        prefix_ = row.gguf;
        return {};
      }
      supported += fmt::format("{}{}", supported.empty() ? "" : ", ", row.gguf);
    }
    return BadModel("{}: general.architecture '{}' is not supported (supported: {})", where(), Printable(name),
                    supported);
  }

  Status Shape() {
    UM_ASSIGN_OR_RETURN(config_.layers, Whole(Key("block_count"), 1, kMaxLayers));
    UM_ASSIGN_OR_RETURN(config_.hidden, Whole(Key("embedding_length"), 1, kMaxHidden));
    UM_ASSIGN_OR_RETURN(config_.heads, Whole(Key("attention.head_count"), 1, kMaxHeads));
    UM_ASSIGN_OR_RETURN(config_.kv_heads, WholeOr(Key("attention.head_count_kv"), 1, kMaxHeads, config_.heads));
    if (config_.heads % config_.kv_heads != 0)
      return BadModel("{}: {} {} does not divide {} {}", where(), Key("attention.head_count_kv"), config_.kv_heads,
                      Key("attention.head_count"), config_.heads);
    if (metadata_.Has(Key("attention.key_length"))) {
      UM_ASSIGN_OR_RETURN(config_.head_dim, Whole(Key("attention.key_length"), 1, kMaxHeadDim));
    } else if (config_.hidden % config_.heads != 0 || config_.hidden / config_.heads > kMaxHeadDim) {
      return BadModel("{}: {} {} does not fit {} {}", where(), Key("attention.head_count"), config_.heads,
                      Key("embedding_length"), config_.hidden);
    } else {
      config_.head_dim = config_.hidden / config_.heads;
    }
    if (config_.head_dim % 2 != 0)
      return BadModel("{}: {} makes heads of odd width {}", where(),
                      Key(metadata_.Has(Key("attention.key_length")) ? "attention.key_length" : "attention.head_count"),
                      config_.head_dim);
    UM_ASSIGN_OR_RETURN(config_.intermediate, Whole(Key("feed_forward_length"), 1, kMaxIntermediate));
    UM_ASSIGN_OR_RETURN(const int64_t context, metadata_.Integer(Key("context_length")));
    UM_RETURN_IF_ERROR(CheckWhole(where(), Key("context_length"), context, 1, INT64_MAX));
    config_.context = static_cast<int>(std::min<int64_t>(context, kMaxContext));
    if (!metadata_.Has(Key(kEps))) return BadModel("{}: key {} is missing", where(), Key(kEps));
    UM_ASSIGN_OR_RETURN(const double eps, RealOr(Key(kEps), 0.0, 1.0, 0.0));
    config_.norm_eps = static_cast<float>(eps);
    return {};
  }

  // Traits that would change the result and that this architecture's programs do not have.
  Status Refuse() const {
    UM_ASSIGN_OR_RETURN(const int experts, WholeOr(Key("expert_count"), 0, 1 << 16, 0));
    if (experts > 0)
      return BadModel("{}: {} is {}: mixtures of experts are not supported", where(), Key("expert_count"), experts);
    for (const std::string_view suffix : {"attention.value_length", "rope.dimension_count"}) {
      UM_ASSIGN_OR_RETURN(const int width, WholeOr(Key(suffix), 1, kMaxHidden, config_.head_dim));
      if (width != config_.head_dim)
        return BadModel("{}: {} is {}, but heads are {} wide: not supported", where(), Key(suffix), width,
                        config_.head_dim);
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
    UM_ASSIGN_OR_RETURN(const int size, WholeOr(size_key, 1, INT32_MAX, config_.vocab));
    if (size > config_.vocab)
      return BadModel("{}: {} is {}, but the embedding has {} rows", where(), size_key, size, config_.vocab);
    const GgufValue* tokens = metadata_.Find("tokenizer.ggml.tokens");
    if (tokens != nullptr && tokens->is_array && tokens->count > embedding->shape[0])
      return BadModel("{}: tokenizer.ggml.tokens has {} items, but the embedding has {} rows", where(), tokens->count,
                      config_.vocab);
    return {};
  }

  Status Rope() {
    RopeConfig& rope = config_.rope;
    rope.interleaved = row_->interleaved || row_->gguf_permuted;
    rope.rotary = config_.head_dim;
    UM_ASSIGN_OR_RETURN(rope.theta, RealOr(Key("rope.freq_base"), 0.0, 1e15, 10000.0));
    UM_ASSIGN_OR_RETURN(const double old_factor, RealOr(Key("rope.scale_linear"), 0.0, 1e6, 1.0));
    UM_ASSIGN_OR_RETURN(rope.factor, RealOr(Key("rope.scaling.factor"), 0.0, 1e6, old_factor));
    const std::string type_key = Key("rope.scaling.type");
    std::string_view type = rope.factor == 1.0 ? "none" : "linear";
    if (metadata_.Has(type_key)) {
      UM_ASSIGN_OR_RETURN(type, metadata_.String(type_key));
    }
    if (type == "none") {
      rope.factor = 1.0;
      return {};
    }
    if (type == "linear") {
      rope.kind = RopeKind::kLinear;
      return {};
    }
    if (type != "yarn")
      return BadModel("{}: {} '{}' is not supported (supported: none, linear, yarn)", where(), type_key,
                      Printable(type));
    rope.kind = RopeKind::kYarn;
    UM_ASSIGN_OR_RETURN(rope.original_context,
                        WholeOr(Key("rope.scaling.original_context_length"), 1, kMaxContext, config_.context));
    UM_ASSIGN_OR_RETURN(rope.beta_fast, RealOr(Key("rope.scaling.yarn_beta_fast"), 0.0, 1e6, 32.0));
    UM_ASSIGN_OR_RETURN(rope.beta_slow, RealOr(Key("rope.scaling.yarn_beta_slow"), 0.0, 1e6, 1.0));
    if (rope.beta_fast <= rope.beta_slow)
      return BadModel("{}: {} is not above {}", where(), Key("rope.scaling.yarn_beta_fast"),
                      Key("rope.scaling.yarn_beta_slow"));
    if (metadata_.Has(Key("rope.scaling.yarn_log_multiplier")))
      return BadModel("{}: {} is not supported", where(), Key("rope.scaling.yarn_log_multiplier"));
    // The key multiplies what follows from the factor; 0 in RopeConfig means that alone.
    UM_ASSIGN_OR_RETURN(const double attention, RealOr(Key("rope.scaling.attn_factor"), 0.0, 1e6, 1.0));
    if (attention != 1.0) rope.attention_factor = attention * (1.0 + 0.1 * std::log(std::max(rope.factor, 1.0)));
    return {};
  }

  Status Divisors() {
    const TensorView* tensor = file_.Find("rope_freqs.weight");
    if (tensor == nullptr) return {};
    const auto pairs = static_cast<uint64_t>(config_.head_dim / 2);
    if (tensor->type != DType::kF32 || tensor->elements() != pairs)
      return BadModel("{}: tensor rope_freqs.weight does not hold {} F32 values", where(), pairs);
    config_.rope.divisors.resize(pairs);
    std::memcpy(config_.rope.divisors.data(), tensor->bytes.data(), tensor->bytes.size());
    for (const float d : config_.rope.divisors)
      UM_RETURN_IF_ERROR(CheckReal(where(), "tensor rope_freqs.weight", d, 0.0, 1e9));
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

  static constexpr std::string_view kEps = "attention.layer_norm_rms_epsilon";

  const GgufFile& file_;
  const GgufMetadata& metadata_;
  const ArchitectureRow* row_ = nullptr;
  std::string_view prefix_;
  ModelConfig config_;
};

}  // namespace

Result<ModelConfig> ReadGgufConfig(const GgufFile& file) { return GgufConfigReader(file).Read(); }

}  // namespace unimax
