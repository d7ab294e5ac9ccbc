// SPDX-License-Identifier: Apache-2.0
// The arguments of the kernel that draws tokens (kernels/gpu/draw.h), and what a step says of each output row: plain
// data, shared by host and device.
#pragma once

namespace unimax {

// A processor of the logits x of one row. Penalties come first, then the temperature, then filters.
enum class DrawKind : int {
  kRepetition,       // x < 0 ? x * value : x / value for each entry with `all` > 0
  kFrequency,        // x -= value * generated
  kPresence,         // x -= value where generated > 0
  kFrequencyShare,   // x -= value * all / length
  kFrequencySigned,  // x -= all * (x < 0 ? x * value : x / value), but not of id 0
  kTemperature,      // x /= value, of every id
  kTopK,             // the `value` largest, ties with the last included
  kTopP,             // those with less than DrawKept(value) above them (base/draw_mass.h), the lowest ids of equal ones
  kMinP,             // those with x - largest >= value
};

struct DrawStep {
  DrawKind kind;
  int unused = 0;
  double value;
};
inline constexpr int kMostDrawSteps = 8;

// An id whose logit is changed by itself.
struct DrawEntry {
  double x;            // what is added to its logit first; -infinity takes the id away. The kernel leaves the result
  int id;              // of the vocabulary, in one entry of a row alone
  int all, generated;  // how often it stands in the history, and in the generated part of it
  float logit;         // the kernel's own
};

// How the token of an output row is chosen.
struct DrawRow {
  enum Mode : int { kLeave, kLargest, kWeighted };  // kLeave: ids and logits stay as they are
  double uniform = 0;                               // kWeighted: in [0, 1)
  double length = 0;                                // of the history
  Mode mode = kLeave;
  int first = 0, entries = 0;  // its run of the step's entries
  int pending = -1;            // the newest id of the history is what the step before chose at this output; -1: none.
                               // Then the run has room for one more entry
  int steps = 0;
  int unused = 0;
  DrawStep step[kMostDrawSteps] = {};
};

struct DrawArgs {
  float* logits;        // [M, vocab], the same afterwards
  const DrawRow* rows;  // [M]
  DrawEntry* entries;   // of all rows
  const int* previous;  // what the step before chose
  int* ids;             // [M]: in: below 0 where a logit is not finite, such rows stay; out: -1 where no id is left
  int m, vocab;         // vocab < 2^22
};
// Both powers of two. A list is sorted by counting; buckets are what one pass over the logits tells apart.
inline constexpr int kDrawBuckets = 2048, kDrawList = 1024, kDrawThreads = 512;
// Shared memory: sums, the list's masses and values, the sums of threads in two arrays, the list's ids, chosen buckets.
inline constexpr int kDrawShared = kDrawBuckets * 8 + kDrawList * (8 + 8 + 4) + 2 * kDrawThreads * 8 + 128;

}  // namespace unimax
