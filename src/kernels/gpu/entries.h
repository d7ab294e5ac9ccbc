// SPDX-License-Identifier: Apache-2.0
// Every kernel of the portable source, by name. This list is included by one translation unit a target; a row of
// kernels/table.cc names its entries here.
#include "kernels/gpu/attention.h"
#include "kernels/gpu/attention_rows.h"
#include "kernels/gpu/attention_split.h"
#include "kernels/gpu/bench_bodies.h"
#include "kernels/gpu/draw.h"
#include "kernels/gpu/largest_scores.h"
#include "kernels/gpu/linear_flat.h"
#include "kernels/gpu/linear_form.h"
#include "kernels/gpu/linear_plain.h"
#include "kernels/gpu/linear_shared.h"
#include "kernels/gpu/linear_tiled.h"
#include "kernels/gpu/norm.h"
#include "kernels/gpu/pack_tiles.h"
#include "kernels/gpu/rowwise.h"

namespace unimax::UM_PORT_NAMESPACE {

UM_ENTRY(embed_f32, EmbedArgs, EmbedPlain, 256, 1)
UM_ENTRY(embed_packed_bf16, EmbedArgs, EmbedPacked<bf16>, 256, 1)
UM_ENTRY(embed_packed_f16, EmbedArgs, EmbedPacked<f16>, 256, 1)
UM_ENTRY(add_position, AddPositionArgs, AddPosition, 256, 1)
UM_ENTRY(norm_f32, NormArgs, Norm<float>, 1024, 1)
UM_ENTRY(norm_bf16, NormArgs, Norm<bf16>, 1024, 1)
UM_ENTRY(norm_f16, NormArgs, Norm<f16>, 1024, 1)
UM_ENTRY(rope_store_f32, RopeStoreArgs, RopeStore<float>, 256, 1)
UM_ENTRY(rope_store_bf16, RopeStoreArgs, RopeStore<bf16>, 256, 1)
UM_ENTRY(rope_store_f16, RopeStoreArgs, RopeStore<f16>, 256, 1)
UM_ENTRY(act_mul_f32, ActMulArgs, ActMul<float>, 256, 1)
UM_ENTRY(act_mul_bf16, ActMulArgs, ActMul<bf16>, 256, 1)
UM_ENTRY(act_mul_f16, ActMulArgs, ActMul<f16>, 256, 1)
UM_ENTRY(add_f32, AddArgs, Add<float>, 256, 1)
UM_ENTRY(add_bf16, AddArgs, Add<bf16>, 256, 1)
UM_ENTRY(add_f16, AddArgs, Add<f16>, 256, 1)
UM_ENTRY(select_rows, SelectArgs, Select, 256, 1)
UM_ENTRY(sample_greedy, SampleArgs, Sample, 1024, 1)
UM_ENTRY(sample_draw, DrawArgs, Draw, 512, 1)
UM_ENTRY(linear_plain_f32, LinearArgs, LinearPlain, 128, 1)
UM_ENTRY(linear_flat_bf16_1, LinearArgs, (LinearFlat<bf16, 1>), 512, 1)
UM_ENTRY(linear_flat_bf16_2, LinearArgs, (LinearFlat<bf16, 2>), 512, 1)
UM_ENTRY(linear_flat_bf16_4, LinearArgs, (LinearFlat<bf16, 4>), 256, 1)
UM_ENTRY(linear_flat_bf16_8, LinearArgs, (LinearFlat<bf16, 8>), 256, 1)
UM_ENTRY(linear_flat_f16_1, LinearArgs, (LinearFlat<f16, 1>), 512, 1)
UM_ENTRY(linear_flat_f16_2, LinearArgs, (LinearFlat<f16, 2>), 512, 1)
UM_ENTRY(linear_flat_f16_4, LinearArgs, (LinearFlat<f16, 4>), 256, 1)
UM_ENTRY(linear_flat_f16_8, LinearArgs, (LinearFlat<f16, 8>), 256, 1)
UM_ENTRY(linear_shared_bf16_32, LinearArgs, (LinearShared<bf16, SharedShape<32, 2>>), 8 * kLanes, 1)
UM_ENTRY(linear_shared_bf16_64, LinearArgs, (LinearShared<bf16, SharedShape<64, 4>>), 8 * kLanes, 1)
UM_ENTRY(linear_shared_f16_32, LinearArgs, (LinearShared<f16, SharedShape<32, 2>>), 8 * kLanes, 1)
UM_ENTRY(linear_shared_f16_64, LinearArgs, (LinearShared<f16, SharedShape<64, 4>>), 8 * kLanes, 1)
UM_ENTRY(linear_q4_bf16, LinearArgs, (LinearForm<bf16, FormQ4<bf16>>), 256, 1)
UM_ENTRY(linear_e4m3_bf16, LinearArgs, (LinearForm<bf16, FormE4M3<bf16>>), 256, 1)
UM_ENTRY(linear_int8_bf16, LinearArgs, (LinearForm<bf16, FormI8>), 256, 1)
UM_ENTRY(linear_tiled_bf16, LinearArgs, LinearTiled<bf16>, 128, 1)
UM_ENTRY(linear_tiled_f16, LinearArgs, LinearTiled<f16>, 128, 1)
UM_ENTRY(linear_direct_bf16, LinearArgs, (LinearTiled<bf16, true>), 128, 1)
UM_ENTRY(linear_direct_f16, LinearArgs, (LinearTiled<f16, true>), 128, 1)
UM_ENTRY(attention_decode_f32_1, AttentionArgs, (AttentionDecode<float, 1>), 128, 1)
UM_ENTRY(attention_decode_f32_4, AttentionArgs, (AttentionDecode<float, 4>), 128, 1)
UM_ENTRY(attention_decode_bf16_1, AttentionArgs, (AttentionDecode<bf16, 1>), 128, 1)
UM_ENTRY(attention_decode_bf16_4, AttentionArgs, (AttentionDecode<bf16, 4>), 128, 3)
UM_ENTRY(attention_lazy_bf16_1, AttentionArgs, (AttentionDecode<bf16, 1, Softmax::kLazy>), 128, 1)
UM_ENTRY(attention_lazy_bf16_4, AttentionArgs, (AttentionDecode<bf16, 4, Softmax::kLazy>), 128, 3)
UM_ENTRY(attention_unified_bf16_1, AttentionArgs, (AttentionDecode<bf16, 1, Softmax::kUnified>), 128, 1)
UM_ENTRY(attention_unified_bf16_4, AttentionArgs, (AttentionDecode<bf16, 4, Softmax::kUnified>), 128, 3)
UM_ENTRY(attention_decode_f16_1, AttentionArgs, (AttentionDecode<f16, 1>), 128, 1)
UM_ENTRY(attention_decode_f16_4, AttentionArgs, (AttentionDecode<f16, 4>), 128, 3)
UM_ENTRY(attention_split_bf16_64, AttentionArgs, (AttentionSplit<bf16, 64>), 4 * kLanes, 1)
UM_ENTRY(attention_split_bf16_128, AttentionArgs, (AttentionSplit<bf16, 128>), 4 * kLanes, 1)
UM_ENTRY(attention_lazy_bf16_64, AttentionArgs, (AttentionSplit<bf16, 64, Softmax::kLazy>), 4 * kLanes, 1)
UM_ENTRY(attention_lazy_bf16_128, AttentionArgs, (AttentionSplit<bf16, 128, Softmax::kLazy>), 4 * kLanes, 1)
UM_ENTRY(attention_unified_bf16_64, AttentionArgs, (AttentionSplit<bf16, 64, Softmax::kUnified>), 4 * kLanes, 1)
UM_ENTRY(attention_unified_bf16_128, AttentionArgs, (AttentionSplit<bf16, 128, Softmax::kUnified>), 4 * kLanes, 1)
UM_ENTRY(attention_split_f16_64, AttentionArgs, (AttentionSplit<f16, 64>), 4 * kLanes, 1)
UM_ENTRY(attention_split_f16_128, AttentionArgs, (AttentionSplit<f16, 128>), 4 * kLanes, 1)
UM_ENTRY(attention_rows_bf16_64, AttentionArgs, (AttentionOfRows<bf16, 64>), 4 * kLanes, 2)
UM_ENTRY(attention_rows_bf16_128, AttentionArgs, (AttentionOfRows<bf16, 128>), 4 * kLanes, 2)
UM_ENTRY(attention_rows_f16_64, AttentionArgs, (AttentionOfRows<f16, 64>), 4 * kLanes, 2)
UM_ENTRY(attention_rows_f16_128, AttentionArgs, (AttentionOfRows<f16, 128>), 4 * kLanes, 2)
UM_ENTRY(attention_prefill_f32, AttentionArgs, (AttentionPrefill<float, 8>), 128, 1)
UM_ENTRY(attention_prefill_bf16, AttentionArgs, (AttentionPrefill<bf16, 8>), 128, 1)
UM_ENTRY(attention_prefill_f16, AttentionArgs, (AttentionPrefill<f16, 8>), 128, 1)
UM_ENTRY(largest_scores_bf16, AttentionArgs, LargestScores<bf16>, 128, 1)
UM_ENTRY(fill_random_f32, FillRandomArgs, FillRandom<float>, 256, 1)
UM_ENTRY(fill_random_bf16, FillRandomArgs, FillRandom<bf16>, 256, 1)
UM_ENTRY(fill_random_f16, FillRandomArgs, FillRandom<f16>, 256, 1)
UM_ENTRY(pack_tiles_bf16, PackTilesArgs, PackTiles<bf16>, 256, 1)
UM_ENTRY(pack_tiles_f16, PackTilesArgs, PackTiles<f16>, 256, 1)
UM_ENTRY(read_rate, ReadRateArgs, ReadRate, 1024, 1)

}  // namespace unimax::UM_PORT_NAMESPACE
