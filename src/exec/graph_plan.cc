// SPDX-License-Identifier: Apache-2.0
#include "exec/graph_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <set>

#include "kernels/args.h"
#include "kernels/chain.h"
#include "kernels/check.h"

namespace unimax {

constexpr int kFlatColumnTiles = 8;  // of the widest flat row

const char* SourceName(PlanSource source) {
  switch (source) {
    case PlanSource::kForced:
      return "forced";
    case PlanSource::kMeasured:
      return "measured";
    case PlanSource::kOrder:
      break;
  }
  return "built-in order";
}

// Tokens of a split under --deterministic: a function of the longest sequence alone.
int GraphPlan::SplitTokens() const {
  constexpr int kLeast = 256, kTile = 32;
  const int longest = options_.max_pages * options_.page_tokens + kTile;
  const int each = (longest + kMostSplits - 1) / kMostSplits;
  return std::max(kLeast, (each + kTile - 1) / kTile * kTile);
}

Result<StepShape> GraphPlan::ShapeOf(const Step& step) const {
  StepShape shape;
  shape.tokens = static_cast<int>(step.ids.size());
  shape.outputs = static_cast<int>(step.outputs.size());
  if (shape.tokens < 1 || shape.tokens > options_.max_tokens || shape.outputs > options_.max_outputs) {
    return Internal("a step of {} tokens and {} outputs exceeds the executor's {} and {}", shape.tokens, shape.outputs,
                    options_.max_tokens, options_.max_outputs);
  }
  int longest = 0;
  bool alone = true;  // every row so far
  for (int t = 0; t < shape.tokens; ++t) {
    longest = std::max(longest, step.positions[static_cast<size_t>(t)] + 1);
    const bool last = t + 1 == shape.tokens;
    alone = alone && (last || step.sequences[static_cast<size_t>(t)] != step.sequences[static_cast<size_t>(t) + 1]);
    if (alone && shape.decodes < options_.max_sequences) ++shape.decodes;
  }
  shape.bucket = static_cast<int>(std::bit_ceil(static_cast<unsigned>(longest)));
  return shape;
}

Case GraphPlan::CaseOf(const Op& op, const StepShape& shape, const RowPart& part) const {
  Case c;
  c.op = op.kind;
  c.act = graph_.act;
  c.attention = program_.attention;
  c.decode = part.decode;
  c.tokens = shape.bucket;
  if (graph_.deterministic) c.split_tokens = SplitTokens();
  const Value& out = program_.values[static_cast<size_t>(op.out)];
  c.m = part.count;
  c.n = out.cols;
  if (op.kind == OpKind::kLinear) {
    const Weight& w = program_.weights[static_cast<size_t>(op.weight)];
    c.n = w.rows;
    c.k = w.cols;
    if (out.storage == Storage::kWide) c.flags |= kLinearWide;
    if (w.interleaved) c.flags |= kLinearActMul;
    c.residual = op.in2 >= 0;
    c.activation = op.act;
    c.scale = op.scale;
    c.cap = op.cap;
  }
  if (op.kind == OpKind::kNorm) {
    c.n = program_.weights[static_cast<size_t>(op.weight)].cols;
    c.groups = out.cols / c.n;
    if (op.norm == NormKind::kLayer) c.flags |= kNormLayer;
    if (program_.values[static_cast<size_t>(op.in)].storage == Storage::kNarrow) c.flags |= kNormNarrowIn;
    if (out.storage == Storage::kWide) c.flags |= kNormWideOut;
  }
  if (op.kind == OpKind::kRopeAndStore) {
    c.rotary = op.rope < 0 ? 0 : static_cast<int>(program_.ropes[static_cast<size_t>(op.rope)].inv_freq.size()) * 2;
  }
  if (op.kind == OpKind::kActMul && program_.values[static_cast<size_t>(op.in)].storage == Storage::kWide) {
    c.flags |= kActWideIn;
  }
  c.window = op.window;
  if (op.kind == OpKind::kAttention) c.cap = op.cap;
  c.bare = op.kind == OpKind::kActMul ? op.in2 < 0 : op.bias < 0;
  if (op.kind == OpKind::kSample) c.n = program_.vocab;
  return c;
}

// Most rows that one launch of the op takes. Only --deterministic cuts: products to what the flat rows take, attention
// to what there is room for unfinished sums.
int GraphPlan::RowsAtOnce(const Op& op) const {
  const bool narrow = graph_.act != DType::kF32;
  if (graph_.deterministic && op.kind == OpKind::kLinear && narrow) return kFlatColumnTiles * limits_.tile_cols;
  if (graph_.deterministic && op.kind == OpKind::kAttention) return options_.max_sequences;
  return std::numeric_limits<int>::max();
}

std::vector<RowPart> GraphPlan::PartsOf(const Op& op, const StepShape& shape) const {
  const bool tokens = program_.values[static_cast<size_t>(op.out)].rows == Rows::kTokens;
  const int rows = tokens ? shape.tokens : shape.outputs, most = std::min(RowsAtOnce(op), std::max(rows, 1));
  if (graph_.deterministic || op.kind != OpKind::kAttention) {
    std::vector<RowPart> parts;
    for (int first = 0; first < rows; first += most) {
      parts.push_back({first, std::min(most, rows - first), shape.decode() || graph_.deterministic});
    }
    return parts;
  }
  std::vector<RowPart> parts = {{0, shape.decodes, true}, {shape.decodes, rows - shape.decodes, false}};
  std::erase_if(parts, [](const RowPart& part) { return part.count == 0; });
  return parts;
}

bool GraphPlan::Chains() const {
  const bool forced = std::ranges::any_of(graph_.forced, [](const ForcedRow& row) {
    return row.op == OpKind::kLinear || row.op == OpKind::kNorm || row.op == OpKind::kRopeAndStore;
  });
  return limits_.target == "sm_90a" && !forced && ChainKernel(graph_.act, kChainRows, limits_) != nullptr;
}

std::vector<OpRange> GraphPlan::Together() const { return Chains() ? ChainRanges(program_) : std::vector<OpRange>(); }

ChainOps GraphPlan::ChainAt(size_t first, const StepShape& shape) const {
  if (!Chains()) return {};
  const ChainOps chain = ChainFrom(program_, first);
  if (chain.linear.size() < 2 || graph_.deterministic) return chain;  // then all steps go the same way, in parts
  return chain.linear.size() >= kLeastLinks && shape.tokens <= kChainRows ? chain : ChainOps();
}

std::string GraphPlan::Text(const StepShape& shape) const {
  std::string text;
  std::set<std::string> seen;
  for (size_t i = 0; i < program_.ops.size(); ++i) {
    const Op& op = program_.ops[i];
    const ChainOps chain = ChainAt(i, shape);
    if (chain.linear.size() > 1) {
      const std::string line = fmt::format("{:<13} {:<44} {}\n", "Linear, ...", ChainName(program_, chain),
                                           ChainKernel(graph_.act, PartsOf(op, shape).front().count, limits_));
      if (seen.insert(line).second) text += line;
      i = chain.Last();
      continue;
    }
    for (const RowPart& part : PartsOf(op, shape)) {
      const Case c = CaseOf(op, shape, part);
      const Planned planned = PlannedOf(c);
      const Row* row = planned.row;
      if (row == nullptr) continue;
      const LaunchShape launch = row->launch(c, limits_);
      const std::string line =
          fmt::format("{:<13} {:<44} {:<30} {} x {} x {} blocks of {}, {} bytes shared; {}\n", OpName(op.kind),
                      CaseName(*row, c), row->kernel, launch.grid_x, launch.grid_y, launch.grid_z, launch.threads,
                      launch.shared_bytes, SourceName(planned.source));
      if (seen.insert(line).second) text += line;
    }
  }
  return text;
}

}  // namespace unimax
