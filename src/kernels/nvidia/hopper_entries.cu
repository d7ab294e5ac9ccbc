// SPDX-License-Identifier: Apache-2.0
// Kernels that are written for one architecture: Hopper (sm_90a).
#include "kernels/gpu/stream_entries.h"
#include "kernels/nvidia/attention_wgmma.h"
#include "kernels/nvidia/linear_wgmma.h"

namespace unimax::gpu {

UM_ENTRY(attention_wgmma_bf16, MappedAttentionArgs, AttentionWgmma<bf16>, 384, 1)
UM_ENTRY(attention_wgmma_f16, MappedAttentionArgs, AttentionWgmma<f16>, 384, 1)
UM_CLUSTER_ENTRY(linear_wgmma_bf16, MappedLinearArgs, LinearWgmma<bf16>, 384, 2)
UM_CLUSTER_ENTRY(linear_wgmma_f16, MappedLinearArgs, LinearWgmma<f16>, 384, 2)

}  // namespace unimax::gpu
