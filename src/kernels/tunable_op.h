// SPDX-License-Identifier: Apache-2.0
// Results of PyTorch's TunableOp: which solution of a vendor's library is fastest for a product. A CSV file, as PyTorch
// writes it (aten/src/ATen/cuda/tunable/README.md there):
//
//   Validator,PT_VERSION,2.9.1
//   Validator,HIP_VERSION,702                  ROCM_VERSION in older ones
//   Validator,HIPBLASLT_VERSION,100201-5b515cf1bc
//   Validator,GCN_ARCH_NAME,gfx942:sramecc+:xnack-
//   Validator,ROCBLAS_VERSION,5.2.0.5b515cf1bc
//   GemmTunableOp_BFloat16_TN,tn_4096_8_11008_ld_11008_11008_4096,Gemm_Rocblas_621284994,0.0196817
//
// operator, its parameters, solution, milliseconds. PyTorch takes a file only where every validator is equal.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/layout.h"
#include "base/status.h"

namespace unimax {

// A product in the order of columns, as BLAS has it: c[m, n] = a[m, k] * b[k, n]. y[M, N] = x[M, K] * w[N, K]^T is "tn"
// with m = N, n = M, a = w, b = x.
struct TunableGemm {
  DType type = DType::kF32;
  bool a_transposed = false, b_transposed = false;
  int64_t m = 0, n = 0, k = 0;
  int64_t lda = 0, ldb = 0, ldc = 0;  // older files do not say: then those of dense matrices
};

struct TunableSolution {
  enum Library : uint8_t { kDefault, kRocblas, kHipblaslt, kOther } library = kOther;
  int64_t index = 0;
};

struct TunableResult {
  std::string op, params, solution;
  std::optional<double> milliseconds;
  std::string rest;                 // what newer files may say behind it ("BLAS_PARAMS: ..."), kept as it is
  std::optional<TunableGemm> gemm;  // of plain products; others are kept as text alone
  TunableSolution parsed() const;
};

struct TunableFile {
  std::vector<std::pair<std::string, std::string>> validators;
  std::vector<TunableResult> results;

  // "" where there is none.
  std::string_view Validator(std::string_view name) const;
  // "gfx942" of "gfx942:sramecc+:xnack-".
  std::string_view Arch() const;
  // Of y[m, n] = x[m, k] * w[n, k]^T over dense rows; null where there is none.
  const TunableResult* FindLinear(DType type, int m, int n, int k) const;
};

inline constexpr size_t kTunableBytes = 16 << 20;
// Lines end with or without a carriage return; empty ones are skipped. Errors (kBadModel): the line and what is wrong.
Result<TunableFile> ParseTunableOp(std::string_view text);
std::string PrintTunableOp(const TunableFile& file);

// The operator and the parameters of y[m, n] = x[m, k] * w[n, k]^T, as newer files have them.
TunableResult TunableLinear(DType type, int m, int n, int k);

// What `from` has and `to` lacks, and its solutions in place of others. Where their validators differ, `from` replaces
// all; tells whether it did.
bool MergeTunableOp(const TunableFile& from, TunableFile* to);

}  // namespace unimax
