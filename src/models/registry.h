// SPDX-License-Identifier: Apache-2.0
// The model families: one row each (docs/add_model.md).
#pragma once

#include <span>

#include "base/model_config.h"
#include "base/status.h"
#include "program/program.h"

namespace unimax {

struct ModelRow {
  const char* architecture;  // as ModelConfig spells it
  Program (*build)(const ModelConfig&);
};
std::span<const ModelRow> ModelRows();

// The family's program. Errors: kBadModel naming the architecture and those that are known.
Result<Program> BuildProgram(const ModelConfig& config);

Program BuildFalcon(const ModelConfig& config);
Program BuildGemma2(const ModelConfig& config);
Program BuildGemma3(const ModelConfig& config);
Program BuildGlm4(const ModelConfig& config);
Program BuildGpt2(const ModelConfig& config);
Program BuildGptNeox(const ModelConfig& config);
Program BuildLlama(const ModelConfig& config);
Program BuildOlmo2(const ModelConfig& config);
Program BuildOpt(const ModelConfig& config);
Program BuildPhi3(const ModelConfig& config);
Program BuildQwen2(const ModelConfig& config);
Program BuildQwen3(const ModelConfig& config);

}  // namespace unimax
