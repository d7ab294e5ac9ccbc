// SPDX-License-Identifier: Apache-2.0
// rowwise: the ops that treat each row of a step by itself: embedding, norm, rotary positions and KV write, activation,
//            addition, choice of rows, greedy choice of the token.
// Who calls: ops Embed, Norm, RopeAndStore, ActMul, Add, Select, Sample.
// Work:      one block a row (RopeAndStore, ActMul: a row and a slice of its elements).
// Bound:     memory and launch. bytes = each input once, each output once.
// Launch:    grid M (RopeAndStore, ActMul, Add: (M, slices)); threads 256 (wide Norm 512,
//            Sample 1,024); shared kLanes * 8 for Norm and Sample.
// Reference: RefEmbed, RefNorm, RefRope, RefActMul, RefAdd, RefSample.
// Source:    RMS norm: Zhang & Sennrich 2019; rotary positions: Su et al. 2021; gated units: Shazeer 2020.
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/linear_flat.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

// Sum over the block (at most kLanes groups) in fixed order; every thread gets it. Uses kLanes floats of shared memory.
UM_DEVICE float BlockSum(float v) {
  Shared<float> sums(0);
  v = GroupSum(v);
  if (Lane() == 0) sums.Set(Group(), v);
  Barrier();  // orders every group's sum before it is read
  return GroupSum(Lane() < Groups() ? sums.Get(Lane()) : 0.0f);
}

UM_DEVICE void EmbedPlain(const EmbedArgs& a) {
  WaitForPrevious();
  LetNextStart();
  const int64_t id = a.ids[BlockX()];
  const float* row = static_cast<const float*>(a.table) + id * a.cols;
  for (int c = Thread(); c < a.cols; c += BlockThreads()) a.y[static_cast<int64_t>(BlockX()) * a.cols + c] = row[c];
}

// The table in packed tiles, shared with a tied head.
template <class T>
UM_DEVICE void EmbedPacked(const EmbedArgs& a) {
  WaitForPrevious();
  LetNextStart();
  const int id = a.ids[BlockX()];
  const int tiles = (a.cols + kTileK - 1) / kTileK;
  constexpr int kTileElements = kTileRows * kTileK;
  const T* strip = static_cast<const T*>(a.table) + static_cast<int64_t>(id / kTileRows) * tiles * kTileElements;
  for (int c = Thread(); c < a.cols; c += BlockThreads()) {
    const T v = strip[c / kTileK * kTileElements + PackedIndex(id % kTileRows, c % kTileK)];
    a.y[static_cast<int64_t>(BlockX()) * a.cols + c] = ToFloat(v);
  }
}

// A thread keeps its first kNormKeep values between the two passes; wider rows read the rest again.
inline constexpr int kNormKeep = 8;
template <class T>
UM_DEVICE void Norm(const NormArgs& a) {
  LetNextStart();
  float weight[kNormKeep], x[kNormKeep];
#pragma unroll
  for (int i = 0; i < kNormKeep; ++i) {  // the weight depends on no other launch
    const int c = Thread() + i * BlockThreads();
    weight[i] = c < a.cols ? a.weight[c] : 0.0f;
  }
  WaitForPrevious();
  const float* row = static_cast<const float*>(a.x) + static_cast<int64_t>(BlockX()) * a.cols;
  T* y = static_cast<T*>(a.y) + static_cast<int64_t>(BlockX()) * a.cols;
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kNormKeep; ++i) {
    const int c = Thread() + i * BlockThreads();
    x[i] = c < a.cols ? row[c] : 0.0f;
    squares += x[i] * x[i];
  }
  const int rest = Thread() + kNormKeep * BlockThreads();
  for (int c = rest; c < a.cols; c += BlockThreads()) squares += row[c] * row[c];
  const float scale = Rsqrt(BlockSum(squares) / static_cast<float>(a.cols) + a.eps);
#pragma unroll
  for (int i = 0; i < kNormKeep; ++i) {
    const int c = Thread() + i * BlockThreads();
    if (c < a.cols) y[c] = FromFloat<T>(x[i] * scale * weight[i]);
  }
  for (int c = rest; c < a.cols; c += BlockThreads()) y[c] = FromFloat<T>(row[c] * scale * a.weight[c]);
}

// Thread i of a row takes pair i of the q heads, then of the k heads, then copies its part of v.
template <class T>
UM_DEVICE void RopeStore(const RopeStoreArgs& a) {
  WaitForPrevious();
  LetNextStart();
  const int row = BlockX();
  const int half = a.head_dim / 2;
  const int position = a.positions[row];
  const int64_t page = a.page_table[static_cast<int64_t>(a.sequences[row]) * a.max_pages + position / a.page_tokens];
  const int slot = position % a.page_tokens;
  const float* angle = a.cos_sin + static_cast<int64_t>(position) * a.head_dim;
  const int64_t in = static_cast<int64_t>(row) * a.stride;
  const int pairs = (a.heads + 2 * a.kv_heads) * half;
  for (int i = BlockY() * BlockThreads() + Thread(); i < pairs; i += GridY() * BlockThreads()) {
    const int head = i / half, p = i % half;
    const int first = a.interleaved ? 2 * p : p;
    const int second = a.interleaved ? 2 * p + 1 : p + half;
    const float c = angle[2 * p], s = angle[2 * p + 1];
    if (head < a.heads) {
      T* q = static_cast<T*>(a.q) + in + head * a.head_dim;
      const float u = ToFloat(q[first]), w = ToFloat(q[second]);
      q[first] = FromFloat<T>(u * c - w * s);
      q[second] = FromFloat<T>(w * c + u * s);
      continue;
    }
    const bool is_k = head < a.heads + a.kv_heads;
    const int kv = head - a.heads - (is_k ? 0 : a.kv_heads);
    const T* from = static_cast<const T*>(is_k ? a.k : a.v) + in + kv * a.head_dim;
    T* to =
        static_cast<T*>(is_k ? a.k_cache : a.v_cache) + ((page * a.kv_heads + kv) * a.page_tokens + slot) * a.head_dim;
    const float u = ToFloat(from[first]), w = ToFloat(from[second]);
    to[first] = FromFloat<T>(is_k ? u * c - w * s : u);
    to[second] = FromFloat<T>(is_k ? w * c + u * s : w);
  }
}

template <class T>
UM_DEVICE void ActMul(const ActMulArgs& a) {
  WaitForPrevious();
  LetNextStart();
  const int64_t row = BlockX();
  for (int c = BlockY() * BlockThreads() + Thread(); c < a.cols; c += GridY() * BlockThreads()) {
    const float gate = ToFloat(static_cast<const T*>(a.gate)[row * a.stride + c]);
    const float up = ToFloat(static_cast<const T*>(a.up)[row * a.stride + c]);
    static_cast<T*>(a.y)[row * a.cols + c] = FromFloat<T>(Silu(gate) * up);
  }
}

template <class T>
UM_DEVICE void Add(const AddArgs& a) {
  WaitForPrevious();
  LetNextStart();
  const int64_t row = static_cast<int64_t>(BlockX()) * a.cols;
  for (int c = BlockY() * BlockThreads() + Thread(); c < a.cols; c += GridY() * BlockThreads()) {
    a.y[row + c] = a.a[row + c] + ToFloat(static_cast<const T*>(a.b)[row + c]);
  }
}

UM_DEVICE void Select(const SelectArgs& a) {
  WaitForPrevious();
  LetNextStart();
  const float* x = a.x + static_cast<int64_t>(a.rows[BlockX()]) * a.cols;
  for (int c = Thread(); c < a.cols; c += BlockThreads()) a.y[static_cast<int64_t>(BlockX()) * a.cols + c] = x[c];
}

// The larger logit, the lower index on ties; an index of -1 (a logit that is not finite) wins over everything.
UM_DEVICE void TakeBetter(float& best, int& index, float other, int other_index) {
  if (index < 0) return;
  if (other_index < 0 || other > best || (other == best && other_index < index)) {
    best = other;
    index = other_index;
  }
}

UM_DEVICE void Sample(const SampleArgs& a) {
  WaitForPrevious();
  LetNextStart();
  const float* logits = a.logits + static_cast<int64_t>(BlockX()) * a.vocab;
  float best = -Infinity();
  int index = a.vocab;       // loses against any real index
  constexpr int kAhead = 8;  // logits in flight a thread
  for (int first = Thread(); first < a.vocab; first += kAhead * BlockThreads()) {
    float logit[kAhead];
#pragma unroll
    for (int r = 0; r < kAhead; ++r) {
      const int i = first + r * BlockThreads();
      logit[r] = i < a.vocab ? logits[i] : -Infinity();
    }
#pragma unroll
    for (int r = 0; r < kAhead; ++r) {
      const int i = first + r * BlockThreads();
      if (i < a.vocab) TakeBetter(best, index, logit[r], IsFinite(logit[r]) ? i : -1);
    }
  }
  for (int mask = kLanes / 2; mask > 0; mask /= 2) {
    const float other = ShuffleXor(best, mask);
    const int other_index = ShuffleXor(index, mask);
    TakeBetter(best, index, other, other_index);
  }
  Shared<float> bests(0);
  Shared<int> indices(static_cast<int>(sizeof(float)) * kLanes);
  if (Lane() == 0) {
    bests.Set(Group(), best);
    indices.Set(Group(), index);
  }
  Barrier();  // orders every group's choice before it is read
  if (Thread() != 0) return;
  for (int g = 1; g < Groups(); ++g) TakeBetter(best, index, bests.Get(g), indices.Get(g));
  a.ids[BlockX()] = index;
}

}  // namespace unimax::UM_PORT_NAMESPACE
