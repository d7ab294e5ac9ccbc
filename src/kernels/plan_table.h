// SPDX-License-Identifier: Apache-2.0
// What `unimax tune` has measured on a device: for each case the fastest row of the kernel table and the next one. The
// plan (plan.h) reads it in place of the table's own order. A text file, written whole or not at all:
//
//   unimax plan 1
//   version 0.1.0
//   rows 1f0c6a3de5b87214              hash of the kernel table, so that a table of other rows is not taken
//   device NVIDIA H200
//   target sm_90a multiprocessors=132 lanes=32 shared=232448
//   cases 2
//   Linear BF16 m=1 n=12288 k=4096: linear_flat_bf16_1 23.412, linear_flat_bf16_2 24.003
//   Attention BF16 m=8 heads=32 kv_heads=8 dim=128 tokens=1024 decode=1: attention_split_bf16_128 12.100, -
//   steps 1
//   Step BF16 program=5d8e06f1a2b3c4d5 m=1: stream 3490.000, graph 3900.000
//   end 9ae16a3b2f90404f               hash of all bytes before this line: a byte that changed is noticed
//
// Times are microseconds, of a launch or of a whole decode step of m rows, in one launch (exec/stream.h) and op by op.
// "-": no other row fits, or none was right.
#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/status.h"
#include "kernels/table.h"

namespace unimax {

// What must be the same for a plan to hold.
struct PlanHeader {
  std::string version, rows;   // of this program, of its kernel table
  std::string device, target;  // Limits::name, Limits::target
  int multiprocessors = 0, lanes = 0;
  int64_t shared_bytes = 0;
};

struct PlanEntry {
  Case of;  // as PlanCase gives it
  std::string kernel, second;
  double microseconds = 0, second_microseconds = 0;
};

struct PlanStep {
  std::string program;  // exec/stream.h: ProgramKey
  DType act = DType::kBF16;
  int rows = 0;
  double stream_microseconds = 0, graph_microseconds = 0;
};

struct PlanFile {
  PlanHeader header;
  std::vector<PlanEntry> entries;
  std::vector<PlanStep> steps = {};
};

// The header of what is measured here and now.
PlanHeader PlanHeaderOf(const Limits& limits);
// What of a case decides about its row; all else, such as the values of an epilogue, is as in a fresh case.
Case PlanCase(const Case& c);
// The same as the files name it: "Linear BF16 m=1 n=12288 k=4096".
std::string PlanCaseName(const Case& c);

std::string PrintPlan(const PlanFile& file);
// Errors (kBadModel): the line that is damaged and why. Takes at most kPlanBytes and time in proportion.
inline constexpr size_t kPlanBytes = 4 << 20;
Result<PlanFile> ParsePlan(std::string_view text);
// Whether such a plan may be used here. Errors (kBadModel): what differs, of a foreign or outdated one.
Status CheckPlanHeader(const PlanHeader& header, const Limits& limits);

// The entries of a plan, to be looked up. Those that name a row which is not there, or which is for another op or type,
// are left out.
class PlanTable {
 public:
  PlanTable() = default;
  explicit PlanTable(const PlanFile& file);

  // The measured row. A case that was measured has its own; one between measured numbers of rows (m) and of cached
  // tokens has the row that all of its neighbours have, the nearest measured numbers on both sides; beyond the measured
  // ones, or where the neighbours differ or were not measured, there is none (null). Nothing here asks whether it fits.
  const Row* Find(const Case& c) const;
  size_t size() const { return size_; }

  // Up to so many rows a decode step of this program is faster in one launch: the largest measured number of them at
  // which, and at every smaller measured one, it was. -1: nothing was measured.
  int StreamRows(std::string_view program, DType act) const;

 private:
  // op, type, then n, k, flags, heads, kv_heads, head_dim, window, decode, groups.
  using Key = std::tuple<OpKind, DType, std::array<int, 9>>;
  static Key KeyOf(const Case& c);
  struct Grid {
    std::vector<int> rows, tokens;                      // ascending
    std::map<std::pair<int, int>, const Row*> fastest;  // of a number of rows and of tokens
  };
  std::map<Key, Grid> grids_;
  std::map<std::pair<std::string, DType>, std::map<int, bool>> streams_;  // by rows
  size_t size_ = 0;
};

}  // namespace unimax
