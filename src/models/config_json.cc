// SPDX-License-Identifier: Apache-2.0
// Keys of config.json and generation_config.json: the configuration classes of huggingface/transformers.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "base/json_walk.h"
#include "models/config.h"
#include "models/config_fields.h"
#include "models/config_json_attention.h"
#include "models/config_json_rows.h"
#include "models/config_rows.h"

namespace unimax {
namespace {

constexpr uint64_t kMaxConfigBytes = 4 << 20;

// The whole text as one JSON object.
Result<Json> ParseObject(std::string_view text, const std::string& what) {
  UM_RETURN_IF_ERROR(CheckJson(text, what, kMaxConfigBytes));
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return BadModel("{}: not a JSON object", what);
  return json;
}

class JsonConfigReader {
 public:
  explicit JsonConfigReader(const Fields& fields) : fields_(fields) {}

  Result<ModelConfig> Read(const Fields* generation) {
    UM_RETURN_IF_ERROR(Architecture());
    UM_RETURN_IF_ERROR(Shape());
    UM_RETURN_IF_ERROR(Refuse());
    UM_RETURN_IF_ERROR(Traits());
    UM_RETURN_IF_ERROR(ReadJsonWindows(fields_, *row_, *family_, &config_));
    UM_RETURN_IF_ERROR(ReadJsonRope(fields_, *family_, row_->interleaved, &config_));
    UM_RETURN_IF_ERROR(Ends(fields_));
    if (generation != nullptr) UM_RETURN_IF_ERROR(Ends(*generation));  // what it says counts more
    return std::move(config_);
  }

 private:
  const std::string& where() const { return fields_.where(); }

  Status Architecture() {
    std::string model_type, class_name, supported;
    UM_RETURN_IF_ERROR(fields_.OptionalText("model_type", &model_type));
    if (const Json* list = fields_.Find("architectures"); list != nullptr) {
      if (!list->is_array()) return BadModel("{}: architectures is not a list", where());
      for (const Json& item : *list) {
        if (!item.is_string()) return BadModel("{}: architectures holds something else than names", where());
        if (class_name.empty()) class_name = item.get_ref<const std::string&>();
      }
    }
    for (const ArchitectureRow& row : kArchitectures) {
      if (class_name.empty() ? row.model_type == model_type : row.class_name == class_name) {
        row_ = &row;
        config_.architecture = row.name;
        config_.activation = row.activation;
        for (const JsonFamily& family : kJsonFamilies) family_ = family.architecture == row.name ? &family : family_;
        return {};
      }
      supported += fmt::format("{}{}", supported.empty() ? "" : ", ", row.class_name);
    }
    if (class_name.empty() && model_type.empty())
      return BadModel("{}: neither architectures nor model_type is given", where());
    return BadModel("{}: architecture {} is not supported (supported: {})", where(),
                    Printable(class_name.empty() ? model_type : class_name), supported);
  }

  Status Shape() {
    const JsonKeys& keys = family_->keys;
    UM_RETURN_IF_ERROR(fields_.Int(keys.hidden, 1, kMaxHidden, &config_.hidden));
    UM_RETURN_IF_ERROR(fields_.Int(keys.layers, 1, kMaxLayers, &config_.layers));
    UM_RETURN_IF_ERROR(fields_.Int("vocab_size", 1, kMaxVocab, &config_.vocab));
    config_.intermediate = family_->intermediate_of_hidden * config_.hidden;
    if (config_.intermediate == 0 || fields_.Find(keys.intermediate) != nullptr)
      UM_RETURN_IF_ERROR(fields_.Int(keys.intermediate, 1, kMaxIntermediate, &config_.intermediate));
    UM_RETURN_IF_ERROR(Heads());
    config_.context = 2048;
    if (fields_.Find(keys.context) != nullptr) {
      UM_ASSIGN_OR_RETURN(const int64_t context, fields_.Whole(keys.context, 1, INT64_MAX));
      config_.context = static_cast<int>(std::min<int64_t>(context, kMaxContext));
    }
    double eps = family_->eps;
    if (keys.eps != nullptr) UM_RETURN_IF_ERROR(fields_.OptionalReal(keys.eps, 0.0, 1.0, &eps));
    config_.norm_eps = static_cast<float>(eps);
    config_.embedding_width = config_.hidden;
    if (family_->embedding_width != nullptr)
      UM_RETURN_IF_ERROR(fields_.OptionalInt(family_->embedding_width, 1, kMaxHidden, &config_.embedding_width));
    return {};
  }

  Status Heads() {
    const JsonKeys& keys = family_->keys;
    UM_RETURN_IF_ERROR(fields_.Int(keys.heads, 1, kMaxHeads, &config_.heads));
    config_.kv_heads = family_->kv_heads > 0 ? family_->kv_heads : config_.heads;
    if (keys.kv_heads != nullptr)
      UM_RETURN_IF_ERROR(fields_.OptionalInt(keys.kv_heads, 1, kMaxHeads, &config_.kv_heads));
    bool one = keys.one_kv_head != nullptr;
    if (one) UM_RETURN_IF_ERROR(fields_.OptionalFlag(keys.one_kv_head, &one));
    if (one) config_.kv_heads = 1;
    if (config_.heads % config_.kv_heads != 0)
      return BadModel("{}: {} {} does not divide {} {}", where(),
                      keys.kv_heads != nullptr ? keys.kv_heads : "the number of key heads", config_.kv_heads,
                      keys.heads, config_.heads);
    if (family_->head_dim > 0 || fields_.Find("head_dim") != nullptr) {
      config_.head_dim = family_->head_dim;
      UM_RETURN_IF_ERROR(fields_.OptionalInt("head_dim", 1, kMaxHeadDim, &config_.head_dim));
    } else if (config_.hidden % config_.heads != 0 || config_.hidden / config_.heads > kMaxHeadDim) {
      return BadModel("{}: {} {} does not fit {} {}", where(), keys.heads, config_.heads, keys.hidden, config_.hidden);
    } else {
      config_.head_dim = config_.hidden / config_.heads;
    }
    if (config_.head_dim % 2 != 0)
      return BadModel("{}: head_dim {} ({} / {}) is odd", where(), config_.head_dim, keys.hidden, keys.heads);
    return {};
  }

  // Numbers and flags that only this family has.
  Status Traits() {
    config_.norm_offset = family_->norm_offset;
    config_.qkv_by_head = family_->qkv_by_head;
    config_.transposed_linear = family_->transposed_linear;
    config_.parallel_residual = family_->parallel_residual;
    config_.tied_embeddings = family_->tied;
    UM_RETURN_IF_ERROR(fields_.OptionalFlag("tie_word_embeddings", &config_.tied_embeddings));
    for (const JsonFlag& row : family_->flags) {
      config_.*row.field = row.fallback;
      UM_RETURN_IF_ERROR(fields_.OptionalFlag(row.key, &(config_.*row.field)));
    }
    for (const JsonReal& row : family_->reals) {
      double value = fields_.Has(row.key) ? 0.0 : row.fallback;
      UM_RETURN_IF_ERROR(fields_.OptionalReal(row.key, 0.0, 1e9, &value));
      if (value == 0.0) continue;
      if (row.use == JsonReal::kInverse) value = 1.0 / value;
      if (row.use == JsonReal::kInverseRoot) value = 1.0 / std::sqrt(value);
      config_.*row.field = static_cast<float>(value);
    }
    std::string name;
    UM_RETURN_IF_ERROR(fields_.OptionalText(family_->keys.activation, &name));
    return name.empty() ? Status() : Named(name);
  }

  Status Named(const std::string& name) {
    static constexpr std::pair<std::string_view, Activation> kNames[] = {
        {"silu", Activation::kSilu},         {"swish", Activation::kSilu}, {"gelu", Activation::kGelu},
        {"gelu_new", Activation::kGeluTanh}, {"relu", Activation::kRelu},  {"gelu_pytorch_tanh", Activation::kGeluTanh},
    };
    std::string known;
    for (const auto& [known_name, activation] : kNames) {
      if (name == known_name) {
        config_.activation = activation;
        return {};
      }
      known += fmt::format("{}{}", known.empty() ? "" : ", ", known_name);
    }
    return BadModel("{}: {} '{}' is not supported (supported: {})", where(), family_->keys.activation, Printable(name),
                    known);
  }

  // Traits that would change the result and that this architecture's programs do not have.
  Status Refuse() const {
    if (fields_.Find("quantization_config") != nullptr)
      return BadModel("{}: quantization_config: quantised safetensors are not supported", where());
    for (const JsonFixed& row : family_->fixed) {
      bool value = row.value;
      UM_RETURN_IF_ERROR(fields_.OptionalFlag(row.key, &value));
      if (value != row.value) return BadModel("{}: {} {} is not supported", where(), row.key, value);
    }
    double rotary = 1.0;
    UM_RETURN_IF_ERROR(fields_.OptionalReal("partial_rotary_factor", 0.0, 1.0, &rotary));
    if (rotary != 1.0 && family_->keys.rotary == nullptr)
      return BadModel("{}: partial_rotary_factor {} is not supported", where(), rotary);
    return {};
  }

  Status Token(const Fields& fields, const char* key, int* id) const {
    UM_RETURN_IF_ERROR(fields.OptionalInt(key, -1, INT32_MAX, id));
    if (*id < config_.vocab) return {};
    return BadModel("{}: {} {} is not below vocab_size {}", fields.where(), key, *id, config_.vocab);
  }

  // bos_token_id and eos_token_id (a number or a list); -1 means none.
  Status Ends(const Fields& fields) {
    UM_RETURN_IF_ERROR(Token(fields, "bos_token_id", &config_.bos_id));
    const Json* eos = fields.Find("eos_token_id");
    if (eos == nullptr) return {};
    config_.eos_ids.clear();
    const Json list = eos->is_array() ? *eos : Json::array({*eos});
    for (const Json& item : list) {
      const Json object = {{"eos_token_id", item}};
      int id = -1;
      UM_RETURN_IF_ERROR(Token(Fields(object, fields.where()), "eos_token_id", &id));
      if (id >= 0) config_.eos_ids.push_back(id);
    }
    return {};
  }

  const Fields& fields_;
  const ArchitectureRow* row_ = nullptr;
  const JsonFamily* family_ = &kJsonFamilies[0];
  ModelConfig config_;
};

}  // namespace

Result<ModelConfig> ReadJsonConfig(std::string_view config, std::string_view generation, const std::string& name) {
  const std::string where = name + ": config.json", generation_where = name + ": generation_config.json";
  UM_ASSIGN_OR_RETURN(const Json json, ParseObject(config, where));
  const Fields fields(json, where);
  if (generation.empty()) return JsonConfigReader(fields).Read(nullptr);
  UM_ASSIGN_OR_RETURN(const Json generation_json, ParseObject(generation, generation_where));
  const Fields generation_fields(generation_json, generation_where);
  return JsonConfigReader(fields).Read(&generation_fields);
}

}  // namespace unimax
