// SPDX-License-Identifier: Apache-2.0
// The table of CPU rows: what each body of kernels/cpu is compared with, how closely, and on which shapes. Every row
// exists once for each instruction set (CpuKernels). One loop over the table is the test, one the micro-bench.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "kernels/cpu/cpu_kernels.h"
#include "program/program.h"

namespace unimax {

struct CpuCase {
  int m = 1, n = 1, k = 1;  // row-wise ops: k = columns
  int heads = 1, kv_heads = 1, head_dim = 64;
  int tokens = 0;  // Attention: cached before the m rows
  int page_tokens = 32, splits = 1;
  bool interleaved = false;  // RopeAndStore
  bool epilogue = false;     // Linear: bias and residual; Norm: bias
  // Traits of some families; `act` of ActMul is SiLU where it says none.
  Activation act = Activation::kNone;
  float scale = 1, cap = 0;  // Linear, Add; Linear, Attention
  bool one_input = false;    // ActMul: no factor
  int groups = 1;            // Norm: heads of a row
  bool layer = false;        // Norm: with the mean
  float offset = 0;          // Norm: of the weight
  int window = 0;            // Attention
  int rotary = -1;           // RopeAndStore; -1: whole heads
};

struct CpuCheck {
  double error = 0;         // ||y - reference|| / ||reference||, infinity where an element was not written
  double rough = 0;         // packed Linear: the same against activations that were not rounded
  double norm = 0;          // ||reference||: zero would compare nothing
  double microseconds = 0;  // of the body, all ranges one after the other on one thread
};

struct CpuRow {
  OpKind op;
  const char* variant;
  WeightForm form;  // Linear
  KvForm kv;        // Attention, RopeAndStore
  // Runs the body of `kernels` and the op of kernels/reference.h on inputs drawn from `seed`; outputs are poisoned.
  CpuCheck (*check)(const CpuKernels& kernels, const CpuRow& row, const CpuCase& c, uint64_t seed);
  float tolerance;                                       // of CpuCheck::error
  float rough_tolerance;                                 // of CpuCheck::rough
  double (*bytes)(const CpuRow& row, const CpuCase& c);  // what the op must move
  std::span<const CpuCase> cases;
};

std::span<const CpuRow> CpuRows();
// "Linear i4_min m=2 n=60 k=576".
std::string CpuCaseName(const CpuRow& row, const CpuCase& c);

}  // namespace unimax
