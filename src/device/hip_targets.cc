// SPDX-License-Identifier: Apache-2.0
#include "device/hip_targets.h"

namespace unimax {
namespace {

constexpr int64_t kKilobyte = 1024, kMegabyte = 1024 * kKilobyte;

// From AMD's data sheets and its table of accelerator specifications (rocm.docs.amd.com).
constexpr HipTarget kTargets[] = {
    {"gfx90a", "Instinct MI210", 104, 64, 64 * kKilobyte, 8 * kMegabyte},
    {"gfx942", "Instinct MI300X", 304, 64, 64 * kKilobyte, 4 * kMegabyte},
    {"gfx950", "Instinct MI355X", 256, 64, 160 * kKilobyte, 4 * kMegabyte},
    {"gfx1100", "Radeon RX 7900 XTX", 48, 32, 64 * kKilobyte, 6 * kMegabyte},
    {"gfx1101", "Radeon RX 7800 XT", 30, 32, 64 * kKilobyte, 4 * kMegabyte},
    {"gfx1151", "Strix Halo (Radeon 8060S)", 20, 32, 64 * kKilobyte, 2 * kMegabyte},
    {"gfx1200", "Radeon RX 9060 XT", 16, 32, 64 * kKilobyte, 4 * kMegabyte},
    {"gfx1201", "Radeon RX 9070 XT", 32, 32, 64 * kKilobyte, 8 * kMegabyte},
};

}  // namespace

std::span<const HipTarget> HipTargets() { return kTargets; }

Limits PlanLimits(const HipTarget& target) {
  Limits limits;
  limits.target = target.name;
  limits.multiprocessors = target.multiprocessors;
  limits.lanes = target.lanes;
  limits.shared_bytes_per_block = target.shared_bytes_per_block;
  limits.l2_bytes = target.l2_bytes;
  SetHipTiles(limits);
  return limits;
}

void SetHipTiles(Limits& limits) {
  limits.tile_order = limits.lanes == 64 ? TileOrder::kMfma : TileOrder::kWmma;
  limits.tile_cols = 16;
}

std::string_view HipTargetName(std::string_view architecture) { return architecture.substr(0, architecture.find(':')); }

}  // namespace unimax
