// SPDX-License-Identifier: Apache-2.0
#include "base/status.h"
#include "kernels/cpu/cpu_kernels.h"

namespace unimax {

namespace generic {
const CpuKernels& Kernels();
}
namespace avx2 {
const CpuKernels& Kernels();
}
namespace avx512 {
const CpuKernels& Kernels();
}

const CpuKernels& KernelsFor(Isa isa) {
  UM_CHECK(Supported(isa));
#if defined(UM_CPU_X86)
  if (isa == Isa::kAvx512) return avx512::Kernels();
  if (isa == Isa::kAvx2) return avx2::Kernels();
#endif
  return generic::Kernels();
}

}  // namespace unimax
