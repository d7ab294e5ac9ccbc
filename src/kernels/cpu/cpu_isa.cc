// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_isa.h"

namespace unimax {
namespace {

constexpr const char* kNames[] = {"generic", "avx2", "avx512"};

}  // namespace

const char* IsaName(Isa isa) { return kNames[static_cast<int>(isa)]; }

std::optional<Isa> IsaNamed(std::string_view name) {
  for (Isa isa : kIsas) {
    if (name == IsaName(isa)) return isa;
  }
  return std::nullopt;
}

bool Supported(Isa isa) {
  if (isa == Isa::kGeneric) return true;
#if defined(UM_CPU_X86)
  // These look at the operating system's support too (XGETBV), not only at the processor's.
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c")) {
    return false;
  }
  if (isa == Isa::kAvx2) return true;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

Isa BestIsa() {
  Isa best = Isa::kGeneric;
  for (Isa isa : kIsas) {
    if (Supported(isa)) best = isa;
  }
  return best;
}

}  // namespace unimax
