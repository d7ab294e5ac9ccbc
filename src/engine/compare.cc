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
  // Whether prefix [0, count) agrees; its measurement is kept.
  const auto agrees = [&](int count) -> Result<bool> {
    const Program prefix = Prefix(program, count);
    std::vector<float> results[2];
    for (int side = 0; side < 2; ++side) {
      UM_ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor, (side == 0 ? candidate : truth)(prefix));
      UM_RETURN_IF_ERROR(executor->Run(step));
      UM_ASSIGN_OR_RETURN(results[side], executor->Read(prefix.ops.back().out));
    }
    comparison.ops.push_back(Measure(count - 1, results[0], results[1]));
    progress(static_cast<int>(comparison.ops.size()));
    // Ids are compared through the logits before them: a tie in rounding may choose another one.
    return prefix.ops.back().kind == OpKind::kSample || comparison.ops.back().error <= tolerance;
  };

  const int all = static_cast<int>(program.ops.size());
  if (all <= kEveryPrefix) {
    for (int count = 1; count <= all && comparison.first_bad < 0; ++count) {
      UM_ASSIGN_OR_RETURN(const bool good, agrees(count));
      if (!good) comparison.first_bad = count - 1;
    }
    return comparison;
  }
  // An error stays in everything that follows from it, so the border between good and bad prefixes can be halved.
  const int last = program.ops.back().kind == OpKind::kSample ? all - 1 : all;
  UM_ASSIGN_OR_RETURN(const bool whole, agrees(last));
  if (whole) return comparison;
  int good = 0, bad = last;
  while (bad - good > 1) {
    const int middle = (good + bad) / 2;
    UM_ASSIGN_OR_RETURN(const bool fine, agrees(middle));
    (fine ? good : bad) = middle;
  }
  comparison.first_bad = bad - 1;
  return comparison;
}

}  // namespace unimax
