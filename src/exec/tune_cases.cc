// SPDX-License-Identifier: Apache-2.0
#include "exec/tune_cases.h"

#include <algorithm>
#include <bit>
#include <set>

#include "exec/graph_plan.h"

namespace unimax {
namespace {

constexpr int kFewTokens = 128;

int Bucket(int tokens) { return static_cast<int>(std::bit_ceil(static_cast<unsigned>(tokens))); }

}  // namespace

std::vector<Case> TuneCases(const Program& fused, const Limits& limits, DType act, const TuneShapes& shapes) {
  const GraphPlan plan(fused, limits, {}, {.act = act});
  std::vector<StepShape> steps;
  const int longest = Bucket(shapes.context);
  for (const int batch : shapes.batches) {
    for (int tokens = kFewTokens; tokens < longest; tokens *= 4) steps.push_back({batch, batch, batch, tokens});
    steps.push_back({batch, batch, batch, longest});
  }
  std::set<int> ends = {longest};
  for (const int prompt : shapes.prompts) ends.insert(Bucket(prompt));
  for (const int prompt : shapes.prompts) {
    for (const int tokens : ends) {
      if (prompt <= tokens && tokens <= longest) steps.push_back({prompt, 1, 0, tokens});
    }
  }
  std::vector<Case> cases;
  std::set<std::string> seen;
  for (const StepShape& step : steps) {
    for (const Op& op : fused.ops) {
      for (const RowPart& part : plan.PartsOf(op, step)) {
        const Case c = plan.CaseOf(op, step, part);
        if (seen.insert(PlanCaseName(c)).second) cases.push_back(c);
      }
    }
  }
  return cases;
}

}  // namespace unimax
