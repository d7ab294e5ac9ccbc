// SPDX-License-Identifier: Apache-2.0
// The CPU's bodies of every op, one set an instruction set. All activations are f32. A body is called by every thread
// of a team with its number; it works on a static range and never waits: the executor puts barriers between ops.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/args.h"
#include "kernels/cpu/cpu_isa.h"

namespace unimax {

// How a matrix lies in memory.
enum class WeightForm : uint8_t {
  kF32,    // rows as in the file
  kF16,    //
  kBF16,   //
  kI4,     // packed.h: nibbles, w = d * (q - 8)
  kI4Min,  // nibbles, w = d * q + m
  kI8,     // bytes, w = d * q
  kI8Min,  // bytes, w = d * q + m
  kCount,
};
inline constexpr int kWeightForms = static_cast<int>(WeightForm::kCount);
inline constexpr const char* kWeightFormNames[kWeightForms] = {"f32", "f16", "bf16", "i4", "i4_min", "i8", "i8_min"};
inline constexpr bool IsPacked(WeightForm form) { return form >= WeightForm::kI4; }

enum class KvForm : uint8_t { kF32, kF16 };

// One row of activations as packed forms want it: x = scale * q in blocks of 32. Arrays follow each other:
//   int8 q[k]; float scale[k / 32]; float scale_sum[k / 32] (scale * sum of q); int32 sum[k / 32].
[[gnu::always_inline]] inline constexpr int64_t QuantizedStride(int k) {
  return (int64_t{k} + k / 32 * 12 + 63) / 64 * 64;
}

struct QuantizeArgs {
  const float* x;  // [M, K], row stride x_stride
  std::byte* y;    // [M] rows of QuantizedStride(k) bytes
  int m, k, x_stride;
};

// On the CPU a page holds its keys transposed, [kv_heads, head_dim, KeyStride(page_tokens)], so that scores of
// neighbouring positions fall into the lanes of one vector; values lie as args.h says. Bodies may read up to 64 bytes
// past the last page of keys.
// (Helpers used by the bodies are always inlined: see vec.h.)
[[gnu::always_inline]] inline constexpr int KeyStride(int page_tokens) { return (page_tokens + 15) / 16 * 16; }
inline constexpr int kWidestHead = 512;

// The best of a part of a row of logits.
struct BestLogit {
  float value;
  int index;  // -1 where one is not finite
};

struct CpuKernels {
  Isa isa;
  int group_rows;     // rows of a packed group
  uint8_t byte_flip;  // added to the bytes of packed 8-bit weights (modulo 256)
  // x: f32 for plain forms, else quantised rows (x_stride is not used). y: f32.
  void (*linear[kWeightForms])(const LinearArgs&, int thread, int threads);
  void (*quantize)(const QuantizeArgs&, int thread, int threads);
  void (*norm)(const NormArgs&, int thread, int threads);
  void (*rope_store[2])(const RopeStoreArgs&, int thread, int threads);  // by KvForm
  // splits > 1: leaves the parts in args.partial; call combine behind a barrier. counters are not used.
  void (*attention[2])(const AttentionArgs&, int thread, int threads);
  void (*combine)(const AttentionArgs&, int thread, int threads);
  void (*act_mul)(const ActMulArgs&, int thread, int threads);
  void (*add)(const AddArgs&, int thread, int threads);
  BestLogit (*best)(const float* logits, int begin, int end);
};

// The set built for `isa`, which must be Supported.
const CpuKernels& KernelsFor(Isa isa);

}  // namespace unimax
