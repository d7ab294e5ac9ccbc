// SPDX-License-Identifier: Apache-2.0
// Vendors' BLAS libraries for tests: the C functions that kernels/peer.cc calls, over memory of the emulator, which is
// the host's. UNIMAX_STAND_IN_BLAS may say what goes wrong: "wrong" (a result that differs), "fails" (every product),
// "refuses" (no handle), "nothing" (no choice).
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "base/flags.h"
#include "base/layout.h"

namespace {

using unimax::DType;

struct Matrix {
  int type;
  uint64_t rows, columns;
  int64_t stride;
};
struct Operation {
  int compute, scale, transpose_a;
};

bool Says(const char* word) { return unimax::Environment("UNIMAX_STAND_IN_BLAS") == word; }

DType TypeOf(int code) {
  switch (code) {
    case 2:
    case 150:
      return DType::kF16;
    case 14:
    case 168:
      return DType::kBF16;
    default:
      return DType::kF32;
  }
}

double Load(DType type, const void* from, int64_t at) {
  if (type == DType::kF32) return static_cast<double>(static_cast<const float*>(from)[at]);
  const uint16_t bits = static_cast<const uint16_t*>(from)[at];
  return static_cast<double>(type == DType::kBF16 ? unimax::BF16ToFloat(bits) : unimax::F16ToFloat(bits));
}

void Store(DType type, void* to, int64_t at, double value) {
  const auto single = static_cast<float>(value);
  if (type == DType::kF32) {
    static_cast<float*>(to)[at] = single;
  } else {
    static_cast<uint16_t*>(to)[at] = type == DType::kBF16 ? unimax::FloatToBF16(single) : unimax::FloatToF16(single);
  }
}

// c[m, n] = a^T b by columns: a is [k, m], b [k, n].
int Multiply(const void* a, const Matrix& of_a, const void* b, const Matrix& of_b, void* c, const Matrix& of_c) {
  if (Says("fails")) return 7;
  if (of_a.rows != of_b.rows || of_a.columns != of_c.rows || of_b.columns != of_c.columns) return 7;
  const DType type = TypeOf(of_a.type);
  for (uint64_t j = 0; j < of_c.columns; ++j) {
    for (uint64_t i = 0; i < of_c.rows; ++i) {
      double sum = Says("wrong") && i == 3 ? 1 : 0;
      for (uint64_t k = 0; k < of_a.rows; ++k) {
        sum += Load(type, a, static_cast<int64_t>(k) + static_cast<int64_t>(i) * of_a.stride) *
               Load(type, b, static_cast<int64_t>(k) + static_cast<int64_t>(j) * of_b.stride);
      }
      Store(TypeOf(of_c.type), c, static_cast<int64_t>(i) + static_cast<int64_t>(j) * of_c.stride, sum);
    }
  }
  return 0;
}

int MakeHandle(void** handle) {
  static int one = 0;
  *handle = &one;
  return Says("refuses") ? 1 : 0;
}

int MakeOperation(void** operation, int compute, int scale) {
  *operation = std::make_unique<Operation>(Operation{compute, scale, 0}).release();
  return 0;
}

int MakeMatrix(void** layout, int type, uint64_t rows, uint64_t columns, int64_t stride) {
  *layout = std::make_unique<Matrix>(Matrix{type, rows, columns, stride}).release();
  return 0;
}

// Two choices: a result is the choice, the workspace, the state and what nobody looks at.
int Choose(int most, void* results, int* found, size_t choice_bytes, size_t result_bytes) {
  *found = Says("nothing") ? 0 : most < 2 ? most : 2;
  for (int i = 0; i < *found; ++i) {
    auto* at = static_cast<std::byte*>(results) + static_cast<size_t>(i) * result_bytes;
    std::memset(at, 0, result_bytes);
    at[0] = static_cast<std::byte>(i + 1);
    const size_t workspace = 1024;
    std::memcpy(at + choice_bytes, &workspace, sizeof(workspace));
  }
  return 0;
}

int Product(const void* operation, const float* alpha, const void* a, const void* of_a, const void* b, const void* of_b,
            const float* beta, void* d, const void* of_d, const void* choice, int transposed, int compute) {
  const auto* op = static_cast<const Operation*>(operation);
  const int number = static_cast<int>(*static_cast<const std::byte*>(choice));
  if (*alpha != 1 || *beta != 0 || op->transpose_a != transposed || op->compute != compute) return 7;
  if (number < 1 || number > 2) return 7;
  return Multiply(a, *static_cast<const Matrix*>(of_a), b, *static_cast<const Matrix*>(of_b), d,
                  *static_cast<const Matrix*>(of_d));
}

}  // namespace

extern "C" {

size_t cublasLtGetVersion() { return 130102; }
int cublasLtCreate(void** handle) { return MakeHandle(handle); }
int cublasLtDestroy(void*) { return 0; }
int cublasLtMatmulDescCreate(void** operation, int compute, int scale) {
  return MakeOperation(operation, compute, scale);
}
int cublasLtMatmulDescDestroy(void* operation) {
  std::unique_ptr<Operation>(static_cast<Operation*>(operation));
  return 0;
}
int cublasLtMatmulDescSetAttribute(void* operation, int attribute, const void* value, size_t bytes) {
  if (attribute != 3 || bytes != 4) return 7;
  std::memcpy(&static_cast<Operation*>(operation)->transpose_a, value, 4);
  return 0;
}
int cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t columns, int64_t stride) {
  return MakeMatrix(layout, type, rows, columns, stride);
}
int cublasLtMatrixLayoutDestroy(void* layout) {
  std::unique_ptr<Matrix>(static_cast<Matrix*>(layout));
  return 0;
}
int cublasLtMatmulPreferenceCreate(void** preference) { return MakeHandle(preference); }
int cublasLtMatmulPreferenceDestroy(void*) { return 0; }
int cublasLtMatmulPreferenceSetAttribute(void*, int attribute, const void*, size_t bytes) {
  return attribute == 1 && bytes == 8 ? 0 : 7;
}
int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int most, void* results,
                                   int* found) {
  return Choose(most, results, found, 64, 96);
}
int cublasLtMatmul(void*, void* operation, const float* alpha, const void* a, void* of_a, const void* b, void* of_b,
                   const float* beta, const void*, void*, void* d, void* of_d, const void* choice, void*, size_t,
                   void*) {
  return Product(operation, alpha, a, of_a, b, of_b, beta, d, of_d, choice, 1, 68);
}

int hipblasLtCreate(void** handle) { return MakeHandle(handle); }
int hipblasLtDestroy(void*) { return 0; }
int hipblasLtMatmulDescCreate(void** operation, int compute, int scale) {
  return MakeOperation(operation, compute, scale);
}
int hipblasLtMatmulDescDestroy(void* operation) { return cublasLtMatmulDescDestroy(operation); }
int hipblasLtMatmulDescSetAttribute(void* operation, int attribute, const void* value, size_t bytes) {
  return attribute == 0 ? cublasLtMatmulDescSetAttribute(operation, 3, value, bytes) : 7;
}
int hipblasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t columns, int64_t stride) {
  return MakeMatrix(layout, type, rows, columns, stride);
}
int hipblasLtMatrixLayoutDestroy(void* layout) { return cublasLtMatrixLayoutDestroy(layout); }
int hipblasLtMatmulPreferenceCreate(void** preference) { return MakeHandle(preference); }
int hipblasLtMatmulPreferenceDestroy(void*) { return 0; }
int hipblasLtMatmulPreferenceSetAttribute(void*, int attribute, const void*, size_t bytes) {
  return attribute == 1 && bytes == 8 ? 0 : 7;
}
int hipblasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int most, void* results,
                                    int* found) {
  return Choose(most, results, found, 24, 56);
}
int hipblasLtMatmul(void*, void* operation, const float* alpha, const void* a, void* of_a, const void* b, void* of_b,
                    const float* beta, const void*, void*, void* d, void* of_d, const void* choice, void*, size_t,
                    void*) {
  return Product(operation, alpha, a, of_a, b, of_b, beta, d, of_d, choice, 112, 2);
}

int rocblas_create_handle(void** handle) { return MakeHandle(handle); }
int rocblas_destroy_handle(void*) { return 0; }
int rocblas_set_stream(void*, void*) { return 0; }
int rocblas_gemm_ex(void*, int transpose_a, int transpose_b, int m, int n, int k, const float* alpha, const void* a,
                    int a_type, int lda, const void* b, int b_type, int ldb, const float* beta, const void*, int c_type,
                    int ldc, void* d, int d_type, int ldd, int compute, int by_solution, int32_t solution, uint32_t) {
  if (transpose_a != 112 || transpose_b != 111 || *alpha != 1 || *beta != 0 || compute != 151) return 7;
  if (c_type != d_type || ldc != ldd || (by_solution == 1 && solution != -7)) return 7;
  const auto rows = [](int count) { return static_cast<uint64_t>(count); };
  return Multiply(a, {a_type, rows(k), rows(m), lda}, b, {b_type, rows(k), rows(n), ldb}, d,
                  {d_type, rows(m), rows(n), ldd});
}

}  // extern "C"
