// SPDX-License-Identifier: Apache-2.0
// Keys: ggml-org/ggml docs/gguf.md, "Rope", and gguf-py's constants for what came later.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "base/json_walk.h"
#include "models/config.h"
#include "models/config_gguf_fields.h"

namespace unimax {
namespace {

// A tensor of one divisor a pair; none where the file has no such tensor.
Status Divisors(const GgufFields& fields, const char* name, int rotary, std::vector<float>* divisors) {
  const TensorView* tensor = fields.file().Find(name);
  if (tensor == nullptr) return {};
  const auto pairs = static_cast<uint64_t>(rotary / 2);
  if (tensor->type != DType::kF32 || tensor->elements() != pairs)
    return BadModel("{}: tensor {} does not hold {} F32 values", fields.where(), name, pairs);
  divisors->resize(pairs);
  std::memcpy(divisors->data(), tensor->bytes.data(), tensor->bytes.size());
  for (const float d : *divisors)
    UM_RETURN_IF_ERROR(CheckReal(fields.where(), fmt::format("tensor {}", name), static_cast<double>(d), 0.0, 1e9));
  return {};
}

Status Yarn(const GgufFields& fields, int context, RopeConfig* rope) {
  rope->kind = RopeKind::kYarn;
  UM_ASSIGN_OR_RETURN(rope->original_context,
                      fields.WholeOr("rope.scaling.original_context_length", 1, kMaxContext, context));
  UM_ASSIGN_OR_RETURN(rope->beta_fast, fields.RealOr("rope.scaling.yarn_beta_fast", 0.0, 1e6, 32.0));
  UM_ASSIGN_OR_RETURN(rope->beta_slow, fields.RealOr("rope.scaling.yarn_beta_slow", 0.0, 1e6, 1.0));
  if (rope->beta_fast <= rope->beta_slow)
    return BadModel("{}: {} is not above {}", fields.where(), fields.Key("rope.scaling.yarn_beta_fast"),
                    fields.Key("rope.scaling.yarn_beta_slow"));
  if (fields.Has("rope.scaling.yarn_log_multiplier"))
    return BadModel("{}: {} is not supported", fields.where(), fields.Key("rope.scaling.yarn_log_multiplier"));
  // The key multiplies what follows from the factor; 0 in RopeConfig means that alone.
  UM_ASSIGN_OR_RETURN(const double attention, fields.RealOr("rope.scaling.attn_factor", 0.0, 1e6, 1.0));
  if (attention != 1.0) rope->attention_factor = attention * (1.0 + 0.1 * std::log(std::max(rope->factor, 1.0)));
  return {};
}

// Two sets of divisors are tensors; here the key is the whole magnitude.
Status Long(const GgufFields& fields, int context, RopeConfig* rope) {
  rope->kind = RopeKind::kLong;
  UM_ASSIGN_OR_RETURN(rope->original_context,
                      fields.WholeOr("rope.scaling.original_context_length", 2, kMaxContext, context));
  UM_ASSIGN_OR_RETURN(rope->attention_factor, fields.RealOr("rope.scaling.attn_factor", 0.0, 1e6, 1.0));
  UM_RETURN_IF_ERROR(Divisors(fields, "rope_factors_short.weight", rope->rotary, &rope->divisors));
  UM_RETURN_IF_ERROR(Divisors(fields, "rope_factors_long.weight", rope->rotary, &rope->long_divisors));
  if (rope->long_divisors.empty()) return BadModel("{}: tensor rope_factors_long.weight is missing", fields.where());
  return {};
}

Status Scaling(const GgufFields& fields, int context, RopeConfig* rope) {
  UM_ASSIGN_OR_RETURN(const double old_factor, fields.RealOr("rope.scale_linear", 0.0, 1e6, 1.0));
  UM_ASSIGN_OR_RETURN(rope->factor, fields.RealOr("rope.scaling.factor", 0.0, 1e6, old_factor));
  std::string_view type = rope->factor == 1.0 ? "none" : "linear";
  if (fields.Has("rope.scaling.type")) {
    UM_ASSIGN_OR_RETURN(type, fields.file().metadata().String(fields.Key("rope.scaling.type")));
  }
  if (type == "longrope" || fields.file().Find("rope_factors_short.weight") != nullptr)
    return Long(fields, context, rope);
  if (type == "yarn") return Yarn(fields, context, rope);
  if (type == "linear") rope->kind = RopeKind::kLinear;
  if (type == "none") rope->factor = 1.0;
  if (type == "linear" || type == "none") return {};
  return BadModel("{}: {} '{}' is not supported (supported: none, linear, yarn, longrope)", fields.where(),
                  fields.Key("rope.scaling.type"), Printable(type));
}

}  // namespace

Status ReadGgufWindows(const GgufFields& fields, ModelConfig* config) {
  const WindowRule rule = fields.row().windows;
  UM_ASSIGN_OR_RETURN(const int window,
                      fields.WholeOr("attention.sliding_window", 0, INT32_MAX, fields.row().gguf_window));
  if (window == 0) return {};
  if (rule != WindowRule::kAll && rule != WindowRule::kPeriod)
    return BadModel("{}: {} is {}: not supported", fields.where(), fields.Key("attention.sliding_window"), window);
  UM_ASSIGN_OR_RETURN(const int period,
                      fields.WholeOr("attention.sliding_window_pattern", 1, kMaxLayers, fields.row().period));
  for (int l = 0; l < config->layers; ++l) {
    config->windows.push_back(rule == WindowRule::kPeriod && (l + 1) % period == 0 ? 0 : window);
  }
  return {};
}

Status ReadGgufRope(const GgufFields& fields, ModelConfig* config) {
  RopeConfig& rope = config->rope;
  rope.interleaved = fields.row().interleaved || fields.row().gguf_permuted;
  UM_ASSIGN_OR_RETURN(rope.rotary, fields.WholeOr("rope.dimension_count", 2, kMaxHidden, config->head_dim));
  if (rope.rotary > config->head_dim || rope.rotary % 2 != 0)
    return BadModel("{}: {} is {}, but heads are {} wide: not supported", fields.where(),
                    fields.Key("rope.dimension_count"), rope.rotary, config->head_dim);
  UM_ASSIGN_OR_RETURN(rope.theta, fields.RealOr("rope.freq_base", 0.0, 1e15, 10000.0));
  UM_RETURN_IF_ERROR(Scaling(fields, config->context, &rope));
  if (rope.kind != RopeKind::kLong)
    UM_RETURN_IF_ERROR(Divisors(fields, "rope_freqs.weight", rope.rotary, &rope.divisors));
  if (!fields.row().local_rope) return {};
  RopeConfig& local = config->window_rope.emplace();
  local.rotary = rope.rotary;
  local.interleaved = rope.interleaved;
  UM_ASSIGN_OR_RETURN(local.theta, fields.RealOr("rope.freq_base_swa", 0.0, 1e15, 10000.0));
  return {};
}

}  // namespace unimax
