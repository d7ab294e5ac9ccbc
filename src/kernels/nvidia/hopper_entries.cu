// SPDX-License-Identifier: Apache-2.0
// Kernels that are written for one architecture: Hopper (sm_90a).
#include "kernels/gpu/stream_entries.h"
#include "kernels/nvidia/attention_fixed.h"
#include "kernels/nvidia/attention_ring.h"
#include "kernels/nvidia/attention_wgmma.h"
#include "kernels/nvidia/linear_chain.h"
#include "kernels/nvidia/linear_wflat.h"
#include "kernels/nvidia/linear_wgmma.h"

namespace unimax::gpu {

UM_ENTRY(linear_wflat_bf16_16, LinearArgs, (LinearWflat<bf16, 16>), kChainThreads, 1)
UM_ENTRY(linear_wflat_bf16_32, LinearArgs, (LinearWflat<bf16, 32>), kChainThreads, 1)
UM_ENTRY(linear_wflat_bf16_64, LinearArgs, (LinearWflat<bf16, 64>), kChainThreads, 1)
UM_ENTRY(linear_wflat_f16_16, LinearArgs, (LinearWflat<f16, 16>), kChainThreads, 1)
UM_ENTRY(linear_wflat_f16_32, LinearArgs, (LinearWflat<f16, 32>), kChainThreads, 1)
UM_ENTRY(linear_wflat_f16_64, LinearArgs, (LinearWflat<f16, 64>), kChainThreads, 1)
UM_ENTRY(linear_chain_bf16_16, ChainArgs, (LinearChain<bf16, 16>), kChainThreads, 1)
UM_ENTRY(linear_chain_bf16_32, ChainArgs, (LinearChain<bf16, 32>), kChainThreads, 1)
UM_ENTRY(linear_chain_bf16_64, ChainArgs, (LinearChain<bf16, 64>), kChainThreads, 1)
UM_ENTRY(attention_ring_bf16_64, AttentionArgs, (AttentionRing<bf16, 64>), kRingAll, 2)
UM_ENTRY(attention_ring_bf16_128, AttentionArgs, (AttentionRing<bf16, 128>), kRingAll, 2)
UM_ENTRY(attention_ring_f16_64, AttentionArgs, (AttentionRing<f16, 64>), kRingAll, 2)
UM_ENTRY(attention_ring_f16_128, AttentionArgs, (AttentionRing<f16, 128>), kRingAll, 2)
UM_ENTRY(attention_fixed_bf16_64, AttentionArgs, (AttentionFixed<bf16, 64>), kRingAll, 2)
UM_ENTRY(attention_fixed_bf16_128, AttentionArgs, (AttentionFixed<bf16, 128>), kRingAll, 2)
UM_ENTRY(attention_fixed_f16_64, AttentionArgs, (AttentionFixed<f16, 64>), kRingAll, 2)
UM_ENTRY(attention_fixed_f16_128, AttentionArgs, (AttentionFixed<f16, 128>), kRingAll, 2)
UM_ENTRY(attention_wgmma_bf16, MappedAttentionArgs, AttentionWgmma<bf16>, 384, 1)
UM_ENTRY(attention_wgmma_f16, MappedAttentionArgs, AttentionWgmma<f16>, 384, 1)
UM_CLUSTER_ENTRY(linear_wgmma_bf16, MappedLinearArgs, LinearWgmma<bf16>, 384, 2)
UM_CLUSTER_ENTRY(linear_wgmma_f16, MappedLinearArgs, LinearWgmma<f16>, 384, 2)

}  // namespace unimax::gpu
