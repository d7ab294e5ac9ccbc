// SPDX-License-Identifier: Apache-2.0
// The weights of a program, found in a checkpoint under the names its format uses; and weights made of random numbers.
#pragma once

#include <string>
#include <string_view>

#include "weights/checkpoint.h"
#include "weights/weight_source.h"

namespace unimax {

class CheckpointSource : public WeightSource {
 public:
  // `checkpoint` must outlive the source.
  explicit CheckpointSource(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}
  Result<SourceTensor> Find(const std::string& name, int rows, int cols) const override;
  void Done(const SourceTensor& tensor) const override;

 private:
  Result<const TensorView*> Tensor(const std::string& name) const;
  const Checkpoint& checkpoint_;
};

// Every tensor exists and is random: for benches of a shape (`--config config.json`).
class RandomSource : public WeightSource {
 public:
  explicit RandomSource(DType type) : type_(type) {}
  Result<SourceTensor> Find(const std::string& name, int rows, int cols) const override;
  void Done(const SourceTensor&) const override {}

 private:
  DType type_;
};

// "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight"; "" where GGUF has no such name. `architecture` is
// GGUF's.
std::string GgufName(std::string_view architecture, const std::string& name);

}  // namespace unimax
