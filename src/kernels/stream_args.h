// SPDX-License-Identifier: Apache-2.0
// The program of a decode step as the stream kernel reads it (kernels/gpu/stream.h): plain data in device memory, made
// by exec/stream_plan.cc. No includes but the activation: this header is also compiled for GPUs.
//
// Words. What blocks tell each other stands in words of 8 bytes, {payload, epoch}; a word holds when its epoch is the
// one that its reader expects. Layouts, for M rows of the step:
//   narrow  [ceil(cols / 32)][M][16]   payload: two neighbouring 16-bit elements of a row
//   wide    [ceil(cols / 32)][M][32]   payload: one f32
//   sums    [M][units][2]              f32; the first: with kStreamMoments the mean of what one unit wrote, else 0;
//                                      the second: the sum of squares of what differs from that
#pragma once

#include "base/activation.h"

namespace unimax {

inline constexpr int kStreamGroups = 8;             // groups of a block that compute
inline constexpr int kStreamFeeders = 4;            // groups beside them: one feeds, the others serve attention
inline constexpr int kStreamSlotBytes = 16 * 1024;  // of the ring: 16 weight tiles, or a page of keys and values
inline constexpr int kStreamPageTokens = 32;        // the only size of pages it takes
inline constexpr int kStreamMostRows = 8;           // of a step
inline constexpr int kStreamWordBytes = 8;
inline constexpr int kStreamSumWords = 2;  // of what a unit's outputs are normed by

enum class StreamKind : int {
  kEmbed,      // y = table[ids] * scale
  kNorm,       // y = (x - mean) / deviation * norm + bias, from wide words and moments: a layer norm
  kLinear,     // y = cap(act((x w^T - mean * slope) * r + bias) * scale + residual), r: 1 / rms of x where x is to be
               // normed, or with kStreamLayer 1 / deviation
  kAttention,  // turns q and k, stores k and v, and leaves the softmax sums of each run of pages
  kMerge,      // puts the runs of a row together
  kChoose,     // the largest logit of all blocks
};

inline constexpr int kStreamGated = 1;    // strips of w alternate gate, up: y = act(gate) * up
inline constexpr int kStreamLogits = 2;   // y is plain f32 [M, n], and each block remembers its largest
inline constexpr int kStreamMoments = 4;  // y_sums has the units' means as well
inline constexpr int kStreamLayer = 8;    // x is to be normed by its mean, too: x_sums has the units' means

// One operation. A unit is what a block does without asking another: 16 or 32 outputs, a run of pages, a row.
// The first units, one a block, are dealt: unit u to block (u + first) % blocks, so that what an operation leaves
// uneven the next one evens out. Those beyond them go to whoever claims them: some blocks read faster.
struct alignas(16) StreamStage {
  StreamKind kind;
  int flags;
  int units, first;
  int n, k;           // Linear: rows and columns of w; Embed, Norm: n = columns, Norm: k as well
  int strips;         // Linear: strips of 16 rows a unit, 1 or 2
  int x_from;         // the stage that writes x
  int residual_from;  // the stage that writes the residual; -1: none
  int sum_units;      // units whose sums x has; 0: x is not normed
  int sum_cols;       // columns of each
  float eps;          // of the norm of x
  Activation act;
  float scale, cap;
  float norm_offset;
  const void* w;         // packed tiles
  const float* bias;     // [n] or null
  const float* slope;    // [n]: with kStreamLayer, the sums of w * norm along k (NormFoldArgs); else null
  const void* x;         // narrow words; Norm: wide ones
  const void* x_sums;    // sums, or null
  const void* residual;  // wide words, or null
  void* y;               // narrow words, plain f32 for logits, or null
  void* y_wide;          // wide words, or null
  void* y_sums;          // sums, or null
  void* partial;      // Attention, Merge: words [runs][heads of a KV head][head_dim + 2]: f32 sums of p v, the largest
                      // score, the sum of p
  const float* norm;  // [n]: weight of the norm behind y, which its narrow words carry already, or of kNorm; or null
  void* k_cache;      // Attention: [pages, kv_heads, 32, head_dim] of the layer
  void* v_cache;
  const float* cos_sin;  // [rope rows, rotary / 2, 2]
  int rotary, interleaved;
  int window;           // positions that a query sees; 0: all
  int k_at, v_at;       // columns of x where keys and values begin
  const float* places;  // Embed: [positions, n], added by position; or null
  int first_place;      // row of position 0
};
static_assert(sizeof(StreamStage) % 16 == 0);

// What a step is told of a row.
struct StreamRowInput {
  int id, position, sequence, rope_row;
};

// Arguments of a launch. Epochs: stage s writes words of epoch `epoch` + s + 1.
struct StreamArgs {
  const StreamStage* stages;
  StreamRowInput rows[kStreamMostRows];  // with the launch, since a copy before it would hold it up
  const int* page_table;                 // [sequences, max_pages]
  void* best;                            // words [blocks][M][2]: largest logit and its index
  int* chosen;                           // [M]: ids; -1 where a logit is not finite
  int* fault;  // [4]: what (kStreamTimeout, kStreamOverrun), stage, block, epoch seen; zero: none
  int count, m;
  unsigned epoch;
  int max_pages, heads, kv_heads, head_dim, vocab;
  float attention_scale;
  unsigned* claims;     // [count]: units that blocks have claimed of each stage since epochs began anew; of attention,
                        // whose units differ from step to step, since this launch began
  unsigned steps;       // launches since then: each claims as many of a stage as it has units
  int splits;           // most runs of pages that a row and KV head is cut into (stream_runs.h)
  int slots;            // of the ring
  const int* previous;  // `chosen` of the step before, for ids of -1 - k (exec/executor.h, Step)
  int x_bytes;          // shared memory for x; an x that does not fit there is read as it is needed
  // [blocks][count][kStreamMarks]: when a block began a stage, had its input, ended it, and had asked for all of its
  // weights, in ns of the device's clock, 0 for never; null: nobody asks.
  unsigned long long* marks;
};

inline constexpr int kStreamMarks = 4;
enum class StreamMark : int { kBegin, kReady, kEnd, kFed };

inline constexpr int kStreamTimeout = 1;  // a word never came
inline constexpr int kStreamOverrun = 2;  // a word was newer than its reader expects

// Where things lie in shared memory.
struct StreamLayout {
  static constexpr int kBarriers = 0;  // 16 bytes a slot
  static constexpr int kScales = 512;  // [16] f32: 1 / rms, or 1 / deviation, of each row; from the 8th on mean * that
  static constexpr int kNotes = 576;   // [kMostSlots] int: with the last chunk of a unit, the block's next unit or -1
  static constexpr int kReady = kNotes + 128;  // int: the last stage whose readers have had x; read at any time
  // Runs of pages on their way through a block (stream_runs.h), 16 bytes of barriers and a note each. kAskBars has one
  // place more: attention has begun.
  static constexpr int kRunsAhead = 8, kRunBytes = 48;
  static constexpr int kRunBars = kReady + 16;
  static constexpr int kAskBars = kRunBars + 16 * kRunsAhead;
  static constexpr int kRuns = kAskBars + 16 * (kRunsAhead + 1);
  static constexpr int kStages = kRuns + kRunsAhead * kRunBytes;  // this stage and the next
  static constexpr int kStageBytes = static_cast<int>(sizeof(StreamStage));
  // Two buffers of [group][strip][row of the step][kPitch] f32.
  static constexpr int kSums = kStages + 2 * kStageBytes;
  static constexpr int kPitch = 20;  // rows of a strip, padded so that no two lanes meet in a bank
  static constexpr int kMostSlots = 32;
  int rows;  // of the step
  constexpr int sum_bytes() const { return kStreamGroups * 2 * rows * kPitch * 4; }
  constexpr int x() const { return kSums + 2 * sum_bytes(); }
  constexpr int ring(int x_bytes) const { return (x() + x_bytes + 127) / 128 * 128; }
  // Attention has in place of x: q, k and v of kAsked runs, [run][group of heads + 2][dims] of 2 bytes, then the states
  // of StatesOf runs, [run][group][group of heads][dims + 4] f32: sums of p v, the largest score, the sum of p. The
  // more there is room for, the further the readers go ahead of the group that puts them together.
  static constexpr int kAsked = 4;
  static constexpr int AskedBytes(int dims, int heads) { return (heads + 2) * dims * 2; }
  static constexpr int LeastStates(int dims, int heads, int rows) { return rows == 1 && dims * heads > 256 ? 1 : 2; }
  static constexpr int StateBytes(int dims, int heads) { return kStreamGroups * heads * (dims + 4) * 4; }
  constexpr int AttentionBytes(int dims, int heads) const {
    return kAsked * AskedBytes(dims, heads) + LeastStates(dims, heads, rows) * StateBytes(dims, heads);
  }
  static constexpr int StatesOf(int dims, int heads, int x_bytes) {  // a power of two
    const int room = (x_bytes - kAsked * AskedBytes(dims, heads)) / StateBytes(dims, heads);
    return room >= 4 ? 4 : room >= 2 ? 2 : 1;
  }
};

}  // namespace unimax
