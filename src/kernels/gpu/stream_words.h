// SPDX-License-Identifier: Apache-2.0
// stream_words: how the blocks of the stream kernel find, await and write each other's words.
// Who calls: stream_linear, stream_attention, stream.
// Work:      a lane looks at a word until it holds; it gives up after kStreamPatience looks and says so.
// Bound:     latency: one way through L2 a word. bytes = 8 a word, twice its payload.
// Launch:    that of the caller.
// Reference: none of its own.
// Source:    the LL protocol of NCCL (a flag beside each payload); layouts in kernels/stream_args.h.
#pragma once

#include "kernels/gpu/port_stream.h"
#include "kernels/stream_args.h"

namespace unimax::UM_PORT_NAMESPACE {

inline constexpr int kStreamThreads = kStreamGroups * kLanes;  // that compute
inline constexpr int kStreamPatience = 1 << 22;                // looks at a word: some seconds

UM_DEVICE int NarrowAt(int n, int row, int rows) { return (n / 32 * rows + row) * 16 + n % 32 / 2; }
UM_DEVICE int WideAt(int n, int row, int rows) { return (n / 32 * rows + row) * 32 + n % 32; }
UM_DEVICE int SumAt(int unit, int row, int units) { return row * ((units + 1) / 2 * 2) + unit; }
UM_DEVICE const char* WordPointer(const void* words, int at) {
  return static_cast<const char*>(words) + static_cast<int64_t>(at) * kStreamWordBytes;
}
UM_DEVICE char* WordPointer(void* words, int at) {
  return static_cast<char*>(words) + static_cast<int64_t>(at) * kStreamWordBytes;
}

// What a thread knows while it walks the stages.
struct StreamThread {
  int stage = 0;
  bool lost = false;       // has given up: goes on with whatever it finds, so that every barrier is still met
  int slot = 0, turn = 0;  // of the ring: where the next chunk lies, and the parity of its use

  UM_DEVICE void NextSlot(const StreamArgs& a) {
    if (++slot < a.slots) return;
    slot = 0;
    turn ^= 1;
  }
  UM_DEVICE unsigned EpochOf(const StreamArgs& a, int writer) const {
    return a.epoch + static_cast<unsigned>(writer) + 1;
  }
};

UM_DEVICE void GiveUp(const StreamArgs& a, StreamThread& t, int what, unsigned seen) {
  t.lost = true;
  if (a.fault[0] != 0) return;
  a.fault[1] = t.stage;
  a.fault[2] = BlockX();
  a.fault[3] = static_cast<int>(seen - a.epoch);
  a.fault[0] = what;
}

// Whether to look again at a word that had epoch `seen`.
UM_DEVICE bool LookAgain(const StreamArgs& a, StreamThread& t, unsigned seen, unsigned wanted, int& looks) {
  if (seen == wanted || t.lost) return false;
  if (static_cast<int>(seen - wanted) > 0) {
    GiveUp(a, t, kStreamOverrun, seen);
  } else if (++looks >= kStreamPatience || (looks % 4096 == 0 && *static_cast<volatile int*>(a.fault) != 0)) {
    GiveUp(a, t, kStreamTimeout, seen);
  }
  if (looks > 1) Pause();  // the first look may have been long ago
  return !t.lost;
}

// Looks at a word until it holds; `w` is what a first look brought.
UM_DEVICE uint32_t Await(const StreamArgs& a, StreamThread& t, const void* p, Word w, unsigned epoch) {
  int looks = 0;
  while (LookAgain(a, t, w.epoch, epoch, looks)) w = LoadWord(p);
  return w.payload;
}
UM_DEVICE Words Await(const StreamArgs& a, StreamThread& t, const void* p, Words w, unsigned epoch) {
  int looks = 0;
  while (LookAgain(a, t, w.epoch0 != epoch ? w.epoch0 : w.epoch1, epoch, looks)) w = LoadWords(p);
  return w;
}
UM_DEVICE float AwaitFloat(const StreamArgs& a, StreamThread& t, const void* p, Word w, unsigned epoch) {
  return BitCopy<float>(Await(a, t, p, w, epoch));
}

// Eight neighbouring 16-bit elements: four words.
struct EightWords {
  Words low, high;
};
UM_DEVICE EightWords LoadEight(const char* p) { return {LoadWords(p), LoadWords(p + 16)}; }
UM_DEVICE Vec16 AwaitEight(const StreamArgs& a, StreamThread& t, const char* p, const EightWords& e, unsigned epoch) {
  const Words low = Await(a, t, p, e.low, epoch), high = Await(a, t, p + 16, e.high, epoch);
  return {{low.payload0, low.payload1, high.payload0, high.payload1}};
}

}  // namespace unimax::UM_PORT_NAMESPACE
