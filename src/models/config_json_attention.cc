// SPDX-License-Identifier: Apache-2.0
// Keys: huggingface/transformers, modeling_rope_utils.
#include "models/config_json_attention.h"

#include <algorithm>
#include <cmath>

#include "base/json_walk.h"
#include "models/config.h"

namespace unimax {
namespace {

Status Llama3(const Fields& scaling, RopeConfig* rope) {
  rope->kind = RopeKind::kLlama3;
  UM_RETURN_IF_ERROR(scaling.OptionalReal("low_freq_factor", 0.0, 1e6, &rope->low_freq_factor));
  UM_RETURN_IF_ERROR(scaling.OptionalReal("high_freq_factor", 0.0, 1e6, &rope->high_freq_factor));
  if (rope->high_freq_factor <= rope->low_freq_factor)
    return BadModel("{}: high_freq_factor {} is not above low_freq_factor {}", scaling.where(), rope->high_freq_factor,
                    rope->low_freq_factor);
  return scaling.Int("original_max_position_embeddings", 1, kMaxContext, &rope->original_context);
}

Status Yarn(const Fields& scaling, int context, RopeConfig* rope) {
  rope->kind = RopeKind::kYarn;
  rope->original_context = context;
  UM_RETURN_IF_ERROR(scaling.OptionalInt("original_max_position_embeddings", 1, kMaxContext, &rope->original_context));
  UM_RETURN_IF_ERROR(scaling.OptionalReal("beta_fast", 0.0, 1e6, &rope->beta_fast));
  UM_RETURN_IF_ERROR(scaling.OptionalReal("beta_slow", 0.0, 1e6, &rope->beta_slow));
  if (rope->beta_fast <= rope->beta_slow)
    return BadModel("{}: beta_fast {} is not above beta_slow {}", scaling.where(), rope->beta_fast, rope->beta_slow);
  bool truncate = true;
  UM_RETURN_IF_ERROR(scaling.OptionalFlag("truncate", &truncate));
  if (!truncate) return BadModel("{}: truncate false is not supported", scaling.where());
  double mscale = 0.0, mscale_all = 0.0;
  UM_RETURN_IF_ERROR(scaling.OptionalReal("mscale", -1.0, 1e6, &mscale));
  UM_RETURN_IF_ERROR(scaling.OptionalReal("mscale_all_dim", -1.0, 1e6, &mscale_all));
  if (mscale > 0.0 && mscale_all > 0.0 && rope->factor > 1.0)
    rope->attention_factor =
        (0.1 * mscale * std::log(rope->factor) + 1.0) / (0.1 * mscale_all * std::log(rope->factor) + 1.0);
  return scaling.OptionalReal("attention_factor", 0.0, 1e6, &rope->attention_factor);
}

Status Factors(const Fields& scaling, const char* key, int pairs, std::vector<float>* factors) {
  const Json* list = scaling.Find(key);
  if (list == nullptr || !list->is_array() || list->size() != static_cast<size_t>(pairs))
    return BadModel("{}: {} is not a list of {} numbers, a pair each of head_dim * partial_rotary_factor",
                    scaling.where(), key, pairs);
  for (const Json& item : *list) {
    if (!item.is_number()) return BadModel("{}: {} holds something else than numbers", scaling.where(), key);
    UM_RETURN_IF_ERROR(CheckReal(scaling.where(), key, item.get<double>(), 0.0, 1e9));
    factors->push_back(item.get<float>());
  }
  return {};
}

Status Long(const Fields& fields, const Fields& scaling, int context, RopeConfig* rope) {
  rope->kind = RopeKind::kLong;
  rope->original_context = context;
  constexpr const char* kOriginal = "original_max_position_embeddings";
  UM_RETURN_IF_ERROR(fields.OptionalInt(kOriginal, 2, kMaxContext, &rope->original_context));
  UM_RETURN_IF_ERROR(scaling.OptionalInt(kOriginal, 2, kMaxContext, &rope->original_context));
  rope->factor = static_cast<double>(context) / rope->original_context;
  UM_RETURN_IF_ERROR(scaling.OptionalReal("factor", 0.0, 1e6, &rope->factor));
  UM_RETURN_IF_ERROR(scaling.OptionalReal("attention_factor", 0.0, 1e6, &rope->attention_factor));
  UM_RETURN_IF_ERROR(Factors(scaling, "short_factor", rope->rotary / 2, &rope->divisors));
  return Factors(scaling, "long_factor", rope->rotary / 2, &rope->long_divisors);
}

// How many elements of a head turn.
Status Rotary(const Fields& fields, const char* key, int head_dim, RopeConfig* rope) {
  double share = static_cast<double>(rope->rotary) / head_dim;
  UM_RETURN_IF_ERROR(fields.OptionalReal(key, 0.0, 1.0, &share));
  rope->rotary = static_cast<int>(share * head_dim);
  if (rope->rotary >= 2 && rope->rotary % 2 == 0) return {};
  return BadModel("{}: {} {} makes {} elements of a head turn, not an even number", fields.where(), key, share,
                  rope->rotary);
}

// One object of rope_scaling or rope_parameters.
Status Scaling(const Fields& fields, const Fields& scaling, const JsonFamily& family, const ModelConfig& config,
               RopeConfig* rope) {
  UM_RETURN_IF_ERROR(scaling.OptionalReal("rope_theta", 0.0, 1e15, &rope->theta));
  if (family.keys.rotary != nullptr)
    UM_RETURN_IF_ERROR(Rotary(scaling, "partial_rotary_factor", config.head_dim, rope));
  std::string type = "default";
  const char* type_key = scaling.Find("rope_type") != nullptr ? "rope_type" : "type";
  UM_RETURN_IF_ERROR(scaling.OptionalText(type_key, &type));
  if (type == "default") return {};
  if (type == "longrope" || type == "su") return Long(fields, scaling, config.context, rope);
  if (type != "linear" && type != "llama3" && type != "yarn")
    return BadModel("{}: {} '{}' is not supported (supported: {})", scaling.where(), type_key, Printable(type),
                    kRopeKinds);
  if (scaling.Find("factor") == nullptr) return BadModel("{}: factor is missing", scaling.where());
  UM_RETURN_IF_ERROR(scaling.OptionalReal("factor", 0.0, 1e6, &rope->factor));
  if (type == "llama3") return Llama3(scaling, rope);
  if (type == "yarn") return Yarn(scaling, config.context, rope);
  rope->kind = RopeKind::kLinear;
  return {};
}

// What `layer_types` says, where it is there.
Status ListedWindows(const Fields& fields, const Json& types, int window, ModelConfig* config) {
  if (!types.is_array() || types.size() != static_cast<size_t>(config->layers))
    return BadModel("{}: layer_types is not a list of {} names", fields.where(), config->layers);
  config->windows.clear();
  for (const Json& type : types) {
    if (type != "sliding_attention" && type != "full_attention")
      return BadModel(
          "{}: layer_types holds a kind that is not supported (supported: sliding_attention, full_attention)",
          fields.where());
    config->windows.push_back(type == "sliding_attention" ? window : 0);
  }
  return {};
}

}  // namespace

Status ReadJsonWindows(const Fields& fields, const ArchitectureRow& row, const JsonFamily& family,
                       ModelConfig* config) {
  if (row.windows == WindowRule::kNone) return {};
  int window = fields.Has("sliding_window") ? 0 : family.window, period = row.period, from = config->layers;
  UM_RETURN_IF_ERROR(fields.OptionalInt("sliding_window", 1, INT32_MAX, &window));
  UM_RETURN_IF_ERROR(fields.OptionalInt("max_window_layers", 0, INT32_MAX, &from));
  for (const char* key : {"sliding_window_pattern", "_sliding_window_pattern"})
    UM_RETURN_IF_ERROR(fields.OptionalInt(key, 1, kMaxLayers, &period));
  bool used = row.windows != WindowRule::kUpper;
  if (!used) UM_RETURN_IF_ERROR(fields.OptionalFlag("use_sliding_window", &used));
  if (!used || window == 0) return {};
  if (const Json* types = fields.Find("layer_types"); types != nullptr)
    return ListedWindows(fields, *types, window, config);
  for (int l = 0; l < config->layers; ++l) {
    bool sees_all = false;
    if (row.windows == WindowRule::kPeriod) sees_all = (l + 1) % period == 0;
    if (row.windows == WindowRule::kUpper) sees_all = l < from;
    config->windows.push_back(sees_all ? 0 : window);
  }
  return {};
}

Status ReadJsonRope(const Fields& fields, const JsonFamily& family, bool interleaved, ModelConfig* config) {
  RopeConfig& rope = config->rope;
  rope.rotary = config->head_dim;
  rope.interleaved = interleaved;
  if (!family.rope) return {};
  rope.theta = family.theta;
  UM_RETURN_IF_ERROR(fields.OptionalReal(family.keys.theta, 0.0, 1e15, &rope.theta));
  if (family.keys.rotary != nullptr) {
    rope.rotary = static_cast<int>(family.rotary * config->head_dim);
    UM_RETURN_IF_ERROR(Rotary(fields, family.keys.rotary, config->head_dim, &rope));
  }
  RopeConfig local = rope;
  local.theta = 10000.0;
  if (family.keys.local_theta != nullptr)
    UM_RETURN_IF_ERROR(fields.OptionalReal(family.keys.local_theta, 0.0, 1e15, &local.theta));
  const char* key = fields.Find("rope_parameters") != nullptr ? "rope_parameters" : "rope_scaling";
  if (const Json* object = fields.Find(key); object != nullptr) {
    if (!object->is_object()) return BadModel("{}: {} is not an object", fields.where(), key);
    const Fields all(*object, fmt::format("{}: {}", fields.where(), key));
    const Json* global = all.Find("full_attention");
    const Json* sliding = all.Find("sliding_attention");
    if (family.keys.local_theta != nullptr && global != nullptr && sliding != nullptr) {  // one for each kind of layer
      if (!global->is_object() || !sliding->is_object())
        return BadModel("{}: full_attention or sliding_attention is not an object", all.where());
      UM_RETURN_IF_ERROR(Scaling(fields, Fields(*global, all.where()), family, *config, &rope));
      UM_RETURN_IF_ERROR(Scaling(fields, Fields(*sliding, all.where()), family, *config, &local));
    } else {
      UM_RETURN_IF_ERROR(Scaling(fields, all, family, *config, &rope));
    }
  }
  if (family.keys.local_theta != nullptr) config->window_rope = local;
  return {};
}

}  // namespace unimax
