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
UM_DEVICE int SumAt(int unit, int row, int units) { return (row * units + unit) * kStreamSumWords; }
UM_DEVICE const char* WordPointer(const void* words, int at) {
  return static_cast<const char*>(words) + static_cast<int64_t>(at) * kStreamWordBytes;
}
UM_DEVICE char* WordPointer(void* words, int at) {
  return static_cast<char*>(words) + static_cast<int64_t>(at) * kStreamWordBytes;
}

// What a thread knows while it walks the stages.
struct StreamThread {
  int stage = 0;
  int slot = 0, turn = 0;  // of the ring: where the next chunk lies, and the parity of its use
  int run = 0;             // the next run of attention, counted from the launch on

  UM_DEVICE void NextSlot(const StreamArgs& a) {
    if (++slot < a.slots) return;
    slot = 0;
    turn ^= 1;
  }
  UM_DEVICE unsigned EpochOf(const StreamArgs& a, int writer) const {
    return a.epoch + static_cast<unsigned>(writer) + 1;
  }
};

// One thread's note of the time.
UM_DEVICE void Mark(const StreamArgs& a, int stage, StreamMark mark) {
  if (a.marks == nullptr) return;
  a.marks[(static_cast<int64_t>(BlockX()) * a.count + stage) * kStreamMarks + static_cast<int>(mark)] = Nanoseconds();
}

// One thread, when the readers have their input: more may be on its way (stream_feed).
UM_DEVICE void TellReady(const StreamArgs& a, int stage) {
  RingNote(StreamLayout::kReady, 0, stage);
  Mark(a, stage, StreamMark::kReady);
}

// A reader's patience with words that are not there yet. A thread that gives up goes on with whatever it has found, so
// that every barrier is still met; the host finds the fault.
struct StreamWait {
  int looks = 0;
  // Whether to look again at words that had epoch `seen`, one of which is not `wanted`.
  UM_DEVICE bool Again(const StreamArgs& a, int stage, unsigned seen, unsigned wanted) {
    const bool newer = static_cast<int>(seen - wanted) > 0;
    if (!newer && ++looks % 1024 != 0) {
      if (looks > 1) Pause();  // the first look may have been long ago
      return true;
    }
    if (*static_cast<const volatile int*>(a.fault) != 0) return false;  // somebody has given up
    if (!newer && looks < kStreamPatience) return true;
    a.fault[1] = stage;
    a.fault[2] = BlockX();
    a.fault[3] = static_cast<int>(seen - a.epoch);
    a.fault[0] = newer ? kStreamOverrun : kStreamTimeout;
    return false;
  }
};

// The payload of a word once it holds; `w` is what a first look brought.
UM_DEVICE uint32_t Await(const StreamArgs& a, const StreamThread& t, const void* p, Word w, unsigned epoch) {
  for (StreamWait wait; w.epoch != epoch && wait.Again(a, t.stage, w.epoch, epoch);) w = LoadWord(p);
  return w.payload;
}
UM_DEVICE float AwaitFloat(const StreamArgs& a, const StreamThread& t, const void* p, Word w, unsigned epoch) {
  return BitCopy<float>(Await(a, t, p, w, epoch));
}
UM_DEVICE Words Await(const StreamArgs& a, const StreamThread& t, const void* p, Words w, unsigned epoch) {
  StreamWait wait;
  while ((w.epoch0 != epoch || w.epoch1 != epoch) &&
         wait.Again(a, t.stage, w.epoch0 != epoch ? w.epoch0 : w.epoch1, epoch)) {
    w = LoadWords(p);
  }
  return w;
}

// An epoch of the words that is not `wanted`, or `wanted`.
UM_DEVICE unsigned OddOf(const Words& w, unsigned wanted) { return w.epoch0 != wanted ? w.epoch0 : w.epoch1; }

// Eight neighbouring 16-bit elements: four words.
struct EightWords {
  Words low, high;
  UM_DEVICE unsigned Odd(unsigned wanted) const {
    const unsigned odd = OddOf(low, wanted);
    return odd != wanted ? odd : OddOf(high, wanted);
  }
  UM_DEVICE Vec16 Elements() const { return {{low.payload0, low.payload1, high.payload0, high.payload1}}; }
};
UM_DEVICE EightWords LoadEight(const char* p) { return {LoadWords(p), LoadWords(p + 16)}; }

// Awaits what a lane has of a group's words: those numbered first, first + kLanes, ... below `end`, which `load`
// brings. All of them that do not hold are looked at together.
template <int kMost, class Load>
UM_DEVICE void AwaitAll(const StreamArgs& a, int stage, unsigned epoch, int first, int end, Words (&w)[kMost],
                        const Load& load) {
  unsigned odd;
  StreamWait wait;
  do {
    odd = epoch;
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      const int at = first + i * kLanes;
      if (at < end && OddOf(w[i], epoch) != epoch) w[i] = load(at);
    }
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      if (first + i * kLanes < end && OddOf(w[i], epoch) != epoch) odd = OddOf(w[i], epoch);
    }
  } while (odd != epoch && wait.Again(a, stage, odd, epoch));
}

// Copies narrow words to shared memory: a piece of 8 elements is 4 words, in the same order there. A thread looks at
// all of its pieces until they hold, and at what it waits for beside them, `also`: one way through L2 for all of it.
template <class T, class Also>
UM_DEVICE void StageWords(const StreamArgs& a, const StreamThread& t, const void* words, int pieces, unsigned epoch,
                          Shared<T>& to, Also& also) {
  constexpr int kAhead = 8;
#pragma unroll 1
  for (int first = Thread(); first < pieces || first == Thread(); first += kAhead * kStreamThreads) {
    EightWords e[kAhead] = {};  // no word has epoch 0
    unsigned odd;
    StreamWait wait;
    do {
      also.Look(epoch);
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int piece = first + i * kStreamThreads;
        if (piece < pieces && e[i].Odd(epoch) != epoch) e[i] = LoadEight(WordPointer(words, piece * 4));
      }
      odd = also.Odd(epoch);
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (first + i * kStreamThreads < pieces && e[i].Odd(epoch) != epoch) odd = e[i].Odd(epoch);
      }
    } while (odd != epoch && wait.Again(a, t.stage, odd, epoch));
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int piece = first + i * kStreamThreads;
      if (piece < pieces) to.Set16(piece * 8, e[i].Elements());
    }
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
