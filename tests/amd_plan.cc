// SPDX-License-Identifier: Apache-2.0
// Prints the AMD targets ("card", target, a card that has it), and what the plan chooses there, one line a kernel:
// target, kernel, most threads of a block, most bytes of shared memory. scripts/code_report holds the machine code to
// it.
#include <algorithm>
#include <cstdio>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "device/hip_targets.h"
#include "kernels/args.h"
#include "kernels/plan.h"

namespace unimax {
namespace {

struct Most {
  int threads = 0, shared_bytes = 0;
};

// The shapes of the tests, and those of models: every batch, widths and head sizes that are in use.
std::vector<Case> Shapes() {
  std::vector<Case> all;
  for (const Row& row : GpuRows()) {
    for (const Case& c : row.cases) all.push_back(OwnCase(row, c));
  }
  for (const DType act : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (int m = 1; m <= 4096; m = m < 136 ? m + 1 : m * 2) {
      for (const int n : {64, 576, 4096, 14336, 151936}) {
        for (const int flags : {0, kLinearWide, kLinearActMul}) {
          for (const int split_tokens : {0, 256}) {
            all.push_back({.op = OpKind::kLinear,
                           .act = act,
                           .m = m,
                           .n = n,
                           .k = 4096,
                           .flags = flags,
                           .split_tokens = split_tokens});
          }
        }
      }
      for (const int head_dim : {16, 64, 80, 96, 128, 192, 256}) {
        for (const auto& [heads, kv_heads] : {std::pair(32, 32), std::pair(32, 8), std::pair(71, 1)}) {
          for (const bool decode : {false, true}) {
            all.push_back({.op = OpKind::kAttention,
                           .act = act,
                           .m = m,
                           .attention = {heads, kv_heads, head_dim, 0.1f},
                           .decode = decode,
                           .tokens = std::max(m, 2048)});
          }
        }
      }
    }
  }
  return all;
}

std::map<std::string, Most> Chosen(const Limits& limits, const std::vector<Case>& shapes) {
  std::map<std::string, Most> chosen = {// launched by the executor itself
                                        {"fill_random_f32", {256, 0}}, {"fill_random_bf16", {256, 0}},
                                        {"fill_random_f16", {256, 0}}, {"largest_scores_bf16", {128, 256}},
                                        {"pack_tiles_bf16", {256, 0}}, {"pack_tiles_f16", {256, 0}},
                                        {"read_rate", {1024, 0}}};
  for (const Case& c : shapes) {
    const Row* row = PlanRow(c, limits);
    if (row == nullptr) continue;
    const LaunchShape launch = row->launch(c, limits);
    Most& most = chosen[row->kernel];
    most.threads = std::max(most.threads, launch.threads);
    most.shared_bytes = std::max(most.shared_bytes, launch.shared_bytes);
  }
  return chosen;
}

}  // namespace
}  // namespace unimax

int main() {
  const auto shapes = unimax::Shapes();
  for (const unimax::HipTarget& target : unimax::HipTargets()) {
    std::printf("card %s %s\n", target.name, target.card);
    for (const auto& [kernel, most] : unimax::Chosen(unimax::PlanLimits(target), shapes)) {
      std::printf("%s %s %d %d\n", target.name, kernel.c_str(), most.threads, most.shared_bytes);
    }
  }
  return 0;
}
