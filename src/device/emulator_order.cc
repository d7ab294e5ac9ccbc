// SPDX-License-Identifier: Apache-2.0
#include "device/emulator_order.h"

#include <algorithm>

namespace unimax::emulator {

void Order::Reset(int groups) {
  groups_ = groups;
  known_.assign(static_cast<size_t>(groups * groups), 0);
  words_.clear();
}

void Order::Meet(const std::vector<int>& groups) {
  Clock all(static_cast<size_t>(groups_), 0);
  for (int group : groups) {
    Sync(group);
    Leave(group, &all);
  }
  for (int group : groups) Take(group, all);
}

void Order::Leave(int group, Clock* clock) const {
  clock->resize(static_cast<size_t>(groups_), 0);
  for (int of = 0; of < groups_; ++of) {
    uint32_t& known = (*clock)[static_cast<size_t>(of)];
    known = std::max(known, At(group, of));
  }
}

void Order::Take(int group, const Clock& clock) {
  for (size_t of = 0; of < clock.size(); ++of) {
    if (static_cast<int>(of) == group) continue;
    uint32_t& known = At(group, static_cast<int>(of));
    known = std::max(known, clock[of]);
  }
}

}  // namespace unimax::emulator
