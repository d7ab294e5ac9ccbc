// SPDX-License-Identifier: Apache-2.0
// The arguments of every op, shared by CPU bodies, GPU bodies and the table's tests. Plain data: pointers are addresses
// of the executor's device; `T` beside a pointer means the row's activation type (f32, bf16 or f16).
// Strides count elements. Names: M rows of a step, N weight rows (outputs), K weight columns (inputs).
#pragma once

#include "base/activation.h"
#include "base/matrix_map.h"
#include "base/tile_order.h"

namespace unimax {

struct EmbedArgs {
  const int* ids;     // [M]
  const void* table;  // [vocab, cols]: plain rows, or packed tiles where the head is tied (the row says which)
  float* y;           // [M, cols]
  int m, cols, vocab;
  float scale = 1;
  const int* previous = nullptr;  // what the step before chose, for ids of -1 - k (exec/executor.h, Step)
};

// y = x + table[positions + first].
struct AddPositionArgs {
  const float* x;        // [M, cols]
  const float* table;    // [rows, cols], plain f32
  const int* positions;  // [M]
  float* y;              // [M, cols], may be x
  int m, cols, rows, first;
};

// y = norm(x) * (weight + offset) + bias, each run of `cols` by itself.
struct NormArgs {
  const void* x;        // [M, groups, cols] f32, or T with kNormNarrowIn
  const float* weight;  // [cols]
  void* y;              // [M, groups, cols] T, or f32 with kNormWideOut; may be x where the types are equal
  int m, cols;
  float eps;
  const float* bias = nullptr;     // [cols] or null
  int groups = 1;                  // heads of a row, each normed by itself
  int x_stride = 0, y_stride = 0;  // of rows; 0: groups * cols
  float offset = 0;
  int flags = 0;  // kNormLayer, kNormNarrowIn, kNormWideOut
};
inline constexpr int kNormLayer = 1;     // subtract the mean first
inline constexpr int kNormNarrowIn = 2;  // x is T
inline constexpr int kNormWideOut = 4;   // y is f32

struct LinearArgs {
  const void* x;          // T [M, K], row stride x_stride
  const void* w;          // packed as the row's weight layout says, N x K
  const float* bias;      // [N] or null
  const float* residual;  // [M, N] or null, row stride y_stride; may be y
  void* y;                // [M, N] T, or f32 where the row's output is wide; row stride y_stride
  int m, n, k;
  int x_stride, y_stride;
  int flags = 0;                       // kLinearWide, kLinearActMul
  Activation act = Activation::kNone;  // y = cap(act(x w^T + bias) * scale + residual)
  float scale = 1;
  float cap = 0;  // y = cap * tanh(y / cap); 0: none
  // Of weights in a form of fewer bits (base/chunk_form.h): [N] of kE4M3 and kI8, else null; [M] of kI8, whose x is
  // int8 [M, K].
  const float* w_scale = nullptr;
  const float* x_scale = nullptr;
  // Rows whose blocks share outputs: unfinished sums (kernels/table.h: LinearSums), and counters (LinearCounters) that
  // are zero before and after.
  float* partial = nullptr;
  int* counters = nullptr;
  float* words = nullptr;  // the same of rows that wait for each other (LinearWordBytes): all bits set before and after
};
inline constexpr int kLinearWide = 1;    // y is f32
inline constexpr int kLinearActMul = 2;  // strips of w alternate gate, up: y[M, N / 2] = act(gate) * up

// Of rows whose blocks copy x in boxes (kernels/table.h: LaunchShape::x_box).
struct MappedLinearArgs : LinearArgs {
  MatrixMap x_map;
};

// Rotates q and k by their positions and writes k, v into the pages. Rows of q, k, v lie in one buffer of stride
// `stride`.
struct RopeStoreArgs {
  void* q;                // T [M, heads, head_dim], rotated in place
  const void* k;          // T [M, kv_heads, head_dim]
  const void* v;          // T [M, kv_heads, head_dim]
  void* k_cache;          // KV type [pages, kv_heads, page_tokens, head_dim]; on the CPU as cpu/cpu_kernels.h says
  void* v_cache;          // the same
  const float* cos_sin;   // [rope rows, rotary / 2, 2]
  const int* rope_rows;   // [M]: row of cos_sin; the positions unless the model has two sets of frequencies
  const int* positions;   // [M]
  const int* sequences;   // [M]: row of the page table
  const int* page_table;  // [sequences, max_pages]
  int m, heads, kv_heads, head_dim;
  int stride, page_tokens, max_pages;
  int interleaved;  // pairs (2i, 2i + 1) instead of (i, i + rotary / 2)
  int rotary;       // the first elements of a head that turn, even; 0: q stays, k is stored as it is
};

// What of a layer norm before a product does not depend on x (kernels/gpu/norm_fold.h).
struct NormFoldArgs {
  const void* w;           // [n, k], packed tiles
  const float* norm;       // [k]
  const float* norm_bias;  // [k] or null
  const float* bias;       // [n] or null
  float* slope;            // [n] = w norm
  float* folded;           // [n] = w norm_bias + bias
  int n, k;
};

// Products that follow each other in one launch (nvidia/linear_chain.h). Link l's x is what link l - 1 leaves: y, or
// `normed` where a norm stands between them. Sums along a row are whole numbers of 2^-kSumBits, whose order of adding
// does not matter; the top bit of the squares says that there was no number.
struct ChainLink : LinearArgs {
  // Of the norm behind: y * (norm + offset) as T [M, N], without what depends on the whole row, and where squares of y
  // and, for a layer norm, y itself are added up, [M, 2]. Null: there is none.
  const float* norm = nullptr;
  void* normed = nullptr;
  unsigned long long* sums = nullptr;
  float offset = 0;
  int layer = 0;
  // Of the norm before: its `sums`. The product of row m is divided by sqrt(squares / K + eps). Null: there is none.
  const unsigned long long* x_sums = nullptr;
  float eps = 0;
  // [N]: of a layer norm, whose mean * slope is taken off the product before, and its variance takes the place of the
  // mean square (NormFoldArgs; `bias` is the folded one). Null: it is none.
  const float* slope = nullptr;
};
inline constexpr int kChainLinks = 4, kChainThreads = 512, kChainRows = 64, kSumBits = 24, kChainHead = 128;
struct ChainArgs {
  ChainLink link[kChainLinks];
  // Where the last link's outputs are heads of kChainHead elements, of queries, keys and values: turned and stored as
  // the op would; else its `q` is null. Of the link bias alone counts.
  RopeStoreArgs rope;
  int links;
  int* done;                 // [kChainCounts], zero before and after
  unsigned long long* sums;  // [kChainLinks][kChainRows][2], zero before and after: what the links' sums point to
};
inline constexpr int kChainCounts = kChainLinks * 8 * 32 + 1;

// Causal attention over pages: row t sees the last `window` of positions 0 .. positions[t] of its sequence.
inline constexpr int kMostSplits = 64;  // blocks that may share one row's tokens
struct AttentionArgs {
  const void* q;        // T [M, heads, head_dim], row stride q_stride
  const void* k_cache;  // KV type [pages, kv_heads, page_tokens, head_dim]
  const void* v_cache;
  void* y;                // T [M, heads, head_dim], contiguous
  const int* positions;   // [M]
  const int* sequences;   // [M]
  const int* page_table;  // [sequences, max_pages]
  float* partial;         // splits > 1: [M, heads, splits, head_dim + 2]: sum of p v, row maximum, sum of p
  int* counters;          // splits > 1: [M, kv_heads], zero before and after
  int m, heads, kv_heads, head_dim;
  int q_stride, page_tokens, max_pages;
  int splits;  // blocks that share one row's tokens
  float scale;
  float cap = 0;   // scores become cap * tanh(score / cap); 0: none
  int window = 0;  // positions a query sees, itself included; 0: all
  // Not 0: a split is so many tokens, whatever the number of splits, so that the sums depend on the row alone. A
  // multiple of 32; at least two splits, which together reach all tokens.
  int split_tokens = 0;
  // Rows with the unified softmax: the base of the exponent for each KV head, in units of a scaled score (null: 0), and
  // how many blocks had to do without it (null: not counted).
  const float* phi = nullptr;
  int* redone = nullptr;
  void* words = nullptr;  // of ring rows: RingBytes (kernels/table.h), all bits set before and after
};

// Of attention_ring (Hopper).
inline constexpr int kRingHeads = 8;           // query heads of a KV head, at most
inline constexpr int kRingGroups = 6;          // of a block
inline constexpr int kRingShared = 113 << 10;  // bytes a block: two of them fit a multiprocessor
// Of attention_fixed: into how many units each KV head of a row is cut at most. One row keeps a device busy.
constexpr int MostUnits(int kv_heads) {
  constexpr unsigned kAlone = 64, kTogether = 128;
  const unsigned each = kTogether / static_cast<unsigned>(kv_heads);
  return each < 1 ? 1 : each < kAlone ? static_cast<int>(each) : static_cast<int>(kAlone);
}

// Of rows whose blocks copy queries, keys and values in boxes.
inline constexpr int kBoxKeys = 32;  // keys, or values, in a box: a page holds a multiple of them
struct MappedAttentionArgs : AttentionArgs {
  MatrixMap q_map, k_map, v_map;
};

struct ActMulArgs {
  const void* gate;  // T [M, cols], row stride stride
  const void* up;    // T [M, cols], row stride stride; null: y = act(gate)
  void* y;           // T [M, cols], contiguous
  int m, cols, stride;
  Activation act = Activation::kSilu;
  int flags = 0;  // kActWideIn
};
inline constexpr int kActWideIn = 1;  // gate is f32 and up is null

struct AddArgs {
  const float* a;  // [M, cols]
  const void* b;   // T [M, cols]
  float* y;        // [M, cols], may be a
  int m, cols;
  float scale = 1;  // of b
};

struct SelectArgs {
  const float* x;   // [tokens, cols]
  const int* rows;  // [M]
  float* y;         // [M, cols]
  int m, cols;
};

struct SampleArgs {
  const float* logits;  // [M, vocab]
  int* ids;             // [M]: the largest logit, the lowest index on ties; -1 where a logit is not finite
  int m, vocab;
};

struct FillRandomArgs {
  void* y;  // T [count]: offset + uniform in [-scale, scale)
  long long count;
  unsigned long long seed;
  float scale, offset;
};

// Rows as they lie in a file, into packed tiles: the same elements where PackStrips (kernels/pack.h) puts them.
enum class PackFrom : unsigned char { kF32, kBF16, kF16 };
struct PackTilesArgs {
  const void* rows;  // [count, cols] of `from`, row stride `pitch`, 16-byte aligned
  void* tiles;       // T [ceil(count / 16)][ceil(cols / 32)] tiles; zeros beyond count and cols
  int count, cols;
  int pitch;  // bytes, a multiple of 16
  PackFrom from;
  TileOrder order;
};

struct ReadRateArgs {
  const void* x;  // [words] of 16 bytes
  unsigned* sink;
  long long words;
  unsigned never;
};

}  // namespace unimax
