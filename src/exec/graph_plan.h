// SPDX-License-Identifier: Apache-2.0
// What the graph executor launches for a step of a given shape: which rows of it go together, and which kernel row of
// the table takes them. Nothing here touches a device.
#pragma once

#include <string>
#include <tuple>
#include <vector>

#include "device/device.h"
#include "exec/executor.h"
#include "exec/graph.h"
#include "exec/graph_chain.h"
#include "kernels/plan.h"
#include "program/liveness.h"
#include "program/program.h"

namespace unimax {

// What makes two steps run the same launches.
struct StepShape {
  int tokens = 0, outputs = 0;
  int decodes = 0;  // the first rows of the step, each alone in its sequence
  int bucket = 0;   // bound on the cached tokens, a power of two
  bool decode() const { return decodes == tokens; }
  auto Key() const { return std::tie(tokens, outputs, decodes, bucket); }
  bool operator<(const StepShape& o) const { return Key() < o.Key(); }
};

// Rows [first, first + count) of a step, which one launch takes.
struct RowPart {
  int first = 0, count = 0;
  bool decode = false;  // each alone in its sequence
};

class GraphPlan {
 public:
  // `program` must outlive the plan.
  GraphPlan(const Program& program, const Limits& limits, const ExecutorOptions& options, GraphOptions graph)
      : program_(program), limits_(limits), options_(options), graph_(std::move(graph)) {}

  // Errors: kInternal where a step exceeds what the executor was made for.
  Result<StepShape> ShapeOf(const Step& step) const;
  // Whether any step goes by chains, and the chain that begins with op number `first` of a step: none, or at least two
  // products.
  bool Chains() const;
  // Ops of which some rows may be done with the last before others begin with the first.
  std::vector<OpRange> Together() const;
  ChainOps ChainAt(size_t first, const StepShape& shape) const;
  // The launches of an op. Attention of a step that holds both takes decodes by the split rows and prompts by the tiled
  // ones, where a decode would fill a whole tile.
  std::vector<RowPart> PartsOf(const Op& op, const StepShape& shape) const;
  Case CaseOf(const Op& op, const StepShape& shape, const RowPart& part) const;
  // Null: no row fits.
  const Row* RowOf(const Case& c) const { return PlannedOf(c).row; }
  // For people, a line for each op that differs from those before it: the op, its shape, the kernel, its launch and who
  // chose it: the order of the rows, what was measured, or --force.
  std::string Text(const StepShape& shape) const;

 private:
  Planned PlannedOf(const Case& c) const { return PlanWith(c, limits_, graph_.forced, graph_.plan); }
  int SplitTokens() const;
  int RowsAtOnce(const Op& op) const;

  const Program& program_;
  Limits limits_;
  ExecutorOptions options_;
  GraphOptions graph_;
};

}  // namespace unimax
