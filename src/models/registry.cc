// SPDX-License-Identifier: Apache-2.0
#include "models/registry.h"

#include <fmt/format.h>

namespace unimax {
namespace {

constexpr ModelRow kModels[] = {
    {"llama", &BuildLlama}, {"mistral", &BuildLlama}, {"granite", &BuildLlama},    {"qwen2", &BuildQwen2},
    {"qwen3", &BuildQwen3}, {"phi3", &BuildPhi3},     {"gemma2", &BuildGemma2},    {"gemma3", &BuildGemma3},
    {"opt", &BuildOpt},     {"gpt2", &BuildGpt2},     {"gpt_neox", &BuildGptNeox}, {"falcon", &BuildFalcon},
    {"olmo2", &BuildOlmo2}, {"glm4", &BuildGlm4},
};

}  // namespace

std::span<const ModelRow> ModelRows() { return kModels; }

Result<Program> BuildProgram(const ModelConfig& config) {
  std::string known;
  for (const ModelRow& row : kModels) {
    if (config.architecture == row.architecture) {
      Program program = row.build(config);
      program.layers = config.layers;
      program.hidden = config.hidden;
      program.vocab = config.vocab;
      program.context = config.context;
      return program;
    }
    known += fmt::format("{}{}", known.empty() ? "" : ", ", row.architecture);
  }
  return BadModel("architecture {} is not supported; supported: {}", config.architecture, known);
}

}  // namespace unimax
