// SPDX-License-Identifier: Apache-2.0
#include "models/registry.h"

#include <fmt/format.h>

namespace unimax {
namespace {

constexpr ModelRow kModels[] = {
    {"llama", &BuildLlama},
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
