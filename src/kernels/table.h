// SPDX-License-Identifier: Apache-2.0
// The table of GPU kernel rows, among which the plan (plan.h) chooses. A row names its kernel, when it fits, how it is
// launched, what it is compared with and how closely. One loop over the table is the test (check.h), one the bench.
#pragma once

#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/chunk_form.h"
#include "base/layout.h"
#include "device/device.h"
#include "kernels/args.h"
#include "program/program.h"

namespace unimax {

// What an executor asks the plan: one op at one shape.
struct Case {
  OpKind op = OpKind::kAdd;
  DType act = DType::kF32;        // T: f32, bf16 or f16; weights are plain f32 or packed tiles of T
  int m = 1;                      // rows
  int n = 0, k = 0;               // Linear: outputs, inputs; row-wise ops: n = columns
  int flags = 0;                  // Linear: kLinearWide, kLinearActMul; Norm: kNormLayer, ...; ActMul: kActWideIn
  AttentionShape attention = {};  // Attention, RopeAndStore
  bool decode = false;            // Attention: every row is the newest of its own sequence
  int tokens = 0;                 // Attention: bound on the cached tokens of a row
  int window = 0;                 // Attention: positions a query sees; 0: all
  int groups = 1;                 // Norm: heads of a row, n columns each
  int rotary = -1;                // RopeAndStore: elements of a head that turn; -1: all
  int split_tokens = 0;           // --deterministic: sums in one order for every M; attention splits by so many tokens
  ChunkForm weight = ChunkForm::kSame;  // Linear
  bool residual = false;                // Linear
  bool bare = false;                    // Linear, Norm: no bias; ActMul: no second factor
  bool draws = false;                   // Sample: rows are drawn (draw_args.h), not just the largest
  // What changes only the values: Linear and ActMul; Embed, Linear and Add; Linear and Attention; Norm.
  Activation activation = Activation::kNone;
  float scale = 1, cap = 0, offset = 0;
};

struct LaunchShape {
  int grid_x = 1, grid_y = 1, grid_z = 1, threads = 256, shared_bytes = 0;
  bool talk = false;  // threads wait without a barrier: an emulator must run all blocks together, as a GPU does
  int x_box = 0;      // rows of x or q in a box that the kernel copies, which takes Mapped...Args; 0: no boxes
};

struct Row {
  OpKind op;
  const char* variant;
  const char* kernel;  // an UM_ENTRY of kernels/gpu/entries.h or of a folder for one vendor
  DType act;
  bool (*fits)(const Case&, const Limits&);
  LaunchShape (*launch)(const Case&, const Limits&);
  float tolerance;                // largest ||y - reference|| / ||reference|| on equally rounded inputs
  double (*bytes)(const Case&);   // what the op must move
  std::span<const Case> cases;    // the shapes of the test; act is the row's
  const char* targets = nullptr;  // the only ones (Limits::target, spaces between) that have it; null: all have it
  ChunkForm weight = ChunkForm::kSame;
};

std::span<const Row> GpuRows();

// The row's kernel with `args`, launched as the case wants it. Errors: of the device, which may lack the kernel.
template <class Args>
Result<Launch> LaunchOf(Device& device, const Row& row, const Case& c, const Args& args) {
  UM_ASSIGN_OR_RETURN(const Kernel kernel, device.FindKernel(row.kernel));
  const LaunchShape shape = row.launch(c, device.limits());
  Launch launch = Launch::Of(kernel, args);
  if constexpr (std::is_same_v<Args, LinearArgs>) {
    if (shape.x_box > 0) {
      UM_ASSIGN_OR_RETURN(const MatrixMap map, device.MapMatrix({args.x, args.m, args.k, args.x_stride, shape.x_box}));
      launch = Launch::Of(kernel, MappedLinearArgs{args, map});
    }
  }
  if constexpr (std::is_same_v<Args, AttentionArgs>) {
    if (shape.x_box > 0) {
      const int dims = args.head_dim, rows = std::numeric_limits<int>::max();  // pages are not counted here
      const MatrixShape q = {args.q, args.m, args.heads * dims, args.q_stride, shape.x_box};
      UM_ASSIGN_OR_RETURN(const MatrixMap q_map, device.MapMatrix(q));
      UM_ASSIGN_OR_RETURN(const MatrixMap k_map, device.MapMatrix({args.k_cache, rows, dims, dims, kBoxKeys}));
      UM_ASSIGN_OR_RETURN(const MatrixMap v_map, device.MapMatrix({args.v_cache, rows, dims, dims, kBoxKeys}));
      launch = Launch::Of(kernel, MappedAttentionArgs{args, q_map, k_map, v_map});
    }
  }
  launch.grid_x = shape.grid_x;
  launch.grid_y = shape.grid_y;
  launch.grid_z = shape.grid_z;
  launch.threads = shape.threads;
  launch.shared_bytes = shape.shared_bytes;
  launch.together = shape.talk && device.limits().target.starts_with("emulator");
  return launch;
}

// A case of the row's test, which leaves out what every case of a row has: op, type and form of the weights.
inline Case OwnCase(const Row& row, Case c) {
  c.op = row.op;
  c.act = row.act;
  c.weight = row.weight;
  return c;
}

// Whether the device has the row's kernel.
bool HasKernel(const Row& row, const Limits& limits);

// Floats of unfinished sums, bytes of words, and counters that LinearArgs may need on such a device, for products of up
// to `n` outputs.
int64_t LinearSums(const Limits& limits);
int64_t LinearWordBytes(const Limits& limits);
int LinearCounters(int n, const Limits& limits);

// Into how many splits the tokens of one row are cut in decode attention, 1 means not at all, and the blocks that take
// them in turn. Pure functions of the case.
int AttentionSplits(const Case& c, const Limits& limits);
int AttentionBlocks(const Case& c, const Limits& limits);
// Bytes of AttentionArgs::words that rows need whose blocks wait for each other; 0: there are none on the device.
// `fixed`: of those whose sums come in one order.
int64_t RingBytes(const AttentionShape& shape, bool fixed, const Limits& limits);
// Query heads that one block of the decode row takes.
int AttentionQueries(const Case& c);

}  // namespace unimax
