// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_complex.h"

#include <cmath>

namespace unimax::jinja {
namespace {

Complex Of(const Value& v) { return v.Is(Kind::kComplex) ? v.z : Complex{v.AsDouble(), 0}; }
Value Made(Complex z) { return Value::OfComplex(z); }

Complex Product(Complex a, Complex b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }

// By the larger part of the divisor (R. L. Smith, 1962), which keeps squares from overflowing.
Value Quotient(Complex a, Complex b) {
  if (std::abs(b.re) >= std::abs(b.im)) {
    if (b.re == 0) return Value::Missing();
    const double ratio = b.im / b.re, divisor = b.re + b.im * ratio;
    return Made({(a.re + a.im * ratio) / divisor, (a.im - a.re * ratio) / divisor});
  }
  const double ratio = b.re / b.im, divisor = b.re * ratio + b.im;
  return Made({(a.re * ratio + a.im) / divisor, (a.im * ratio - a.re) / divisor});
}

// By squares, as Python does for whole exponents up to 100.
Value WholePower(Complex a, int n) {
  Complex result{1, 0}, square = a;
  for (int rest = std::abs(n); rest > 0; rest /= 2) {
    if (rest % 2 != 0) result = Product(result, square);
    square = Product(square, square);
  }
  return n < 0 ? Quotient({1, 0}, result) : Made(result);
}

Value Power(Complex a, Complex b) {
  constexpr double kWhole = 100;
  if (b.im == 0 && b.re == std::floor(b.re) && std::abs(b.re) <= kWhole) {
    return a.re == 0 && a.im == 0 && b.re < 0 ? Value::Missing() : WholePower(a, static_cast<int>(b.re));
  }
  if (a.re == 0 && a.im == 0) return b.im != 0 || b.re < 0 ? Value::Missing() : Made({0, 0});
  const double length = std::hypot(a.re, a.im), angle = std::atan2(a.im, a.re);
  double size = std::pow(length, b.re), turn = angle * b.re;
  if (b.im != 0) {
    size *= std::exp(-angle * b.im);
    turn += b.im * std::log(length);
  }
  return Made({size * std::cos(turn), size * std::sin(turn)});
}

}  // namespace

Value ComplexOp(Op op, const Value& a, const Value& b) {
  const Complex x = Of(a), y = Of(b);
  switch (op) {
    case Op::kAdd:
      return Made({x.re + y.re, x.im + y.im});
    case Op::kSub:
      return Made({x.re - y.re, x.im - y.im});
    case Op::kMul:
      return Made(Product(x, y));
    case Op::kDiv:
      return Quotient(x, y);
    case Op::kPow: {
      const Value power = Power(x, y);
      const bool finite = !power.Is(Kind::kComplex) || (std::isfinite(power.z.re) && std::isfinite(power.z.im));
      return finite ? power : Value::Missing();
    }
    case Op::kFloorDiv:
    case Op::kMod:
      return {};
  }
  return {};
}

std::string ComplexText(const Value& v) {
  const auto digits = [](double x) {
    std::string text = FloatText(x);
    if (text.ends_with(".0")) text.resize(text.size() - 2);
    return text;
  };
  const std::string imaginary = digits(v.z.im) + "j";
  if (v.z.re == 0 && !std::signbit(v.z.re)) return imaginary;
  const char* sign = imaginary[0] == '-' ? "" : "+";
  return "(" + digits(v.z.re) + sign + imaginary + ")";
}

Value Negated(const Value& v) { return Made({-v.z.re, -v.z.im}); }
double Absolute(const Value& v) { return std::hypot(v.z.re, v.z.im); }

}  // namespace unimax::jinja
