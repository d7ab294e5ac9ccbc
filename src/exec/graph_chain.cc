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

// A norm that a product may take in: of whole rows of what the product before leaves, for the product behind alone.
bool MayNorm(const Program& program, size_t at, const Op& before, const Op& behind) {
  const Op& op = program.ops[at];
  if (op.kind != OpKind::kNorm || op.norm != NormKind::kRms || op.bias >= 0 || op.in != before.out) return false;
  const Value& in = program.values[static_cast<size_t>(op.in)];
  return in.storage == Storage::kWide && program.values[static_cast<size_t>(op.out)].storage == Storage::kNarrow &&
         program.weights[static_cast<size_t>(op.weight)].cols == in.cols && behind.in == op.out &&
         !ReadElsewhere(program, op.out, static_cast<int>(at) + 1);
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
  return chain;
}

std::string ChainName(const Program& program, const ChainOps& chain) {
  std::string name;
  for (int op : chain.linear) {
    const std::string& weight = program.weights[static_cast<size_t>(program.ops[static_cast<size_t>(op)].weight)].name;
    name += (name.empty() ? "" : ", ") + weight.substr(weight.find_last_of('.') + 1);
  }
  return name;
}

uint64_t ChainStage::Bytes(const Limits& limits, int hidden) {
  return ChainMemory::Bytes(limits) + uint64_t{2} * kChainRows * static_cast<uint64_t>(hidden);
}

Result<std::unique_ptr<ChainStage>> ChainStage::Make(Device& device, bool wanted, int hidden) {
  if (!wanted) return std::unique_ptr<ChainStage>();
  auto stage = std::make_unique<ChainStage>(device);
  UM_ASSIGN_OR_RETURN(stage->memory_, ChainMemory::Make(device));
  UM_ASSIGN_OR_RETURN(stage->normed_,
                      device.Allocate(size_t{2} * kChainRows * static_cast<size_t>(hidden), "normed rows of chains"));
  return stage;
}

Result<Launch> ChainStage::Plan(const Program& program, const ChainOps& chain, const std::vector<LinearArgs>& products,
                                const std::function<const std::byte*(int)>& weight_at) {
  ChainArgs args{};
  args.links = static_cast<int>(products.size());
  for (size_t l = 0; l < products.size(); ++l) {
    ChainLink& link = args.link[l];
    static_cast<LinearArgs&>(link) = products[l];
    if (l > 0 && chain.norm[l - 1] >= 0) {
      link.x = normed_.data();
      link.eps = program.ops[static_cast<size_t>(chain.norm[l - 1])].eps;
    }
    if (l + 1 == products.size() || chain.norm[l] < 0) continue;
    const Op& norm = program.ops[static_cast<size_t>(chain.norm[l])];
    link.norm = reinterpret_cast<const float*>(weight_at(norm.weight));
    link.normed = normed_.data();
    link.offset = norm.offset;
  }
  memory_.AddTo(&args);
  UM_ASSIGN_OR_RETURN(Launch launch, LaunchOfChain(device_, DType::kBF16, args));
  launch.overlap = true;
  return launch;
}

}  // namespace unimax
