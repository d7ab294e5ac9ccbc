// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/bodies.h"

#include "kernels/cpu/vec.h"

namespace unimax::UM_ISA {
namespace {

constexpr CpuKernels kKernels = {
    .isa = Isa::UM_ISA_NAME,
    .group_rows = kLanes,
    .byte_flip = kByteFlip,
    .linear = {&LinearF32, &LinearF16, &LinearBF16, &LinearI4, &LinearI4Min, &LinearI8, &LinearI8Min},
    .quantize = &Quantize,
    .norm = &Norm,
    .rope_store = {&RopeStoreF32, &RopeStoreF16},
    .attention = {&AttentionF32, &AttentionF16},
    .combine = &Combine,
    .act_mul = &ActMul,
    .add = &Add,
    .best = &Best,
};

}  // namespace

const CpuKernels& Kernels() { return kKernels; }

}  // namespace unimax::UM_ISA
