// SPDX-License-Identifier: Apache-2.0
// The words of vec.h for AVX-512 with VNNI: 16 lanes.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace unimax::UM_ISA {

inline constexpr int kLanes = 16;
inline constexpr int kTokenTile = 8;       // tokens that share one pass over packed weights: 2 * 8 accumulators of 32
inline constexpr int kValueTile = 4;       // vectors of a value row in flight
inline constexpr uint8_t kByteFlip = 128;  // VNNI wants the first factor unsigned
using F = __m512;
using I = __m512i;

inline F Load(const float* p) { return _mm512_loadu_ps(p); }
inline void Store(float* p, F v) { _mm512_storeu_ps(p, v); }
inline F LoadHalf(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline void StoreHalf(uint16_t* p, F v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
inline F LoadBrain(const uint16_t* p) {
  const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
inline F Set(float v) { return _mm512_set1_ps(v); }
inline F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
// Where an operand is not a number: b.
inline F Max(F a, F b) { return _mm512_max_ps(a, b); }
inline F Min(F a, F b) { return _mm512_min_ps(a, b); }
inline F Abs(F a) { return _mm512_abs_ps(a); }
inline F Round(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline F Scale(F a, F n) { return _mm512_scalef_ps(a, n); }  // a * 2^n
inline F First(F a, int count) {                             // lanes from `count` on become 0
  return _mm512_maskz_mov_ps(static_cast<__mmask16>(count >= 16 ? 0xffff : (1 << count) - 1), a);
}
inline float SumOf(F a) { return _mm512_reduce_add_ps(a); }
inline float MaxOf(F a) { return _mm512_reduce_max_ps(a); }
inline void StoreBytes(int8_t* p, F whole) {  // whole numbers in [-128, 127]
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(whole)));
}

// Integer dot products: a vector of weights holds 4 columns of each of kLanes rows.
struct Dots {
  __m512i sum;
};
inline I LoadWeights(const uint8_t* p) { return _mm512_loadu_si512(p); }
inline I LowNibbles(I w) { return _mm512_and_si512(w, _mm512_set1_epi8(15)); }
inline I HighNibbles(I w) { return _mm512_and_si512(_mm512_srli_epi16(w, 4), _mm512_set1_epi8(15)); }
inline I FourColumns(const int8_t* x) {
  int32_t v;
  __builtin_memcpy(&v, x, 4);
  return _mm512_set1_epi32(v);
}
inline Dots NoDots() { return {_mm512_setzero_si512()}; }
inline void AddNibbles(Dots* d, I w, I x) { d->sum = _mm512_dpbusd_epi32(d->sum, w, x); }
inline void AddBytes(Dots* d, I w, I x) { d->sum = _mm512_dpbusd_epi32(d->sum, w, x); }
inline F NibbleDots(Dots d, int32_t offset) {
  return _mm512_cvtepi32_ps(_mm512_add_epi32(d.sum, _mm512_set1_epi32(offset)));
}
inline F ByteDots(Dots d, int32_t offset) { return NibbleDots(d, offset); }

}  // namespace unimax::UM_ISA
