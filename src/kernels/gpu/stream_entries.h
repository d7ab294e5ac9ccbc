// SPDX-License-Identifier: Apache-2.0
// The stream kernel by name: activation type, elements of a head, most query heads of a KV head. Only targets whose
// port has the words of port_stream.h include this.
#include "kernels/gpu/norm_fold.h"
#include "kernels/gpu/stream.h"

namespace unimax::UM_PORT_NAMESPACE {

UM_ENTRY(stream_bf16_64_4, StreamArgs, (Stream<bf16, 64, 4>), (kStreamGroups + kStreamFeeders) * kLanes, 1)
UM_ENTRY(stream_bf16_128_1, StreamArgs, (Stream<bf16, 128, 1>), (kStreamGroups + kStreamFeeders) * kLanes, 1)
UM_ENTRY(stream_bf16_128_4, StreamArgs, (Stream<bf16, 128, 4>), (kStreamGroups + kStreamFeeders) * kLanes, 1)
UM_ENTRY(norm_fold_bf16, NormFoldArgs, (NormFold<bf16>), 512, 2)

}  // namespace unimax::UM_PORT_NAMESPACE
