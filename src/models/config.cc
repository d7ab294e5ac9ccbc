// SPDX-License-Identifier: Apache-2.0
#include "models/config.h"

#include "models/config_rows.h"

namespace unimax {
namespace {

// The embedding decides how many rows an id may name: it must be as the configuration says.
Status CheckEmbedding(const Checkpoint& checkpoint, const ModelConfig& config) {
  for (const ArchitectureRow& row : kArchitectures) {
    if (row.name != config.architecture) continue;
    UM_ASSIGN_OR_RETURN(const TensorView* tensor, NeedTensor(checkpoint, std::string(row.embedding)));
    if (tensor->shape.size() == 2 && tensor->shape[0] == static_cast<uint64_t>(config.vocab) &&
        tensor->shape[1] == static_cast<uint64_t>(config.embedding_width))
      return {};
    return BadModel("{}: tensor {} is not vocab_size x hidden_size = {} x {}", checkpoint.path(), row.embedding,
                    config.vocab, config.embedding_width);
  }
  return {};
}

}  // namespace

Result<const TensorView*> NeedTensor(const Checkpoint& checkpoint, const std::string& name) {
  const size_t dot = name.find('.');
  if (checkpoint.Find(name) == nullptr && dot != std::string::npos) {
    const TensorView* tensor = checkpoint.Find(std::string_view(name).substr(dot + 1));
    if (tensor != nullptr) return tensor;
  }
  return checkpoint.Need(name);
}

Result<ModelConfig> ReadConfig(const Checkpoint& checkpoint) {
  if (checkpoint.gguf_file() != nullptr) return ReadGgufConfig(*checkpoint.gguf_file());
  const std::string& path = checkpoint.path();
  if (!checkpoint.has_config_json()) return BadModel("{}: config.json is missing beside the weights", path);
  UM_ASSIGN_OR_RETURN(ModelConfig config,
                      ReadJsonConfig(checkpoint.config_json(), checkpoint.generation_config_json(), path));
  UM_RETURN_IF_ERROR(CheckEmbedding(checkpoint, config));
  return config;
}

}  // namespace unimax
