// SPDX-License-Identifier: Apache-2.0
#include "cli/tune_steps.h"

#include <algorithm>

#include "base/log.h"
#include "engine/measure.h"
#include "exec/graph.h"
#include "exec/stream.h"

namespace unimax {
namespace {

constexpr int kMostRows = 8;  // of a step in one launch

// Milliseconds of a step at each batch.
Result<std::vector<double>> Steps(Model& model, std::span<const int> batches, int context, TuneGuard& guard) {
  const bool emulator = model.device()->limits().target.starts_with("emulator");
  const int steps = emulator ? 4 : 48;
  std::vector<double> times;
  for (const int batch : batches) {
    guard.Working(fmt::format("steps of {} rows, {}", batch, model.executor().Describe()));
    if (!emulator) UM_RETURN_IF_ERROR(Measure(model, batch, context, 4).status());  // warms up
    UM_ASSIGN_OR_RETURN(const Measurement m, Measure(model, batch, context, steps));
    times.push_back(m.decode_ms);
  }
  return times;
}

}  // namespace

Result<std::vector<PlanStep>> MeasureSteps(ModelOptions options, std::span<const int> batches, int context,
                                           TuneGuard& guard) {
  std::vector<int> rows;
  std::ranges::copy_if(batches, std::back_inserter(rows), [](int batch) { return batch <= kMostRows; });
  std::ranges::sort(rows);
  rows.erase(std::ranges::unique(rows).begin(), rows.end());
  if (rows.empty()) return std::vector<PlanStep>();
  options.sequences = rows.back();
  options.context = std::max(context, 64);
  options.executor = "stream";
  std::vector<PlanStep> found;
  std::vector<double> streamed;
  const int cached = options.context - 48;
  {
    const Result<std::unique_ptr<Model>> model = Model::Load(options);
    if (!model.ok() && model.status().kind() == ErrorKind::kUsage) {
      LogInfo("steps in one launch are not for this: {}", model.status().text());
      return found;
    }
    if (!model.ok()) return model.status();
    UM_ASSIGN_OR_RETURN(streamed, Steps(**model, rows, cached, guard));
    const DType act = (*model)->DeviceType();
    const std::string key = ProgramKey(FuseForGraph((*model)->program(), act));
    for (size_t i = 0; i < rows.size(); ++i) found.push_back({key, act, rows[i], streamed[i] * 1e3, 0});
  }
  options.executor = "graph";
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Load(options));
  UM_ASSIGN_OR_RETURN(const std::vector<double> by_ops, Steps(*model, rows, cached, guard));
  for (size_t i = 0; i < rows.size(); ++i) found[i].graph_microseconds = by_ops[i] * 1e3;
  return found;
}

}  // namespace unimax
