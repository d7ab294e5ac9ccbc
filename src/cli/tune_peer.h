// SPDX-License-Identifier: Apache-2.0
// `unimax tune --peer`: products of a vendor's library and ours, at the same shapes in the same run, in turns over cold
// weights.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "cli/tune_guard.h"
#include "device/device.h"
#include "kernels/table.h"

namespace unimax {

struct PeerCommand {
  std::string peer;     // as PeerGemm::Open
  std::string library;  // its file, in place of where it is looked for
  int choices = 8;      // of the library, tried beside its first one
  int repeats = 0;      // 0: as TuneOptions
  bool json = false;
};

// The linear layers of Llama-2-7B, Llama-2-13B, Llama-3.1-8B and OPT-6.7B, fused as they are run: y[m, n] = x[m, k] *
// w, without epilogue, at each of `batches`.
std::vector<Case> AnchorCases(DType act, std::span<const int> batches);

// Errors (kUsage): the library is not for such a device.
Status CheckPeer(const std::string& peer, const Limits& limits);

// A line a case: our rows (launched one after the other, and as the graph executor launches them) beside the library's
// first choice and its best one; then the geometric means of its time over ours. Errors: kNoDevice without the library;
// kInternal where a product is wrong.
Status ComparePeer(const PeerCommand& options, Device& device, std::span<const Case> cases, TuneGuard& guard);

}  // namespace unimax
