// SPDX-License-Identifier: Apache-2.0
// The words of vec.h for AVX2 with FMA and F16C: 8 lanes.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace unimax::UM_ISA {

inline constexpr int kLanes = 8;
inline constexpr int kTokenTile = 4;  // 2 * 4 accumulators of 16 registers
inline constexpr int kValueTile = 2;
inline constexpr uint8_t kByteFlip = 0;
using F = __m256;
using I = __m256i;

inline F Load(const float* p) { return _mm256_loadu_ps(p); }
inline void Store(float* p, F v) { _mm256_storeu_ps(p, v); }
inline F LoadHalf(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline void StoreHalf(uint16_t* p, F v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
inline F LoadBrain(const uint16_t* p) {
  const __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
inline F Set(float v) { return _mm256_set1_ps(v); }
inline F Fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
inline F Max(F a, F b) { return _mm256_max_ps(a, b); }
inline F Min(F a, F b) { return _mm256_min_ps(a, b); }
inline F Abs(F a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
inline F Round(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline F Scale(F a, F n) {  // n from -126 to 127
  const __m256i e = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_mul_ps(a, _mm256_castsi256_ps(e));
}
inline F First(F a, int count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane)));
}
inline float SumOf(F a) {
  __m128 v = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  v = _mm_add_ps(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
}
inline float MaxOf(F a) {
  __m128 v = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  v = _mm_max_ps(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)));
}
inline void StoreBytes(int8_t* p, F whole) {
  const __m256i v = _mm256_cvtps_epi32(whole);
  const __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(h, h));
}

// Nibbles: 8 steps of two products of at most 15 * 127 stay below 2^15, so a block sums in 16 bits.
// Bytes: |w| <= 128 times 127, twice, is 32512: one step fits, then it is widened.
struct Dots {
  __m256i sum;
};
inline I LoadWeights(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline I LowNibbles(I w) { return _mm256_and_si256(w, _mm256_set1_epi8(15)); }
inline I HighNibbles(I w) { return _mm256_and_si256(_mm256_srli_epi16(w, 4), _mm256_set1_epi8(15)); }
inline I FourColumns(const int8_t* x) {
  int32_t v;
  __builtin_memcpy(&v, x, 4);
  return _mm256_set1_epi32(v);
}
inline Dots NoDots() { return {_mm256_setzero_si256()}; }
inline void AddNibbles(Dots* d, I w, I x) { d->sum = _mm256_add_epi16(d->sum, _mm256_maddubs_epi16(w, x)); }
inline void AddBytes(Dots* d, I w, I x) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
  d->sum = _mm256_add_epi32(d->sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
inline F NibbleDots(Dots d, int32_t offset) {
  const __m256i sum = _mm256_madd_epi16(d.sum, _mm256_set1_epi16(1));
  return _mm256_cvtepi32_ps(_mm256_add_epi32(sum, _mm256_set1_epi32(offset)));
}
inline F ByteDots(Dots d, int32_t offset) {
  return _mm256_cvtepi32_ps(_mm256_add_epi32(d.sum, _mm256_set1_epi32(offset)));
}

}  // namespace unimax::UM_ISA
