// SPDX-License-Identifier: Apache-2.0
// What a token weighs in a draw, as whole numbers: sums of them are the same in any order, so that the sampler of the
// host and that of a device (kernels/gpu/draw.h) choose the same token, bit for bit.
//
// The mass of a logit x is exp(x - largest) * 2^DrawBits, rounded to a whole number. With 2^44 an id's probability is
// off by at most 2^-45 of the largest one's. No includes: this header is also compiled for GPUs. `Exact` has Mul and
// Add of two doubles, each rounded by itself and never fused.
#pragma once

namespace unimax {

// So that the masses of a vocabulary add up to at most 2^62.
constexpr int DrawBits(int vocabulary) {
  int bits = 62;
  for (int n = vocabulary; n > 1; n = (n + 1) / 2) --bits;
  return bits < 44 ? bits : 44;
}
constexpr double DrawScale(int vocabulary) { return static_cast<double>(1ull << DrawBits(vocabulary)); }

// exp(d) for d <= 0 within 1e-15 of the value; 0 below -708. Without branches and calls, so that compilers make
// vectors of it: the usual 2^k * e^r with |r| <= ln 2 / 2 and Taylor's polynomial of degree 11, whose rest is 6e-15.
template <class Exact>
constexpr double DrawExp(double d) {
  const double x = d < -708.0 ? -708.0 : d;
  const double shifted = Exact::Add(Exact::Mul(x, 1.4426950408889634), 0x1.8p52);  // the low bits of its mantissa are k
  const double k = shifted - 0x1.8p52;
  const double high = Exact::Add(x, -Exact::Mul(k, 0x1.62e42fefa3800p-1));
  const double r = Exact::Add(high, -Exact::Mul(k, 0x1.ef35793c76730p-45));
  double e = 1.0 / 39916800;
  e = Exact::Add(Exact::Mul(e, r), 1.0 / 3628800);
  e = Exact::Add(Exact::Mul(e, r), 1.0 / 362880);
  e = Exact::Add(Exact::Mul(e, r), 1.0 / 40320);
  e = Exact::Add(Exact::Mul(e, r), 1.0 / 5040);
  e = Exact::Add(Exact::Mul(e, r), 1.0 / 720);
  e = Exact::Add(Exact::Mul(e, r), 1.0 / 120);
  e = Exact::Add(Exact::Mul(e, r), 1.0 / 24);
  e = Exact::Add(Exact::Mul(e, r), 1.0 / 6);
  e = Exact::Add(Exact::Mul(e, r), 0.5);
  e = Exact::Add(Exact::Mul(e, r), 1.0);
  e = Exact::Add(Exact::Mul(e, r), 1.0);
  const double power = __builtin_bit_cast(double, (__builtin_bit_cast(unsigned long long, shifted) + 1023) << 52);
  return d < -708.0 ? 0.0 : Exact::Mul(e, power);
}

// The mass of a candidate `d` = x - largest below the best; scale: DrawScale.
template <class Exact>
constexpr unsigned long long DrawMass(double d, double scale) {
  // Adding 2^52 leaves the number, rounded to nearest even, in the low bits of the mantissa.
  const double shifted = Exact::Add(Exact::Mul(DrawExp<Exact>(d), scale), 0x1p52);
  return __builtin_bit_cast(unsigned long long, shifted) - __builtin_bit_cast(unsigned long long, 0x1p52);
}

// Top-p: of candidates with the mass `total`, those go whose mass, with that of all worse ones, is at most (1 - p) *
// total; so those stay that have less than this above them. At least 1: the best one stays.
constexpr unsigned long long DrawKept(double p, unsigned long long total) {
  const auto budget = static_cast<unsigned long long>((1 - p) * static_cast<double>(total));
  return budget < total ? total - budget : 1;
}

// The draw takes the first id, in the order of ids, that brings the sum of masses above this; uniform in [0, 1).
constexpr unsigned long long DrawTarget(double uniform, unsigned long long total) {
  const auto target = static_cast<unsigned long long>(uniform * static_cast<double>(total));
  return target < total ? target : total - 1;
}

}  // namespace unimax
