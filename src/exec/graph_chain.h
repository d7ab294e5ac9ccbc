// SPDX-License-Identifier: Apache-2.0
// Runs of ops that one launch of kernels/chain.h takes: products that follow each other, with norms between them, and
// the turning and storing of queries, keys and values behind them. A norm among them leaves nothing that others may
// read.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "exec/norm_folds.h"
#include "kernels/chain.h"
#include "program/liveness.h"
#include "program/program.h"

namespace unimax {

struct ChainOps {
  std::vector<int> linear;  // numbers of ops
  std::vector<int> norm;    // behind each of them but the last; -1: none
  int rope = -1;            // RopeAndStore behind the last of them; -1: none
  size_t Last() const { return static_cast<size_t>(rope >= 0 ? rope : linear.back()); }
};

// The longest chain that begins with op number `first`, of at most kChainLinks products; shorter than two: none.
ChainOps ChainFrom(const Program& program, size_t first);
// The first and last op of each chain of a program, in order.
std::vector<OpRange> ChainRanges(const Program& program);
std::string ChainName(const Program& program, const ChainOps& chain);  // "out, gate_up, down, qkv"

class ChainStage {
 public:
  // Null where it is not `wanted`. Folds the layer norms of all chains. `program` and `folds` outlive it. Errors: of
  // the device.
  static Result<std::unique_ptr<ChainStage>> Make(Device& device, bool wanted, const Program& program,
                                                  NormFolds& folds);
  // What Make takes of the device's memory.
  static uint64_t Bytes(int hidden);

  // `args` has what each op would get alone. Errors: of the device.
  Result<Launch> Plan(const ChainOps& chain, ChainArgs args, const std::function<const float*(int)>& weight_at);

  ChainStage(Device& device, const Program& program, NormFolds& folds)  // see Make
      : device_(device), program_(program), folds_(folds) {}

 private:
  const Op& OpAt(int number) const { return program_.ops[static_cast<size_t>(number)]; }
  // What link `l` makes up for the layer norm before it with; nothing where there is none.
  Status AddFold(const ChainOps& chain, size_t l, ChainLink* link);

  Device& device_;
  const Program& program_;
  NormFolds& folds_;
  ChainMemory memory_;
  Buffer normed_;  // x of the product behind a norm: no two of them live at once
};

}  // namespace unimax
