// SPDX-License-Identifier: Apache-2.0
#include "engine/compare.h"

#include <cmath>
#include <limits>
#include <numeric>

namespace unimax {
namespace {

Difference Measure(int op, const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  bool finite = a.size() == b.size();
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += d * d;
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
    finite = finite && std::isfinite(a[i]);
  }
  const double error = std::sqrt(difference) / std::max(std::sqrt(norm), 1e-30);
  return {op, finite ? error : std::numeric_limits<double>::infinity(), std::sqrt(norm)};
}

}  // namespace

Result<Comparison> ComparePrefixes(const Program& program, const ExecutorOptions& limits, const std::vector<int>& ids,
                                   const ExecutorMaker& candidate, const ExecutorMaker& truth, double tolerance,
                                   const std::function<void(int)>& progress) {
  std::vector<int> positions(ids.size()), sequences(ids.size(), 0), pages(static_cast<size_t>(limits.max_pages));
  std::iota(positions.begin(), positions.end(), 0);
  std::iota(pages.begin(), pages.end(), 0);
  const std::vector<int> outputs = {static_cast<int>(ids.size()) - 1};
  const Step step{ids, positions, sequences, pages, outputs};

  Comparison comparison;
  for (int count = 1; count <= static_cast<int>(program.ops.size()); ++count) {
    const Program prefix = Prefix(program, count);
    const int value = prefix.ops.back().out;
    std::vector<float> results[2];
    for (int side = 0; side < 2; ++side) {
      UM_ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor, (side == 0 ? candidate : truth)(prefix));
      UM_RETURN_IF_ERROR(executor->Run(step));
      UM_ASSIGN_OR_RETURN(results[side], executor->Read(value));
    }
    comparison.ops.push_back(Measure(count - 1, results[0], results[1]));
    progress(count);
    // Ids are compared through the logits before them: a tie in rounding may choose another one.
    if (prefix.ops.back().kind != OpKind::kSample && !(comparison.ops.back().error <= tolerance)) {
      comparison.first_bad = count - 1;
      return comparison;
    }
  }
  return comparison;
}

}  // namespace unimax
