// SPDX-License-Identifier: Apache-2.0
// Reads what a model is from config.json (both dialects of transformers: `rope_theta`/`rope_scaling`, and
// `rope_parameters` since version 5) or from GGUF metadata (ggml-org/ggml docs/gguf.md), and checks it once.
#pragma once

#include <string>
#include <string_view>

#include "base/model_config.h"
#include "base/status.h"
#include "weights/checkpoint.h"
#include "weights/gguf.h"

namespace unimax {

// Bounds of what is believed; anything outside is an error that names the key.
inline constexpr int kMaxLayers = 1000;
inline constexpr int kMaxHidden = 1 << 20;
inline constexpr int kMaxHeads = 1 << 16;
inline constexpr int kMaxHeadDim = 1 << 12;
inline constexpr int kMaxIntermediate = 1 << 24;
inline constexpr int kMaxVocab = 1 << 24;
inline constexpr int kMaxContext = 1 << 24;  // a larger context is not an error: it is taken as this

// Every invariant written in base/model_config.h holds on success, and the embedding, where the file has one, is
// [vocab, hidden]. Errors: kBadModel, one sentence naming the key; an unknown architecture or kind of rope is named
// together with those that are supported.
Result<ModelConfig> ReadConfig(const Checkpoint& checkpoint);

// A tensor of a safetensors checkpoint. Names of a base model that was saved alone lack the first word ("transformer.",
// "model."), so what is missing is looked for without it. Errors: kBadModel.
Result<const TensorView*> NeedTensor(const Checkpoint& checkpoint, const std::string& name);

// The two halves of ReadConfig. `generation` is the text of generation_config.json or "". `name` stands in errors.
Result<ModelConfig> ReadJsonConfig(std::string_view config, std::string_view generation, const std::string& name);
Result<ModelConfig> ReadGgufConfig(const GgufFile& file);

}  // namespace unimax
