// SPDX-License-Identifier: Apache-2.0
// The pen with which a model file writes its program. Each call appends one op and returns the value it makes.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "program/program.h"

namespace unimax {

class Builder {
 public:
  explicit Builder(std::string model) { program_.model = std::move(model); }
  Program& program() { return program_; }

  // Weights. `parts` are stacked along the rows.
  int Matrix(std::string name, int cols, std::vector<Weight::Part> parts);
  int Vector(std::string name, std::string tensor, int cols);
  int StackedVector(std::string name, std::vector<Weight::Part> parts, int cols);  // part.rows: its elements

  // Ops. Widths are taken from weights and inputs.
  int Embed(int table, float scale = 1);
  void AddPosition(int x, int table, int first);  // x += table[position + first]
  struct NormOptions {
    int bias = -1;
    NormKind kind = NormKind::kRms;
    float offset = 0;
    Storage storage = Storage::kNarrow;
  };
  int Norm(int x, int weight, float eps, const NormOptions& options);
  int Norm(int x, int weight, float eps) { return Norm(x, weight, eps, NormOptions()); }
  void NormInPlace(int x, int weight, float eps, float offset = 0);  // each run of the weight's length by itself: heads
  int Linear(int x, int weight, int bias = -1, Storage storage = Storage::kNarrow);
  std::vector<int> LinearSplit(int x, int weight, int bias = -1);  // one view of the output for each part of the weight
  void RopeAndStore(int q, int k, int v, int layer, int rope = 0);
  int Attention(int q, int layer, int window = 0, float cap = 0);
  int ActMul(Activation act, int gate, int up);
  int Act(Activation act, int x);
  int Narrow(int x) { return Act(Activation::kNone, x); }  // the stream as the input of a Linear, without a norm
  void AddTo(int x, int y, float scale = 1);               // x += y * scale
  int Select(int x);
  int Logits(int x, int head, float scale = 1, float cap = 0);  // the program's logits [O, vocab]
  int Sample(int logits);

  Program Take() { return std::move(program_); }

 private:
  int NewValue(std::string name, int cols, Rows rows, Storage storage);
  Op& Append(OpKind kind, int layer = -1);
  Program program_;
};

}  // namespace unimax
