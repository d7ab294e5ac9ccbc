// SPDX-License-Identifier: Apache-2.0
// attention: y = softmax(q k^T * scale) v over paged keys and values, causal, windowed, with the running maximum of
// online softmax. Who calls: the team executor, through CpuKernels::attention and, behind a barrier,
// CpuKernels::combine. Work:      a unit is (rows of one sequence, KV head, split of the tokens): up to kQueries query
// vectors that read the
//            same keys, in pieces of 32 tokens. Units are dealt to threads in turn, which evens out causal lengths.
// Bound:     one row: memory, bytes = 2 * tokens * kv_heads * head_dim * bytes(kv); many rows: multiply-add rate.
// Launch:    every thread of the team; head_dim <= kWidestHead; keys transposed as cpu_kernels.h says.
// Reference: RefAttentionRow, tolerance in table_cpu.cc. Source: Milakov & Gimelshein 2018 (online softmax).
#include "kernels/cpu/activate.h"
#include "kernels/cpu/bodies.h"
#include "kernels/cpu/vec.h"

namespace unimax::UM_ISA {
namespace {

constexpr int kQueries = 16;  // query vectors of a unit
constexpr int kPiece = 32;    // tokens between two looks at the maximum
constexpr int kTile = 4;      // query vectors in registers

struct Single {
  using Element = float;
  static F LoadCached(const float* p) { return Load(p); }
};
struct Half {
  using Element = uint16_t;
  static F LoadCached(const uint16_t* p) { return LoadHalf(p); }
};

struct Unit {
  const float* q[kQueries];
  int visible[kQueries];  // tokens up to the last that this query sees, from the sequence's start
  int hidden[kQueries];   // of these, the first that its window does not reach
  float top[kQueries], sum[kQueries];
  int queries, tokens;                               // most tokens of any query
  alignas(kTail) float score[kQueries][kPiece];      // then probabilities
  alignas(kTail) float mix[kQueries * kWidestHead];  // [queries, head_dim]: sum of p v
};

// score[i][0..V*kLanes) = q[i] . k for Q queries and V vectors of tokens.
template <class Kv, int Q, int V>
inline void Scores(Unit* u, int query, const typename Kv::Element* k, int stride, int head_dim, int at, float scale) {
  F sums[Q][V];
  for (int i = 0; i < Q; ++i) {
    for (int v = 0; v < V; ++v) sums[i][v] = Set(0.0f);
  }
  for (int d = 0; d < head_dim; ++d, k += stride) {
    F keys[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) keys[v] = Kv::LoadCached(k + v * kLanes);
#pragma GCC unroll 4
    for (int i = 0; i < Q; ++i) {
      const F q = Set(u->q[query + i][d]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[i][v] = Fma(q, keys[v], sums[i][v]);
    }
  }
  for (int i = 0; i < Q; ++i) {
    for (int v = 0; v < V; ++v) Store(&u->score[query + i][at + v * kLanes], sums[i][v] * Set(scale));
  }
}

template <class Kv, int Q>
inline void AllScores(Unit* u, int query, const typename Kv::Element* k, int stride, int head_dim, int tokens,
                      float scale) {
  int at = 0;
  for (; at + kLanes < tokens; at += 2 * kLanes) Scores<Kv, Q, 2>(u, query, k + at, stride, head_dim, at, scale);
  if (at < tokens) Scores<Kv, Q, 1>(u, query, k + at, stride, head_dim, at, scale);
}

// mix[i] = mix[i] * factor[i] + sum over tokens of p v, for columns [d, d + V * kLanes).
template <class Kv, int Q, int V>
inline void Mix(Unit* u, int query, const float* factor, const typename Kv::Element* v, int head_dim, int d,
                int tokens) {
  F sums[Q][V];
  for (int i = 0; i < Q; ++i) {
    for (int n = 0; n < V; ++n) {
      sums[i][n] = Load(u->mix + (query + i) * head_dim + d + n * kLanes) * Set(factor[query + i]);
    }
  }
  v += d;
  for (int j = 0; j < tokens; ++j, v += head_dim) {
    F values[V];
#pragma GCC unroll 4
    for (int n = 0; n < V; ++n) values[n] = Kv::LoadCached(v + n * kLanes);
#pragma GCC unroll 4
    for (int i = 0; i < Q; ++i) {
      const F p = Set(u->score[query + i][j]);
#pragma GCC unroll 4
      for (int n = 0; n < V; ++n) sums[i][n] = Fma(p, values[n], sums[i][n]);
    }
  }
  for (int i = 0; i < Q; ++i) {
    for (int n = 0; n < V; ++n) Store(u->mix + (query + i) * head_dim + d + n * kLanes, sums[i][n]);
  }
}

template <class Kv, int Q>
inline void AllMix(Unit* u, int query, const float* factor, const typename Kv::Element* v, int head_dim, int tokens) {
  int d = 0;
  for (; d + kValueTile * kLanes <= head_dim; d += kValueTile * kLanes) {
    Mix<Kv, Q, kValueTile>(u, query, factor, v, head_dim, d, tokens);
  }
  for (; d + kLanes <= head_dim; d += kLanes) Mix<Kv, Q, 1>(u, query, factor, v, head_dim, d, tokens);
  for (; d < head_dim; ++d) {  // head_dim below or beside a whole vector: one column at a time
    for (int i = query; i < query + Q; ++i) {
      float sum = u->mix[i * head_dim + d] * factor[i];
      for (int j = 0; j < tokens; ++j) {
        alignas(kTail) typename Kv::Element cell[kLanes] = {v[int64_t{j} * head_dim + d]};
        alignas(kTail) float wide[kLanes];
        Store(wide, Kv::LoadCached(cell));
        sum += u->score[i][j] * wide[0];
      }
      u->mix[i * head_dim + d] = sum;
    }
  }
}

// Turns the scores of tokens [first, first + tokens) into probabilities; factor[i] rescales what came before.
inline void Soften(Unit* u, int first, int tokens, float cap, float* factor) {
  for (int i = 0; i < u->queries; ++i) {
    float* s = u->score[i];
    int seen = Least(tokens, u->visible[i] - first);
    const int hidden = u->hidden[i] - first;
    if (cap > 0.0f) {
      for (int j = 0; j < seen; j += kLanes) Store(s + j, Cap(Load(s + j), cap));
    }
    if (hidden >= seen) seen = 0;
    for (int n = 0; n < Least(hidden, seen); ++n) s[n] = -__builtin_inff();
    F top = Set(-__builtin_inff());
    for (int j = 0; j < seen; j += kLanes) {
      // Slots past `seen` may hold anything: they are selected away, never multiplied.
      if (j + kLanes > seen) {
        for (int n = seen; n < j + kLanes; ++n) s[n] = -__builtin_inff();
      }
      top = Max(Load(s + j), top);
    }
    const float piece = seen > 0 ? MaxOf(top) : -__builtin_inff();
    const float now = piece > u->top[i] ? piece : u->top[i];
    factor[i] = 1.0f;
    if (now != u->top[i]) {
      alignas(kTail) float wide[kLanes];
      Store(wide, Exp(Set(u->top[i] - now)));
      factor[i] = u->sum[i] == 0.0f ? 0.0f : wide[0];
    }
    u->top[i] = now;
    F sum = Set(0.0f);
    for (int j = 0; j < tokens; j += kLanes) {
      const F p = j < seen ? First(Exp(Load(s + j) - Set(now)), seen - j) : Set(0.0f);
      sum = sum + p;
      Store(s + j, p);
    }
    for (int n = 0; n < Least(hidden, seen); ++n) s[n] = 0.0f;  // was e^-87
    u->sum[i] = u->sum[i] * factor[i] + SumOf(sum);
  }
}

// Where the keys and values of one KV head at `token` lie.
template <class Kv>
struct Place {
  const typename Kv::Element *k, *v;
};
template <class Kv>
inline Place<Kv> PlaceOf(const AttentionArgs& a, const int* pages, int kv_head, int token) {
  const int64_t page = int64_t{pages[token / a.page_tokens]} * a.kv_heads + kv_head;
  const int slot = token % a.page_tokens;
  return {static_cast<const typename Kv::Element*>(a.k_cache) + page * a.head_dim * KeyStride(a.page_tokens) + slot,
          static_cast<const typename Kv::Element*>(a.v_cache) + (page * a.page_tokens + slot) * a.head_dim};
}

// Pages lie anywhere, and a piece of one is too short for the hardware to find a stream: each would cost a few memory
// latencies. So the next piece is asked for while this one is worked on. (Always inlined: GCC takes a function of
// prefetches alone for one without effect and drops its calls.)
template <class Kv>
[[gnu::always_inline]] inline void Prefetch(const AttentionArgs& a, const Place<Kv>& at) {
  constexpr int kLine = 64 / static_cast<int>(sizeof(typename Kv::Element));
  for (int d = 0; d < a.head_dim; ++d) {
    for (int j = 0; j < kPiece; j += kLine) __builtin_prefetch(at.k + d * KeyStride(a.page_tokens) + j, 0, 2);
  }
  for (int i = 0; i < Least(kPiece, a.page_tokens) * a.head_dim; i += kLine) __builtin_prefetch(at.v + i, 0, 2);
}

template <class Kv>
inline void RunUnit(const AttentionArgs& a, Unit* u, int sequence, int kv_head, int begin, int end) {
  const int key_stride = KeyStride(a.page_tokens);
  const int* pages = a.page_table + int64_t{sequence} * a.max_pages;
  for (int i = 0; i < u->queries; ++i) {
    u->top[i] = -__builtin_inff();
    u->sum[i] = 0.0f;
  }
  for (int i = 0; i < u->queries * a.head_dim; ++i) u->mix[i] = 0.0f;
  float factor[kQueries];
  if (u->queries <= kTile && begin < end) Prefetch(a, PlaceOf<Kv>(a, pages, kv_head, begin));
  for (int token = begin; token < end;) {
    const int in_page = token % a.page_tokens;
    const int tokens = Least(Least(kPiece - in_page % kPiece, a.page_tokens - in_page), end - token);
    const Place<Kv> at = PlaceOf<Kv>(a, pages, kv_head, token);
    const auto *k = at.k, *v = at.v;
    // With many queries the piece is worked on for longer than it takes to come, and the other rows have fetched it.
    if (u->queries <= kTile && token + tokens < end) Prefetch(a, PlaceOf<Kv>(a, pages, kv_head, token + tokens));
    int i = 0;
    for (; i + kTile <= u->queries; i += kTile) AllScores<Kv, kTile>(u, i, k, key_stride, a.head_dim, tokens, a.scale);
    if (u->queries - i == 3) AllScores<Kv, 3>(u, i, k, key_stride, a.head_dim, tokens, a.scale);
    if (u->queries - i == 2) AllScores<Kv, 2>(u, i, k, key_stride, a.head_dim, tokens, a.scale);
    if (u->queries - i == 1) AllScores<Kv, 1>(u, i, k, key_stride, a.head_dim, tokens, a.scale);
    Soften(u, token, tokens, a.cap, factor);
    i = 0;
    for (; i + kTile <= u->queries; i += kTile) AllMix<Kv, kTile>(u, i, factor, v, a.head_dim, tokens);
    if (u->queries - i == 3) AllMix<Kv, 3>(u, i, factor, v, a.head_dim, tokens);
    if (u->queries - i == 2) AllMix<Kv, 2>(u, i, factor, v, a.head_dim, tokens);
    if (u->queries - i == 1) AllMix<Kv, 1>(u, i, factor, v, a.head_dim, tokens);
    token += tokens;
  }
}

template <class Kv>
void Attention(const AttentionArgs& a, int thread, int threads) {
  const int group = a.heads / a.kv_heads;
  const int head_step = Least(group, kQueries);
  const int row_step = Most(1, kQueries / group);
  Unit u;
  int number = 0;
  for (int row = 0; row < a.m;) {
    int rows = 1;
    while (rows < row_step && row + rows < a.m && a.sequences[row + rows] == a.sequences[row]) ++rows;
    const int longest = a.positions[row + rows - 1] + 1;
    for (int kv_head = 0; kv_head < a.kv_heads; ++kv_head) {
      for (int first = 0; first < group; first += head_step) {
        for (int split = 0; split < a.splits; ++split, ++number) {
          if (number % threads != thread) continue;
          const int heads = Least(head_step, group - first), head = kv_head * group + first;
          u.queries = rows * heads;
          for (int i = 0; i < u.queries; ++i) {
            u.q[i] = static_cast<const float*>(a.q) + int64_t{row + i / heads} * a.q_stride +
                     (head + i % heads) * a.head_dim;
            u.visible[i] = a.positions[row + i / heads] + 1;
            u.hidden[i] = a.window > 0 ? u.visible[i] - a.window : 0;
          }
          // Pieces that the window of no row reaches are skipped.
          const int skipped = Most(u.hidden[0], 0) / kPiece;
          const Range pieces = RangeOf((longest + kPiece - 1) / kPiece - skipped, split, a.splits);
          RunUnit<Kv>(a, &u, a.sequences[row], kv_head, (skipped + pieces.begin) * kPiece,
                      Least(longest, (skipped + pieces.end) * kPiece));
          for (int i = 0; i < u.queries; ++i) {
            const int64_t at = int64_t{row + i / heads} * a.heads + head + i % heads;
            const float* mix = u.mix + i * a.head_dim;
            if (a.splits == 1) {
              float* y = static_cast<float*>(a.y) + at * a.head_dim;
              for (int d = 0; d < a.head_dim; ++d) y[d] = mix[d] / u.sum[i];
            } else {
              float* part = a.partial + (at * a.splits + split) * (a.head_dim + 2);
              for (int d = 0; d < a.head_dim; ++d) part[d] = mix[d];
              part[a.head_dim] = u.top[i];
              part[a.head_dim + 1] = u.sum[i];
            }
          }
        }
      }
    }
    row += rows;
  }
}

// Stores kLanes values of head_dim columns from `d` on, as the cache's type.
inline void StoreCached(float* p, const float* v, int count) {
  for (int i = 0; i < count; ++i) p[i] = v[i];
}
inline void StoreCached(uint16_t* p, const float* v, int count) {
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) StoreHalf(p + i, Load(v + i));
  if (i < count) {
    alignas(kTail) uint16_t part[kLanes];
    StoreHalf(part, LoadFirst(v + i, count - i));
    for (int j = 0; i + j < count; ++j) p[i + j] = part[j];
  }
}

// Rotates one head by cos[i], sin[i] into `y`, which may be x.
inline void Rotate(const float* x, const float* cosine, const float* sine, bool interleaved, int half, float* y) {
  if (interleaved) {
    for (int i = 0; i < half; ++i) {
      const float a = x[2 * i], b = x[2 * i + 1];
      y[2 * i] = a * cosine[i] - b * sine[i];
      y[2 * i + 1] = b * cosine[i] + a * sine[i];
    }
    return;
  }
  int i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const F a = Load(x + i), b = Load(x + half + i), c = Load(cosine + i), s = Load(sine + i);
    Store(y + i, a * c - b * s);
    Store(y + half + i, b * c + a * s);
  }
  for (; i < half; ++i) {
    const float a = x[i], b = x[half + i];
    y[i] = a * cosine[i] - b * sine[i];
    y[half + i] = b * cosine[i] + a * sine[i];
  }
}

template <class E>
void RopeStore(const RopeStoreArgs& a, int thread, int threads) {
  const int half = a.rotary / 2, units = a.heads + a.kv_heads;
  const int key_stride = KeyStride(a.page_tokens);
  const Range range = RangeOf(a.m * units, thread, threads);
  alignas(kTail) float cosine[kWidestHead / 2], sine[kWidestHead / 2], key[kWidestHead];
  E cached[kWidestHead];
  int angles_of = -1;
  for (int u = range.begin; u < range.end; ++u) {
    const int row = u / units, head = u % units, position = a.positions[row];
    if (angles_of != row) {
      angles_of = row;
      for (int i = 0; i < half; ++i) {
        cosine[i] = a.cos_sin[(int64_t{a.rope_rows[row]} * half + i) * 2];
        sine[i] = a.cos_sin[(int64_t{a.rope_rows[row]} * half + i) * 2 + 1];
      }
    }
    if (head < a.heads) {
      float* q = static_cast<float*>(a.q) + int64_t{row} * a.stride + head * a.head_dim;
      Rotate(q, cosine, sine, a.interleaved != 0, half, q);
      continue;
    }
    const int kv_head = head - a.heads;
    const int slot = position % a.page_tokens;
    const int64_t page =
        int64_t{a.page_table[int64_t{a.sequences[row]} * a.max_pages + position / a.page_tokens]} * a.kv_heads +
        kv_head;
    const float* k = static_cast<const float*>(a.k) + int64_t{row} * a.stride + kv_head * a.head_dim;
    const float* v = static_cast<const float*>(a.v) + int64_t{row} * a.stride + kv_head * a.head_dim;
    Rotate(k, cosine, sine, a.interleaved != 0, half, key);
    for (int d = 2 * half; d < a.head_dim; ++d) key[d] = k[d];
    StoreCached(cached, key, a.head_dim);
    E* k_page = static_cast<E*>(a.k_cache) + page * a.head_dim * key_stride + slot;
    for (int d = 0; d < a.head_dim; ++d) k_page[int64_t{d} * key_stride] = cached[d];
    StoreCached(static_cast<E*>(a.v_cache) + (page * a.page_tokens + slot) * a.head_dim, v, a.head_dim);
  }
}

}  // namespace

void AttentionF32(const AttentionArgs& a, int thread, int threads) { Attention<Single>(a, thread, threads); }
void AttentionF16(const AttentionArgs& a, int thread, int threads) { Attention<Half>(a, thread, threads); }
void RopeStoreF32(const RopeStoreArgs& a, int thread, int threads) { RopeStore<float>(a, thread, threads); }
void RopeStoreF16(const RopeStoreArgs& a, int thread, int threads) { RopeStore<uint16_t>(a, thread, threads); }

void Combine(const AttentionArgs& a, int thread, int threads) {
  const Range range = RangeOf(a.m * a.heads, thread, threads);
  for (int i = range.begin; i < range.end; ++i) {
    const float* parts = a.partial + int64_t{i} * a.splits * (a.head_dim + 2);
    float* y = static_cast<float*>(a.y) + int64_t{i} * a.head_dim;
    float top = -__builtin_inff(), sum = 0.0f;
    for (int s = 0; s < a.splits; ++s) {
      const float* part = parts + s * (a.head_dim + 2);
      if (part[a.head_dim + 1] != 0.0f && part[a.head_dim] > top) top = part[a.head_dim];
    }
    for (int d = 0; d < a.head_dim; ++d) y[d] = 0.0f;
    for (int s = 0; s < a.splits; ++s) {
      const float* part = parts + s * (a.head_dim + 2);
      if (part[a.head_dim + 1] == 0.0f) continue;  // an empty split
      alignas(kTail) float factor[kLanes];
      Store(factor, Exp(Set(part[a.head_dim] - top)));
      sum += part[a.head_dim + 1] * factor[0];
      for (int d = 0; d < a.head_dim; ++d) y[d] += part[d] * factor[0];
    }
    for (int d = 0; d < a.head_dim; ++d) y[d] = y[d] / sum;
  }
}

}  // namespace unimax::UM_ISA
