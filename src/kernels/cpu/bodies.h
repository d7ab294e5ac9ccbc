// SPDX-License-Identifier: Apache-2.0
// The bodies of one instruction set, as bodies.cc collects them.
#pragma once

#include "kernels/cpu/cpu_kernels.h"

namespace unimax::UM_ISA {

void LinearF32(const LinearArgs& a, int thread, int threads);
void LinearF16(const LinearArgs& a, int thread, int threads);
void LinearBF16(const LinearArgs& a, int thread, int threads);
void LinearI4(const LinearArgs& a, int thread, int threads);
void LinearI4Min(const LinearArgs& a, int thread, int threads);
void LinearI8(const LinearArgs& a, int thread, int threads);
void LinearI8Min(const LinearArgs& a, int thread, int threads);
void Quantize(const QuantizeArgs& a, int thread, int threads);

void Norm(const NormArgs& a, int thread, int threads);
void ActMul(const ActMulArgs& a, int thread, int threads);
void Add(const AddArgs& a, int thread, int threads);
BestLogit Best(const float* logits, int begin, int end);

void RopeStoreF32(const RopeStoreArgs& a, int thread, int threads);
void RopeStoreF16(const RopeStoreArgs& a, int thread, int threads);
void AttentionF32(const AttentionArgs& a, int thread, int threads);
void AttentionF16(const AttentionArgs& a, int thread, int threads);
void Combine(const AttentionArgs& a, int thread, int threads);

// The set's entry in KernelsFor.
const CpuKernels& Kernels();

}  // namespace unimax::UM_ISA
