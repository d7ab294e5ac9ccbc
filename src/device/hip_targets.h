// SPDX-License-Identifier: Apache-2.0
// The AMD GPUs that unimax has code objects for, one row a target: what a plan can be made of without a card. An opened
// device reports its own numbers (hip.cc).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "device/device.h"

namespace unimax {

struct HipTarget {
  const char* name;     // "gfx942"
  const char* card;     // one that has it
  int multiprocessors;  // of that card as HIP counts them: CUs of CDNA, pairs of CUs of RDNA
  int lanes;
  int64_t shared_bytes_per_block;
  int64_t l2_bytes;
};

std::span<const HipTarget> HipTargets();

// The limits of a target's card; name, driver and memory are empty.
Limits PlanLimits(const HipTarget& target);

// The tiles of the matrix instructions, which the lanes tell: MFMA has 64, WMMA 32.
void SetHipTiles(Limits& limits);

// "gfx90a" of "gfx90a:sramecc+:xnack-".
std::string_view HipTargetName(std::string_view architecture);

}  // namespace unimax
