// SPDX-License-Identifier: Apache-2.0
#include "exec/graph_chain.h"

#include <algorithm>

namespace unimax {
namespace {

bool IsView(const Program& program, int value) { return program.values[static_cast<size_t>(value)].parent >= 0; }

// Whether anybody but op number `reader` reads a value or a view of it.
bool ReadElsewhere(const Program& program, int value, int reader) {
  for (size_t i = 0; i < program.ops.size(); ++i) {
    for (int in : {program.ops[i].in, program.ops[i].in2, program.ops[i].in3}) {
      if (in < 0 || static_cast<int>(i) == reader) continue;
      if (in == value || program.values[static_cast<size_t>(in)].parent == value) return true;
    }
  }
  return false;
}

bool MayLink(const Program& program, const Op& op, bool normed) {
  if (op.kind != OpKind::kLinear || program.values[static_cast<size_t>(op.out)].rows != Rows::kTokens) return false;
  const Weight& w = program.weights[static_cast<size_t>(op.weight)];
  return !IsView(program, op.in) && !IsView(program, op.out) && IsLink(w.rows, w.cols, normed);
}

// Whether the product behind a norm makes up for it.
bool TakesIn(const Program& program, const Op& norm, const Op& linear) {
  if (norm.norm == NormKind::kRms) return norm.bias < 0;
  return norm.offset == 0 && !program.weights[static_cast<size_t>(linear.weight)].interleaved;
}

// A norm that a product may take in: of whole rows of what the product before leaves, for the product behind alone.
bool MayNorm(const Program& program, size_t at, const Op& before, const Op& behind) {
  const Op& op = program.ops[at];
  if (op.kind != OpKind::kNorm || op.in != before.out || !TakesIn(program, op, behind)) return false;
  const Value& in = program.values[static_cast<size_t>(op.in)];
  return in.storage == Storage::kWide && program.values[static_cast<size_t>(op.out)].storage == Storage::kNarrow &&
         program.weights[static_cast<size_t>(op.weight)].cols == in.cols && behind.in == op.out &&
         !ReadElsewhere(program, op.out, static_cast<int>(at) + 1);
}

// Queries, keys and values that the op behind turns as a whole, or only stores, and that nobody else reads before.
bool MayTurn(const Program& program, const Op& linear, const Op& op) {
  const AttentionShape& a = program.attention;
  if (op.kind != OpKind::kRopeAndStore || a.head_dim != kChainHead) return false;
  const Rope* rope = op.rope < 0 ? nullptr : &program.ropes[static_cast<size_t>(op.rope)];
  if (rope != nullptr && (rope->interleaved || static_cast<int>(rope->inv_freq.size()) * 2 != kChainHead)) return false;
  const auto is_part = [&](int value, int offset) {
    const Value& v = program.values[static_cast<size_t>(value)];
    return v.parent == linear.out && v.offset == offset;
  };
  return is_part(op.in, 0) && is_part(op.in2, a.heads * kChainHead) &&
         is_part(op.in3, (a.heads + a.kv_heads) * kChainHead) && linear.act == Activation::kNone && linear.scale == 1 &&
         linear.cap == 0 && linear.in2 < 0;
}

}  // namespace

ChainOps ChainFrom(const Program& program, size_t first) {
  const std::vector<Op>& ops = program.ops;
  ChainOps chain;
  if (!MayLink(program, ops[first], false)) return chain;
  chain.linear.push_back(static_cast<int>(first));
  while (chain.linear.size() < kChainLinks) {
    const auto last = static_cast<size_t>(chain.linear.back());
    if (last + 1 < ops.size() && ops[last + 1].in == ops[last].out && MayLink(program, ops[last + 1], false)) {
      chain.norm.push_back(-1);
      chain.linear.push_back(static_cast<int>(last) + 1);
    } else if (last + 2 < ops.size() && MayLink(program, ops[last], true) && MayLink(program, ops[last + 2], false) &&
               MayNorm(program, last + 1, ops[last], ops[last + 2])) {
      chain.norm.push_back(static_cast<int>(last) + 1);
      chain.linear.push_back(static_cast<int>(last) + 2);
    } else {
      break;
    }
  }
  const auto last = static_cast<size_t>(chain.linear.back());
  if (last + 1 < ops.size() && MayTurn(program, ops[last], ops[last + 1])) chain.rope = static_cast<int>(last) + 1;
  return chain;
}

std::vector<OpRange> ChainRanges(const Program& program) {
  std::vector<OpRange> ranges;
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const ChainOps chain = ChainFrom(program, i);
    if (chain.linear.size() < 2) continue;
    ranges.push_back({static_cast<int>(i), static_cast<int>(chain.Last())});
    i = chain.Last();
  }
  return ranges;
}

std::string ChainName(const Program& program, const ChainOps& chain) {
  std::string name;
  for (int op : chain.linear) {
    const std::string& weight = program.weights[static_cast<size_t>(program.ops[static_cast<size_t>(op)].weight)].name;
    name += (name.empty() ? "" : ", ") + weight.substr(weight.find_last_of('.') + 1);
  }
  return chain.rope < 0 ? name : name + ", rope";
}

uint64_t ChainStage::Bytes(int hidden) {
  return ChainMemory::Bytes() + uint64_t{2} * kChainRows * static_cast<uint64_t>(hidden);
}

Result<std::unique_ptr<ChainStage>> ChainStage::Make(Device& device, bool wanted, const Program& program,
                                                     NormFolds& folds) {
  if (!wanted) return std::unique_ptr<ChainStage>();
  auto stage = std::make_unique<ChainStage>(device, program, folds);
  UM_ASSIGN_OR_RETURN(stage->memory_, ChainMemory::Make(device));
  UM_ASSIGN_OR_RETURN(stage->normed_, device.Allocate(size_t{2} * kChainRows * static_cast<size_t>(program.hidden),
                                                      "normed rows of chains"));
  for (const OpRange& range : ChainRanges(program)) {
    const ChainOps chain = ChainFrom(program, static_cast<size_t>(range.first));
    for (size_t l = 1; l < chain.linear.size(); ++l) {
      ChainLink link;
      UM_RETURN_IF_ERROR(stage->AddFold(chain, l, &link));
    }
  }
  return stage;
}

Status ChainStage::AddFold(const ChainOps& chain, size_t l, ChainLink* link) {
  if (chain.norm[l - 1] < 0 || OpAt(chain.norm[l - 1]).norm != NormKind::kLayer) return {};
  UM_ASSIGN_OR_RETURN(const NormFold fold, folds_.Of(OpAt(chain.linear[l]), OpAt(chain.norm[l - 1])));
  link->slope = fold.slope;
  link->bias = fold.bias;
  return {};
}

Result<Launch> ChainStage::Plan(const ChainOps& chain, ChainArgs args,
                                const std::function<const float*(int)>& weight_at) {
  for (size_t l = 0; l < chain.norm.size(); ++l) {
    if (chain.norm[l] < 0) continue;
    const Op& norm = OpAt(chain.norm[l]);
    ChainLink &before = args.link[l], &behind = args.link[l + 1];
    before.norm = weight_at(norm.weight);
    before.offset = norm.offset;
    before.normed = normed_.data();
    behind.x = normed_.data();
    behind.eps = norm.eps;
    UM_RETURN_IF_ERROR(AddFold(chain, l + 1, &behind));
  }
  memory_.AddTo(&args);
  UM_ASSIGN_OR_RETURN(Launch launch, LaunchOfChain(device_, args));
  launch.overlap = true;
  return launch;
}

}  // namespace unimax
