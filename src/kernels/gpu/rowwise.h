// SPDX-License-Identifier: Apache-2.0
// rowwise: the ops that treat each row of a step by itself: embedding, learned and rotary positions and KV write,
//            activation, addition, choice of rows, greedy choice of the token.
// Who calls: ops Embed, AddPosition, RopeAndStore, ActMul, Add, Select, Sample.
// Work:      one block a row (RopeAndStore, ActMul, Add: a row and a slice of its elements).
// Bound:     memory and launch. bytes = each input once, each output once.
// Launch:    grid M (RopeAndStore, ActMul, Add: (M, slices)); threads 256 (Sample 1,024); shared kLanes * 8 for Sample.
// Reference: RefEmbed, RefAddPosition, RefRope, RefActMul, RefAdd, RefSample.
// Source:    rotary positions: Su et al. 2021; gated units: Shazeer 2020; learned positions: Gehring et al. 2017.
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/activation.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

// The id of a row: given, or chosen by the step before at output k, which -1 - k names. Where that was not finite, the
// row is thrown away later.
UM_DEVICE int IdOf(const EmbedArgs& a, int row) {
  const int given = a.ids[row];
  if (given >= 0) return given;
  const int chosen = a.previous[-1 - given];
  return chosen >= 0 ? chosen : 0;
}

UM_DEVICE void EmbedPlain(const EmbedArgs& a) {
  WaitForPrevious();
  LetNextStart();
  const int64_t id = IdOf(a, BlockX());
  const float* row = static_cast<const float*>(a.table) + id * a.cols;
  float* y = a.y + static_cast<int64_t>(BlockX()) * a.cols;
  for (int c = Thread(); c < a.cols; c += BlockThreads()) y[c] = row[c] * a.scale;
}

// The table in packed tiles, shared with a tied head.
template <class T>
UM_DEVICE void EmbedPacked(const EmbedArgs& a) {
  WaitForPrevious();
  LetNextStart();
  const int id = IdOf(a, BlockX());
  const int tiles = (a.cols + kTileK - 1) / kTileK;
  constexpr int kTileElements = kTileRows * kTileK;
  const T* strip = static_cast<const T*>(a.table) + static_cast<int64_t>(id / kTileRows) * tiles * kTileElements;
  for (int c = Thread(); c < a.cols; c += BlockThreads()) {
    const T v = strip[c / kTileK * kTileElements + PackedIndex(id % kTileRows, c % kTileK)];
    a.y[static_cast<int64_t>(BlockX()) * a.cols + c] = ToFloat(v) * a.scale;
  }
}

UM_DEVICE void AddPosition(const AddPositionArgs& a) {
  WaitForPrevious();
  LetNextStart();
  const float* row = a.table + static_cast<int64_t>(a.positions[BlockX()] + a.first) * a.cols;
  const int64_t at = static_cast<int64_t>(BlockX()) * a.cols;
  for (int c = Thread(); c < a.cols; c += BlockThreads()) a.y[at + c] = a.x[at + c] + row[c];
}

// Where a row's keys or values of a KV head go.
template <class T>
UM_DEVICE T* CacheAt(const RopeStoreArgs& a, void* cache, int row, int kv) {
  const int position = a.positions[row];
  const int64_t page = a.page_table[static_cast<int64_t>(a.sequences[row]) * a.max_pages + position / a.page_tokens];
  return static_cast<T*>(cache) + ((page * a.kv_heads + kv) * a.page_tokens + position % a.page_tokens) * a.head_dim;
}

// Whether whole heads turn, by halves whose elements can be taken 16 bytes at a time.
template <class T>
UM_DEVICE bool TurnsWide(const RopeStoreArgs& a) {
  constexpr int kEach = 16 / sizeof(T);
  const auto odd = [](const void* p) { return reinterpret_cast<unsigned long long>(p) % 16 != 0; };
  return !a.interleaved && a.rotary == a.head_dim && a.head_dim % (2 * kEach) == 0 && a.stride % kEach == 0 &&
         !odd(a.q) && !odd(a.k) && !odd(a.v);
}

// Thread i of a row takes the i-th 16 bytes of the first halves of the q, k and v heads, and what stands half a head
// behind.
template <class T>
UM_DEVICE void RopeStoreWide(const RopeStoreArgs& a) {
  constexpr int kEach = 16 / sizeof(T);
  const int row = BlockX(), half = a.head_dim / 2, parts = half / kEach, turning = a.heads + a.kv_heads;
  const float* angle = a.cos_sin + static_cast<int64_t>(a.rope_rows[row]) * a.rotary;
  const int64_t in = static_cast<int64_t>(row) * a.stride;
  const int all = (turning + a.kv_heads) * parts;
  for (int i = BlockY() * BlockThreads() + Thread(); i < all; i += GridY() * BlockThreads()) {
    const int head = i / parts, p = i % parts * kEach;
    const int kv = head < turning ? head - a.heads : head - turning;
    const void* whole = head < a.heads ? a.q : head < turning ? a.k : a.v;
    const T* from = static_cast<const T*>(whole) + in + (head < a.heads ? head : kv) * a.head_dim + p;
    T* to = head < a.heads ? const_cast<T*>(from) : CacheAt<T>(a, head < turning ? a.k_cache : a.v_cache, row, kv) + p;
    Vec16 first = Load16(from), second = Load16(from + half);
    if (head < turning) {
      Vec16 turns[kEach / 2];  // cosine and sine of two pairs each
#pragma unroll
      for (int j = 0; j < kEach / 2; ++j) turns[j] = Load16(angle + 2 * p + 4 * j);
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        const float c = turns[j / 2].template As<float>(j % 2 * 2), s = turns[j / 2].template As<float>(j % 2 * 2 + 1);
        const float u = ToFloat(first.As<T>(j)), w = ToFloat(second.As<T>(j));
        first.Put<T>(j, FromFloat<T>(u * c - w * s));
        second.Put<T>(j, FromFloat<T>(w * c + u * s));
      }
    }
    Store16(to, first);
    Store16(to + half, second);
  }
}

// Thread i of a row takes pair i of the q heads, then of the k heads, then copies its part of v. Pairs beyond the
// rotary part are neighbours, which stay as they are.
template <class T>
UM_DEVICE void RopeStorePairs(const RopeStoreArgs& a) {
  const int row = BlockX();
  const int half = a.head_dim / 2, turning = a.rotary / 2;  // pairs
  const float* angle = a.cos_sin + static_cast<int64_t>(a.rope_rows[row]) * a.rotary;
  const int64_t in = static_cast<int64_t>(row) * a.stride;
  const int pairs = (a.heads + 2 * a.kv_heads) * half;
  for (int i = BlockY() * BlockThreads() + Thread(); i < pairs; i += GridY() * BlockThreads()) {
    const int head = i / half, p = i % half;
    const bool turns = p < turning && head < a.heads + a.kv_heads;
    const bool apart = p < turning && !a.interleaved;  // the pair's elements stand `turning` apart
    const int first = apart ? p : 2 * p;
    const int second = apart ? p + turning : 2 * p + 1;
    const float c = turns ? angle[2 * p] : 1.0f, s = turns ? angle[2 * p + 1] : 0.0f;
    if (head < a.heads) {
      if (!turns) continue;
      T* q = static_cast<T*>(a.q) + in + head * a.head_dim;
      const float u = ToFloat(q[first]), w = ToFloat(q[second]);
      q[first] = FromFloat<T>(u * c - w * s);
      q[second] = FromFloat<T>(w * c + u * s);
      continue;
    }
    const bool is_k = head < a.heads + a.kv_heads;
    const int kv = head - a.heads - (is_k ? 0 : a.kv_heads);
    const T* from = static_cast<const T*>(is_k ? a.k : a.v) + in + kv * a.head_dim;
    T* to = CacheAt<T>(a, is_k ? a.k_cache : a.v_cache, row, kv);
    const float u = ToFloat(from[first]), w = ToFloat(from[second]);
    to[first] = FromFloat<T>(turns ? u * c - w * s : u);
    to[second] = FromFloat<T>(turns ? w * c + u * s : w);
  }
}

template <class T>
UM_DEVICE void RopeStore(const RopeStoreArgs& a) {
  WaitForPrevious();
  LetNextStart();
  if (TurnsWide<T>(a)) {
    RopeStoreWide<T>(a);
  } else {
    RopeStorePairs<T>(a);
  }
}

template <class T>
UM_DEVICE void ActMul(const ActMulArgs& a) {
  WaitForPrevious();
  LetNextStart();
  const int64_t row = BlockX();
  for (int c = BlockY() * BlockThreads() + Thread(); c < a.cols; c += GridY() * BlockThreads()) {
    const int64_t at = row * a.stride + c;
    const bool wide = a.flags & kActWideIn;
    float gate[1] = {wide ? static_cast<const float*>(a.gate)[at] : ToFloat(static_cast<const T*>(a.gate)[at])};
    const float up = a.up != nullptr ? ToFloat(static_cast<const T*>(a.up)[at]) : 1.0f;
    Activate(a.act, gate);
    static_cast<T*>(a.y)[row * a.cols + c] = FromFloat<T>(gate[0] * up);
  }
}

template <class T>
UM_DEVICE void Add(const AddArgs& a) {
  WaitForPrevious();
  LetNextStart();
  const int64_t row = static_cast<int64_t>(BlockX()) * a.cols;
  for (int c = BlockY() * BlockThreads() + Thread(); c < a.cols; c += GridY() * BlockThreads()) {
    a.y[row + c] = a.a[row + c] + ToFloat(static_cast<const T*>(a.b)[row + c]) * a.scale;
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
