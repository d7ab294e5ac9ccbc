// SPDX-License-Identifier: Apache-2.0
// Products that follow each other in one launch, with norms between them (nvidia/linear_chain.h):
// which of them may, on which device, and the memory that such launches share.
#pragma once

#include <span>

#include "base/layout.h"
#include "base/status.h"
#include "device/device.h"
#include "kernels/args.h"
#include "kernels/check.h"

namespace unimax {

// The kernel that takes chains of `m` rows of x; null: there is none for such a device. Sums do not depend on m.
const char* ChainKernel(DType act, int m, const Limits& limits);
// Chains of so many products take less time than a launch a product (an H200, 1 to 64 rows; docs/performance.md).
inline constexpr int kLeastLinks = 3;

// Whether a product of N x K may be a link; `normed`: with a norm of its N outputs behind it.
bool IsLink(int n, int k, bool normed);

// What all chains of a device share; a launch leaves it as it was.
class ChainMemory {
 public:
  // Errors: of the device.
  static Result<ChainMemory> Make(Device& device);
  static uint64_t Bytes();
  // Also tells each link with a norm behind it, and the next one, where its sums lie.
  void AddTo(ChainArgs* args) const;
  // Whether it is as launches must leave it. Errors: of the device.
  Result<bool> IsClean(Device& device) const;

 private:
  Buffer done_, sums_;
};

// Errors: of the device.
Result<Launch> LaunchOfChain(Device& device, const ChainArgs& args);

// The chains of the test: x [M, in] to a residual stream [M, hidden], to act(gate) * up [M, wide] of its norm, to the
// stream again, and to [M, out] of its norm; the first `links` of these. Where there are heads, `out` is their queries,
// keys and values, which turn. With layer norms nothing turns, and the second is relu(up) with a bias.
struct ChainCase {
  int m, in, hidden, wide, out, links;
  int heads = 0, kv_heads = 0;
  bool layer = false;
};
std::span<const ChainCase> ChainCases();
inline constexpr float kChainTolerance = 4e-3f;  // roundings of x differ where sums lie between two bf16
std::string ChainCaseName(const ChainCase& c);
// The largest error of the outputs that the last links leave. Errors: of the device.
Result<CheckResult> CheckChain(Device& device, const ChainCase& c, uint64_t seed, int repeats);

}  // namespace unimax
