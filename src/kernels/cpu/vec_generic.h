// SPDX-License-Identifier: Apache-2.0
// The words of vec.h in the compilers' own vector types: 4 lanes, any processor.
#pragma once

#include <cstdint>

namespace unimax::UM_ISA {

inline constexpr int kLanes = 4;
inline constexpr int kTokenTile = 4;
inline constexpr int kValueTile = 2;
inline constexpr uint8_t kByteFlip = 0;
using F = float __attribute__((vector_size(16)));
using I = int32_t __attribute__((vector_size(16)));
using H = int16_t __attribute__((vector_size(16)));

template <class To, class From>
inline To Bits(From v) {
  static_assert(sizeof(To) == sizeof(From));
  To out;
  __builtin_memcpy(&out, &v, sizeof(out));
  return out;
}
template <class V>
inline V LoadAs(const void* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}

inline F Load(const float* p) { return LoadAs<F>(p); }
inline void Store(float* p, F v) { __builtin_memcpy(p, &v, sizeof(v)); }
inline I LoadWords(const uint16_t* p) { return I{p[0], p[1], p[2], p[3]}; }
inline F Set(float v) { return F{v, v, v, v}; }
inline F LoadHalf(const uint16_t* p) {
  const I h = LoadWords(p);
  // The exponent is moved by a multiplication, which also gets subnormals right; infinities and NaNs apart.
  const F finite = Bits<F>((h & 0x7fff) << 13) * Set(0x1p112f);
  const I special = ((h & 0x7c00) == 0x7c00) & I{0x7f800000, 0x7f800000, 0x7f800000, 0x7f800000};
  return Bits<F>(Bits<I>(finite) | special | ((h & 0x8000) << 16));
}
inline uint16_t HalfOf(float value) {  // nearest, ties to even
  const uint32_t u = Bits<uint32_t>(value);
  const uint32_t sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
  if (a > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (a >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (a < 0x38800000u) return static_cast<uint16_t>(sign | (Bits<uint32_t>(Bits<float>(a) + 0.5f) - 0x3f000000u));
  const uint32_t r = a - 0x38000000u;
  return static_cast<uint16_t>(sign | ((r + 0x0fffu + ((r >> 13) & 1u)) >> 13));
}
inline void StoreHalf(uint16_t* p, F v) {
  for (int i = 0; i < kLanes; ++i) p[i] = HalfOf(v[i]);
}
inline F LoadBrain(const uint16_t* p) { return Bits<F>(LoadWords(p) << 16); }
inline F Fma(F a, F b, F c) { return a * b + c; }
inline F Choose(I yes, F a, F b) { return Bits<F>((Bits<I>(a) & yes) | (Bits<I>(b) & ~yes)); }
inline F Max(F a, F b) { return Choose(a > b, a, b); }
inline F Min(F a, F b) { return Choose(a < b, a, b); }
inline F Abs(F a) { return Bits<F>(Bits<I>(a) & 0x7fffffff); }
inline F Round(F a) {  // |a| < 2^22: the adder rounds at the last place
  const F magic = Set(0x1.8p23f);
  return (a + magic) - magic;
}
inline I Whole(F a) { return Bits<I>(a + Set(0x1.8p23f)) - 0x4b400000; }
inline F Scale(F a, F n) { return a * Bits<F>((Whole(n) + 127) << 23); }
inline F First(F a, int count) { return Bits<F>(Bits<I>(a) & (I{0, 1, 2, 3} < count)); }
inline float SumOf(F a) { return (a[0] + a[2]) + (a[1] + a[3]); }
inline float MaxOf(F a) {
  const float b = a[0] > a[1] ? a[0] : a[1], c = a[2] > a[3] ? a[2] : a[3];
  return b > c ? b : c;
}
inline void StoreBytes(int8_t* p, F whole) {
  const I v = Whole(whole);
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<int8_t>(v[i]);
}

// Even and odd columns are multiplied apart, in 16 bits; a block of nibbles sums to less than 2^15 there, a single step
// of bytes too.
struct Dots {
  I sum;
};
inline I LoadWeights(const uint8_t* p) { return LoadAs<I>(p); }
inline I LowNibbles(I w) { return w & 0x0f0f0f0f; }
inline I HighNibbles(I w) { return (w >> 4) & 0x0f0f0f0f; }
inline I FourColumns(const int8_t* x) {
  const int32_t v = LoadAs<int32_t>(x);
  return I{v, v, v, v};
}
inline H Even(I v) { return (Bits<H>(v) << 8) >> 8; }
inline H Odd(I v) { return Bits<H>(v) >> 8; }
inline I Pairs(H v) { return ((Bits<I>(v) << 16) >> 16) + (Bits<I>(v) >> 16); }
inline Dots NoDots() { return {I{0, 0, 0, 0}}; }
inline void AddNibbles(Dots* d, I w, I x) {
  d->sum = Bits<I>(static_cast<H>(Bits<H>(d->sum) + Even(w) * Even(x) + Odd(w) * Odd(x)));
}
inline void AddBytes(Dots* d, I w, I x) {
  d->sum = d->sum + Pairs(static_cast<H>(Even(w) * Even(x) + Odd(w) * Odd(x)));
}
inline F ToFloat(I v) { return __builtin_convertvector(v, F); }
inline F NibbleDots(Dots d, int32_t offset) { return ToFloat(Pairs(Bits<H>(d.sum)) + offset); }
inline F ByteDots(Dots d, int32_t offset) { return ToFloat(d.sum + offset); }

}  // namespace unimax::UM_ISA
