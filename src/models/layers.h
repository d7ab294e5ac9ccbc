// SPDX-License-Identifier: Apache-2.0
// Pieces of decoder layers that families share. Each call writes ops; weights are named as the checkpoint names them.
#pragma once

#include <string>
#include <vector>

#include "base/model_config.h"
#include "program/builder.h"

namespace unimax {

// A program with the traits that hold for all layers: attention shape and rotary frequencies.
Builder Begin(const ModelConfig& config);

struct Qkv {
  int q, k, v;
};

// What one linear map is made of: a matrix and, where the model has one, its bias.
struct LinearWeights {
  int weight = -1, bias = -1;
};
// The tensors are `parts` and, for the bias, the same names with "bias" for "weight".
LinearWeights LoadLinear(Builder& p, const std::string& name, int cols, const std::vector<Weight::Part>& parts,
                         bool bias);

// The weights of one decoder layer, loaded where they are used.
class Layer {
 public:
  // `prefix` stands before the names of the layer's tensors: "model.layers.3.".
  Layer(Builder& p, const ModelConfig& config, int number, std::string prefix);

  // Norms. `tensor` is the name within the layer, without ".weight".
  int RmsNorm(int x, const std::string& tensor, float offset = 0);
  int LayerNorm(int x, const std::string& tensor, Storage storage = Storage::kNarrow);
  void NormHeads(int x, const std::string& tensor, float offset = 0);  // each head by itself, in place
  void NormRow(int x, const std::string& tensor);                      // over all heads at once, in place

  // Queries, keys and values of three tensors, or of one that holds them in turn (ModelConfig::qkv_by_head says how).
  Qkv SplitQkv(int h, bool bias, const std::string& module = "self_attn.");
  Qkv FusedQkv(int h, const std::string& tensor, bool bias);
  // Stores keys and values, attends and projects: the layer's window decides what is seen and which rope turns.
  int Attend(const Qkv& qkv, const std::string& out, bool bias, bool rotate = true);

  // down(act(gate(h)) * up(h)); gate and up are two tensors, or one where `fused` names it.
  int GatedMlp(int h, bool bias = false, const std::string& fused = "");
  // second(act(first(h))), both with a bias where the model has them.
  int Mlp(int h, const std::string& first, const std::string& second, bool bias);

 private:
  LinearWeights Load(const std::string& name, int cols, const std::vector<Weight::Part>& parts, bool bias);
  Weight::Part PartOf(const std::string& tensor, int rows) const;

  Builder& p_;
  const ModelConfig& c_;
  int number_;
  std::string name_, prefix_;
};

// The rows whose logits are wanted, normed by `norm` (of Layer::RmsNorm's kind, unless `layer_norm`).
int LastNorm(Builder& p, const ModelConfig& config, int x, const std::string& norm, float offset = 0);
int LastLayerNorm(Builder& p, const ModelConfig& config, int x, const std::string& norm);
// Logits and choice; the head is `table` where it is tied, else the tensor `head`.
Program Finish(Builder& p, const ModelConfig& config, int last, int table, const std::string& head = "lm_head");

}  // namespace unimax
