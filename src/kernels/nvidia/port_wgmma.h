// SPDX-License-Identifier: Apache-2.0
// wgmma by its number of columns: d[64 rows, kColumns] += a[64, 16 k] * b[kColumns, 16 k]^T. Operands as in
// port_hopper.h: a from registers, b from swizzled shared memory. Source: PTX ISA 9.0, section wgmma.
#pragma once

#include "kernels/nvidia/port_hopper.h"

namespace unimax::gpu {

// v[4 j + i]: row lane / 4 + 8 (i / 2) of the warp's 16, column 8 j + lane % 4 * 2 + i % 2.
template <int kColumns>
struct ColumnSums {
  float v[kColumns / 2];
};

// The instruction's sums are named one by one, as the assembler wants them: outputs first, then a and b.
// clang-format off
#define UM_SUMS(i)                                                                  \
  "+f"(d.v[i]), "+f"(d.v[i + 1]), "+f"(d.v[i + 2]), "+f"(d.v[i + 3]), "+f"(d.v[i + 4]), \
  "+f"(d.v[i + 5]), "+f"(d.v[i + 6]), "+f"(d.v[i + 7])
#define UM_NAMES_32                                                        \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define UM_NAMES_64                                                                              \
  UM_NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define UM_NAMES_128                                                                             \
  UM_NAMES_64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79" \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"             \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define UM_WGMMA(columns, sums, operands, type, ...)                       \
  asm volatile(                                                            \
      "{\n.reg .pred add;\nsetp.ne.b32 add, 1, 0;\n"                       \
      "wgmma.mma_async.sync.aligned.m64n" columns "k16.f32." type "." type \
      " {" sums "}, " operands ", add, 1, 1, 0;\n}"                        \
      : __VA_ARGS__                                                        \
      : "r"(a.w[0]), "r"(a.w[1]), "r"(a.w[2]), "r"(a.w[3]), "l"(b))
// clang-format on

template <class T>
UM_DEVICE void MultiplyColumns(ColumnSums<16>& d, const Vec16& a, uint64_t b) {
  if constexpr (__is_same(T, bf16)) {
    UM_WGMMA("16", "%0, %1, %2, %3, %4, %5, %6, %7", "{%8, %9, %10, %11}, %12", "bf16", UM_SUMS(0));
  } else {
    UM_WGMMA("16", "%0, %1, %2, %3, %4, %5, %6, %7", "{%8, %9, %10, %11}, %12", "f16", UM_SUMS(0));
  }
}
template <class T>
UM_DEVICE void MultiplyColumns(ColumnSums<32>& d, const Vec16& a, uint64_t b) {
  if constexpr (__is_same(T, bf16)) {
    UM_WGMMA("32", "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15", "{%16, %17, %18, %19}, %20",
             "bf16", UM_SUMS(0), UM_SUMS(8));
  } else {
    UM_WGMMA("32", "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15", "{%16, %17, %18, %19}, %20",
             "f16", UM_SUMS(0), UM_SUMS(8));
  }
}
template <class T>
UM_DEVICE void MultiplyColumns(ColumnSums<64>& d, const Vec16& a, uint64_t b) {
  if constexpr (__is_same(T, bf16)) {
    UM_WGMMA("64", UM_NAMES_32, "{%32, %33, %34, %35}, %36", "bf16", UM_SUMS(0), UM_SUMS(8), UM_SUMS(16), UM_SUMS(24));
  } else {
    UM_WGMMA("64", UM_NAMES_32, "{%32, %33, %34, %35}, %36", "f16", UM_SUMS(0), UM_SUMS(8), UM_SUMS(16), UM_SUMS(24));
  }
}
template <class T>
UM_DEVICE void MultiplyColumns(ColumnSums<256>& d, const Vec16& a, uint64_t b) {
  if constexpr (__is_same(T, bf16)) {
    UM_WGMMA("256", UM_NAMES_128, "{%128, %129, %130, %131}, %132", "bf16", UM_SUMS(0), UM_SUMS(8), UM_SUMS(16),
             UM_SUMS(24), UM_SUMS(32), UM_SUMS(40), UM_SUMS(48), UM_SUMS(56), UM_SUMS(64), UM_SUMS(72), UM_SUMS(80),
             UM_SUMS(88), UM_SUMS(96), UM_SUMS(104), UM_SUMS(112), UM_SUMS(120));
  } else {
    UM_WGMMA("256", UM_NAMES_128, "{%128, %129, %130, %131}, %132", "f16", UM_SUMS(0), UM_SUMS(8), UM_SUMS(16),
             UM_SUMS(24), UM_SUMS(32), UM_SUMS(40), UM_SUMS(48), UM_SUMS(56), UM_SUMS(64), UM_SUMS(72), UM_SUMS(80),
             UM_SUMS(88), UM_SUMS(96), UM_SUMS(104), UM_SUMS(112), UM_SUMS(120));
  }
}

// Two words: of a row and of the row 8 below.
struct TwoRows {
  uint32_t w[2];
};
UM_DEVICE TwoRows LoadTwoRows(uint32_t at) {
  TwoRows v;
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(v.w[0]), "=r"(v.w[1]) : "r"(at) : "memory");
  return v;
}
// CopyAsync16 by address.
UM_DEVICE void CopyShared16(uint32_t to, const void* from, bool take) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(take ? 16 : 0) : "memory");
}

}  // namespace unimax::gpu
