// SPDX-License-Identifier: Apache-2.0
// The portable kernels as rows for the emulator; compiled once a lane width.
#include "kernels/gpu/entries.h"

#include <algorithm>
#include <array>
#include <utility>

#include "device/emulator_entry.h"

namespace unimax {
namespace UM_PORT_NAMESPACE {
namespace {

constexpr int kLines = 600;  // no file is longer

template <int... kLine>
constexpr std::array<EmulatorEntry, sizeof...(kLine)> AllLines(std::integer_sequence<int, kLine...>) {
  return {kEntryAt<kLine>...};
}
constexpr auto kAllLines = AllLines(std::make_integer_sequence<int, kLines>());
constexpr size_t kCount =
    static_cast<size_t>(std::ranges::count_if(kAllLines, [](const EmulatorEntry& e) { return e.name != nullptr; }));

constexpr std::array<EmulatorEntry, kCount> Entries() {
  std::array<EmulatorEntry, kCount> entries{};
  std::ranges::copy_if(kAllLines, entries.begin(), [](const EmulatorEntry& e) { return e.name != nullptr; });
  return entries;
}
constexpr std::array<EmulatorEntry, kCount> kEntries = Entries();

}  // namespace
}  // namespace UM_PORT_NAMESPACE

std::span<const EmulatorEntry> UM_EMULATOR_ENTRIES() { return UM_PORT_NAMESPACE::kEntries; }

}  // namespace unimax
