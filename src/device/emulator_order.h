// SPDX-License-Identifier: Apache-2.0
// What the groups of an emulated block know of each other: which accesses to shared memory come before others, by all
// barriers that the block has met at. Vector clocks, a component a group.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace unimax::emulator {

class Order {
 public:
  using Clock = std::vector<uint32_t>;

  void Reset(int groups);  // 0: nothing is noted
  // Synchronisations of the group so far: an access belongs to the one before it.
  uint32_t Epoch(int group) const { return At(group, group); }
  // The group's own lanes have met.
  void Sync(int group) {
    if (groups_ > 0) ++At(group, group);
  }
  // These groups have met: each knows what any of them did or knew.
  void Meet(const std::vector<int>& groups);
  // A thread of the group leaves what the group knows and did before its last Sync; who takes it, knows it, too.
  void Leave(int group, Clock* clock) const;
  void Take(int group, const Clock& clock);
  // The same through a word of global memory.
  void LeaveAt(int group, const void* address) {
    if (groups_ > 0) Leave(group, &words_[address]);
  }
  void TakeFrom(int group, const void* address) {
    if (groups_ > 0) Take(group, words_[address]);
  }
  // Whether what `group` did in its epoch comes before what `other` does now.
  bool Before(int group, uint32_t epoch, int other) const { return epoch < At(other, group); }

 private:
  uint32_t& At(int group, int of) { return known_[static_cast<size_t>(group * groups_ + of)]; }
  uint32_t At(int group, int of) const { return known_[static_cast<size_t>(group * groups_ + of)]; }

  int groups_ = 0;
  Clock known_;  // [group][group]: epochs of the second that are over for the first; of itself: its epoch
  std::map<const void*, Clock> words_;
};

}  // namespace unimax::emulator
