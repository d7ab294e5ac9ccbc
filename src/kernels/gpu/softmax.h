// SPDX-License-Identifier: Apache-2.0
// softmax: three ways for attention to keep the weights of a softmax within what f32 holds. All give the same values up
//            to rounding; which one a row takes is the plan's choice, by measurement (docs/numerics.md).
// Who calls: attention, attention_split.
// Work:      online: the largest score so far is the base of the exponent; a new one rescales all sums. lazy: the base
//            moves only when the largest score leaves it by more than 8 powers of two, so sums are seldom rescaled.
//            unified: the base is a number known beforehand, phi; nothing waits for a maximum and nothing is rescaled.
//            Its guard: where a sum is not finite (e^88 above phi overflows, and stays) or the largest score lies more
//            than 60 below phi, the block does its tokens again online before it writes anything.
// Bound:     that of the caller.
// Launch:    that of the caller.
// Reference: RefAttentionRow.
// Source:    FlashDecoding++ (arXiv 2311.01282) section 3 (unified maximum, recomputation); FlashAttention-4 (lazy
//            rescaling); Milakov & Gimelshein 2018 (online softmax).
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

enum class Softmax { kOnline, kLazy, kUnified };

inline constexpr float kLazyRise = 8 / kLog2E;  // a weight is at most 2^8: f16 holds it
inline constexpr float kDeepest = 60;           // below phi: e^-60 times a sum of 1e5 keeps all its bits

// The base of the exponent after scores of which `high` is the largest so far; before them it was `base`.
// `unit`: of the scores, 1 or log2(e).
template <Softmax kSoftmax>
UM_DEVICE float NextBase(float base, float high, float unit) {
  if constexpr (kSoftmax == Softmax::kLazy) return high <= base + kLazyRise * unit ? base : Max(base, high);
  return high;
}

// A sum that no weight may be taken from where unified missed: not finite.
UM_DEVICE float Guarded(float sum, float seen, float phi, float unit) {
  const bool missed = seen > -Infinity() && seen < phi - kDeepest * unit;
  return missed ? Infinity() : sum;
}

// The guard has spoken. Orders the reads of what the block left in shared memory before it is written again.
UM_DEVICE void CountRedone(const AttentionArgs& a) {
  if (Thread() == 0 && a.redone != nullptr) AtomicAdd(a.redone, 1);
  Barrier();
}

}  // namespace unimax::UM_PORT_NAMESPACE
