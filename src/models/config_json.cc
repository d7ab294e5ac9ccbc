// SPDX-License-Identifier: Apache-2.0
// Keys of config.json and generation_config.json: huggingface/transformers, LlamaConfig and modeling_rope_utils.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "models/config.h"
#include "models/config_fields.h"
#include "models/config_rows.h"
#include "weights/json_walk.h"

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
    UM_RETURN_IF_ERROR(Rope());
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
        config_.architecture = row.name;
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
    UM_RETURN_IF_ERROR(fields_.Int("hidden_size", 1, kMaxHidden, &config_.hidden));
    UM_RETURN_IF_ERROR(fields_.Int("num_hidden_layers", 1, kMaxLayers, &config_.layers));
    UM_RETURN_IF_ERROR(fields_.Int("num_attention_heads", 1, kMaxHeads, &config_.heads));
    UM_RETURN_IF_ERROR(fields_.Int("intermediate_size", 1, kMaxIntermediate, &config_.intermediate));
    UM_RETURN_IF_ERROR(fields_.Int("vocab_size", 1, kMaxVocab, &config_.vocab));
    config_.kv_heads = config_.heads;
    UM_RETURN_IF_ERROR(fields_.OptionalInt("num_key_value_heads", 1, kMaxHeads, &config_.kv_heads));
    if (config_.heads % config_.kv_heads != 0)
      return BadModel("{}: num_key_value_heads {} does not divide num_attention_heads {}", where(), config_.kv_heads,
                      config_.heads);
    if (fields_.Find("head_dim") != nullptr) {
      UM_RETURN_IF_ERROR(fields_.Int("head_dim", 1, kMaxHeadDim, &config_.head_dim));
    } else if (config_.hidden % config_.heads != 0 || config_.hidden / config_.heads > kMaxHeadDim) {
      return BadModel("{}: num_attention_heads {} does not fit hidden_size {}", where(), config_.heads, config_.hidden);
    } else {
      config_.head_dim = config_.hidden / config_.heads;
    }
    if (config_.head_dim % 2 != 0)
      return BadModel("{}: head_dim {} (hidden_size / num_attention_heads) is odd", where(), config_.head_dim);
    config_.context = 2048;
    if (fields_.Find("max_position_embeddings") != nullptr) {
      UM_ASSIGN_OR_RETURN(const int64_t context, fields_.Whole("max_position_embeddings", 1, INT64_MAX));
      config_.context = static_cast<int>(std::min<int64_t>(context, kMaxContext));
    }
    double eps = 1e-6;
    UM_RETURN_IF_ERROR(fields_.OptionalReal("rms_norm_eps", 0.0, 1.0, &eps));
    config_.norm_eps = static_cast<float>(eps);
    UM_RETURN_IF_ERROR(fields_.OptionalFlag("tie_word_embeddings", &config_.tied_embeddings));
    UM_RETURN_IF_ERROR(fields_.OptionalFlag("attention_bias", &config_.attention_bias));
    return fields_.OptionalFlag("mlp_bias", &config_.mlp_bias);
  }

  // Traits that would change the result and that this architecture's programs do not have.
  Status Refuse() const {
    std::string activation = "silu";
    UM_RETURN_IF_ERROR(fields_.OptionalText("hidden_act", &activation));
    if (activation != "silu")
      return BadModel("{}: hidden_act '{}' is not supported (supported: silu)", where(), Printable(activation));
    if (fields_.Find("quantization_config") != nullptr)
      return BadModel("{}: quantization_config: quantised safetensors are not supported", where());
    double rotary = 1.0;
    UM_RETURN_IF_ERROR(fields_.OptionalReal("partial_rotary_factor", 0.0, 1.0, &rotary));
    if (rotary != 1.0) return BadModel("{}: partial_rotary_factor {} is not supported", where(), rotary);
    return {};
  }

  Status Rope() {
    RopeConfig& rope = config_.rope;
    UM_RETURN_IF_ERROR(fields_.OptionalReal("rope_theta", 0.0, 1e15, &rope.theta));
    const char* key = fields_.Find("rope_parameters") != nullptr ? "rope_parameters" : "rope_scaling";
    const Json* object = fields_.Find(key);
    if (object == nullptr) return {};
    if (!object->is_object()) return BadModel("{}: {} is not an object", where(), key);
    const Fields scaling(*object, fmt::format("{}: {}", where(), key));
    UM_RETURN_IF_ERROR(scaling.OptionalReal("rope_theta", 0.0, 1e15, &rope.theta));
    std::string type = "default";
    const char* type_key = scaling.Find("rope_type") != nullptr ? "rope_type" : "type";
    UM_RETURN_IF_ERROR(scaling.OptionalText(type_key, &type));
    if (type == "default") return {};
    if (type != "linear" && type != "llama3" && type != "yarn")
      return BadModel("{}: {} '{}' is not supported (supported: {})", scaling.where(), type_key, Printable(type),
                      kRopeKinds);
    if (scaling.Find("factor") == nullptr) return BadModel("{}: factor is missing", scaling.where());
    UM_RETURN_IF_ERROR(scaling.OptionalReal("factor", 0.0, 1e6, &rope.factor));
    if (type == "llama3") return Llama3(scaling);
    if (type == "yarn") return Yarn(scaling);
    rope.kind = RopeKind::kLinear;
    return {};
  }

  Status Llama3(const Fields& scaling) {
    RopeConfig& rope = config_.rope;
    rope.kind = RopeKind::kLlama3;
    UM_RETURN_IF_ERROR(scaling.OptionalReal("low_freq_factor", 0.0, 1e6, &rope.low_freq_factor));
    UM_RETURN_IF_ERROR(scaling.OptionalReal("high_freq_factor", 0.0, 1e6, &rope.high_freq_factor));
    if (rope.high_freq_factor <= rope.low_freq_factor)
      return BadModel("{}: high_freq_factor {} is not above low_freq_factor {}", scaling.where(), rope.high_freq_factor,
                      rope.low_freq_factor);
    return scaling.Int("original_max_position_embeddings", 1, kMaxContext, &rope.original_context);
  }

  Status Yarn(const Fields& scaling) {
    RopeConfig& rope = config_.rope;
    rope.kind = RopeKind::kYarn;
    rope.original_context = config_.context;
    UM_RETURN_IF_ERROR(scaling.OptionalInt("original_max_position_embeddings", 1, kMaxContext, &rope.original_context));
    UM_RETURN_IF_ERROR(scaling.OptionalReal("beta_fast", 0.0, 1e6, &rope.beta_fast));
    UM_RETURN_IF_ERROR(scaling.OptionalReal("beta_slow", 0.0, 1e6, &rope.beta_slow));
    if (rope.beta_fast <= rope.beta_slow)
      return BadModel("{}: beta_fast {} is not above beta_slow {}", scaling.where(), rope.beta_fast, rope.beta_slow);
    bool truncate = true;
    UM_RETURN_IF_ERROR(scaling.OptionalFlag("truncate", &truncate));
    if (!truncate) return BadModel("{}: truncate false is not supported", scaling.where());
    double mscale = 0.0, mscale_all = 0.0;
    UM_RETURN_IF_ERROR(scaling.OptionalReal("mscale", -1.0, 1e6, &mscale));
    UM_RETURN_IF_ERROR(scaling.OptionalReal("mscale_all_dim", -1.0, 1e6, &mscale_all));
    if (mscale > 0.0 && mscale_all > 0.0 && rope.factor > 1.0)
      rope.attention_factor =
          (0.1 * mscale * std::log(rope.factor) + 1.0) / (0.1 * mscale_all * std::log(rope.factor) + 1.0);
    return scaling.OptionalReal("attention_factor", 0.0, 1e6, &rope.attention_factor);
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
