// SPDX-License-Identifier: Apache-2.0
// Makes EmulatorEntries32 (or what the port calls it) of all UM_ENTRY that stand before this in a translation unit. No
// other file may include it but those that list kernels.
#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "device/emulator_entry.h"

namespace unimax {
namespace UM_PORT_NAMESPACE {
namespace {

constexpr int kNumbers = 600;  // more than there are entries

template <int... kNumber>
constexpr std::array<EmulatorEntry, sizeof...(kNumber)> AllNumbers(std::integer_sequence<int, kNumber...>) {
  return {kEntryAt<kNumber>...};
}
constexpr auto kAllNumbers = AllNumbers(std::make_integer_sequence<int, kNumbers>());
constexpr size_t kCount =
    static_cast<size_t>(std::ranges::count_if(kAllNumbers, [](const EmulatorEntry& e) { return e.name != nullptr; }));

constexpr std::array<EmulatorEntry, kCount> Entries() {
  std::array<EmulatorEntry, kCount> entries{};
  std::ranges::copy_if(kAllNumbers, entries.begin(), [](const EmulatorEntry& e) { return e.name != nullptr; });
  return entries;
}
constexpr std::array<EmulatorEntry, kCount> kEntries = Entries();

}  // namespace
}  // namespace UM_PORT_NAMESPACE

std::span<const EmulatorEntry> UM_EMULATOR_ENTRIES() { return UM_PORT_NAMESPACE::kEntries; }

}  // namespace unimax
