// SPDX-License-Identifier: Apache-2.0
// Tests ("is ...") and filters on numbers.
#include <charconv>
#include <cmath>

#include "text/jinja_complex.h"
#include "text/jinja_interp.h"
#include "text/jinja_text_tools.h"
#include "text/utf8.h"

namespace unimax::jinja {
namespace {

using In = Interpreter;

template <bool (*is)(const Value&)>
Result<bool> Simple(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {}, 0));
  return is(self);
}

bool Defined(const Value& v) { return !v.IsUndefined(); }
bool Undefined(const Value& v) { return v.IsUndefined(); }
bool None(const Value& v) { return v.Is(Kind::kNone); }
bool Boolean(const Value& v) { return v.Is(Kind::kBool); }
bool True(const Value& v) { return v.Is(Kind::kBool) && v.b; }
bool False(const Value& v) { return v.Is(Kind::kBool) && !v.b; }
bool Integer(const Value& v) { return v.Is(Kind::kInt); }
bool Float(const Value& v) { return v.Is(Kind::kFloat); }
bool Number(const Value& v) { return v.IsNumber() || v.Is(Kind::kComplex); }
bool String(const Value& v) { return v.Is(Kind::kText); }
bool Mapping(const Value& v) { return v.Is(Kind::kDict); }
bool Sequence(const Value& v) { return v.IsUndefined() || v.IsSequence() || v.Is(Kind::kDict) || v.Is(Kind::kText); }
bool Iterable(const Value& v) {
  return Sequence(v) || v.Is(Kind::kGenerator) || v.Is(Kind::kDictView) || v.Is(Kind::kLoop);
}
bool Escaped(const Value& v) { return v.markup(); }
bool Callable(const Value& v) {
  // An undefined value can be called, which is then an error.
  return v.IsUndefined() || v.Is(Kind::kMacro) || v.Is(Kind::kMethod) || v.Is(Kind::kFunction) || v.Is(Kind::kJoiner) ||
         v.Is(Kind::kLoop);
}
bool Upper(const Value& v) {
  const Text t = ToText(v);
  return UpperOf(t).bytes() == t.bytes() && LowerOf(t).bytes() != t.bytes();
}
bool Lower(const Value& v) {
  const Text t = ToText(v);
  return LowerOf(t).bytes() == t.bytes() && UpperOf(t).bytes() != t.bytes();
}

// Whether a filter or a test has this name, which Python looks up in a dict.
template <class Row, const Row* (*find)(std::string_view)>
Result<bool> IsNamed(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {}, 0));
  const bool container = self.Is(Kind::kList) || self.Is(Kind::kDict) || self.Is(Kind::kTuple);
  if (container && !HashKey(self)) return in.Error(fmt::format("unhashable type: '{}'", TypeName(self)));
  return self.Is(Kind::kText) && find(self.bytes()) != nullptr;
}

Result<bool> Modulo(In& in, const Value& self, Int by, Int wanted) {
  UM_ASSIGN_OR_RETURN(const Value m, in.Binary(Op::kMod, self, Value::Integer(by)));
  return Equal(m, Value::Integer(wanted));
}
Result<bool> Odd(In& in, const Value& self, const Args&) { return Modulo(in, self, 2, 1); }
Result<bool> Even(In& in, const Value& self, const Args&) { return Modulo(in, self, 2, 0); }
Result<bool> DivisibleBy(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"num"}, 1));
  UM_ASSIGN_OR_RETURN(const Value m, in.Binary(Op::kMod, self, a[0]));
  return !Truthy(m);
}

template <Cmp cmp>
Result<bool> Compared(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"other"}, 1));
  return in.Compare(cmp, self, a[0]);
}

Result<bool> SameAs(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"other"}, 1));
  return self.kind == a[0].kind && Equal(self, a[0]);
}

constexpr TestRow kTests[] = {
    {"defined", Simple<Defined>},
    {"undefined", Simple<Undefined>},
    {"none", Simple<None>},
    {"boolean", Simple<Boolean>},
    {"true", Simple<True>},
    {"false", Simple<False>},
    {"integer", Simple<Integer>},
    {"float", Simple<Float>},
    {"number", Simple<Number>},
    {"string", Simple<String>},
    {"mapping", Simple<Mapping>},
    {"sequence", Simple<Sequence>},
    {"iterable", Simple<Iterable>},
    {"escaped", Simple<Escaped>},
    {"callable", Simple<Callable>},
    {"upper", Simple<Upper>},
    {"lower", Simple<Lower>},
    {"filter", IsNamed<FilterRow, FindFilter>},
    {"test", IsNamed<TestRow, FindTest>},
    {"odd", Odd},
    {"even", Even},
    {"divisibleby", DivisibleBy},
    {"sameas", SameAs},
    {"eq", Compared<Cmp::kEq>},
    {"equalto", Compared<Cmp::kEq>},
    {"==", Compared<Cmp::kEq>},
    {"ne", Compared<Cmp::kNe>},
    {"!=", Compared<Cmp::kNe>},
    {"lt", Compared<Cmp::kLt>},
    {"lessthan", Compared<Cmp::kLt>},
    {"<", Compared<Cmp::kLt>},
    {"le", Compared<Cmp::kLe>},
    {"<=", Compared<Cmp::kLe>},
    {"gt", Compared<Cmp::kGt>},
    {"greaterthan", Compared<Cmp::kGt>},
    {">", Compared<Cmp::kGt>},
    {"ge", Compared<Cmp::kGe>},
    {">=", Compared<Cmp::kGe>},
    {"in", Compared<Cmp::kIn>},
};

std::string Trimmed(const Value& v) { return StripOf(v.text(), std::nullopt, true, true).bytes(); }

std::optional<double> ParseFloat(std::string text) {
  std::erase(text, '_');
  const char* begin = text.c_str() + (text.starts_with('+') ? 1 : 0);
  double v = 0;
  const auto [end, error] = std::from_chars(begin, text.c_str() + text.size(), v);
  if (error != std::errc() || end != text.c_str() + text.size() || begin == end) return std::nullopt;
  return v;
}

std::optional<Int> ParseInt(std::string text, int base) {
  std::erase(text, '_');
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.erase(0, 1);
  const char mark = text.size() > 2 && text[0] == '0' ? static_cast<char>(text[1] | 0x20) : '\0';
  const int marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
  if (marked != 0 && (base == marked || base == 0)) {
    text.erase(0, 2);
    base = marked;
  }
  if (base == 0) base = 10;
  if (text.empty()) return std::nullopt;
  Int v = 0;
  for (char c : text) {
    const int digit = c >= '0' && c <= '9'                     ? c - '0'
                      : (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? (c | 0x20) - 'a' + 10
                                                               : 99;
    if (digit >= base || __builtin_mul_overflow(v, Int{base}, &v) || __builtin_add_overflow(v, Int{digit}, &v)) {
      return std::nullopt;
    }
  }
  return negative ? -v : v;
}

Result<Value> ToInt(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"default", "base"}, 0));
  const Value fallback = a[0].IsMissing() ? Value::Integer(0) : a[0];
  double real = 0;
  if (self.IsUndefined()) return in.Error("int: the value is undefined");
  if (self.IsInteger()) return Value::Integer(self.AsInt());
  if (self.Is(Kind::kText)) {
    const Int base = a[1].IsInteger() ? a[1].AsInt() : 10;
    if (base != 0 && (base < 2 || base > 36)) return fallback;
    const auto v = ParseInt(Trimmed(self), static_cast<int>(base));
    if (v) return Value::Integer(*v);
    const auto parsed = ParseFloat(Trimmed(self));
    if (!parsed) return fallback;
    real = *parsed;
  } else if (self.Is(Kind::kFloat)) {
    real = self.d;
  } else {
    return fallback;
  }
  return std::isfinite(real) && std::abs(real) < 1e38 ? Value::Integer(static_cast<Int>(real)) : fallback;
}

Result<Value> ToFloat(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"default"}, 0));
  if (self.IsUndefined()) return in.Error("float: the value is undefined");
  if (self.IsNumber()) return Value::Float(self.AsDouble());
  if (self.Is(Kind::kText)) {
    const auto v = ParseFloat(Trimmed(self));
    if (v) return Value::Float(*v);
  }
  return a[0].IsMissing() ? Value::Float(0.0) : a[0];
}

Result<Value> Round(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"precision", "method"}, 0));
  Int precision = 0;
  if (!a[0].IsMissing()) {
    UM_ASSIGN_OR_RETURN(precision, in.IntOf(a[0]));
  }
  const std::string method = a[1].IsMissing() ? "common" : ToText(a[1]).bytes();
  if (!self.IsNumber()) return in.Error("round needs a number");
  if (method != "common" && method != "ceil" && method != "floor")
    return in.Error("method must be common, ceil or floor");
  if (precision < -30 || precision > 30) return self;
  const int digits = static_cast<int>(precision);
  const double scale = std::pow(10.0, digits);
  if (method != "common") {
    const double scaled = self.AsDouble() * scale;
    return Value::Float((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
  }
  if (self.IsInteger() && digits >= 0) return Value::Integer(self.AsInt());
  if (self.IsInteger()) {
    Int unit = 1;
    for (int i = 0; i < -digits; ++i) unit *= 10;
    const Int v = self.AsInt();
    const Int rest = ((v % unit) + unit) % unit;
    Int base = v - rest;
    if (rest * 2 > unit || (rest * 2 == unit && (base / unit) % 2 != 0)) base += unit;
    return Value::Integer(base);
  }
  if (!std::isfinite(self.d)) return self;
  if (digits < 0) return Value::Float(std::nearbyint(self.d * scale) / scale);
  // Decimal rounding of the exact value, ties to even, as Python does.
  const std::string text = fmt::format("{:.{}f}", self.d, digits);
  return Value::Float(std::strtod(text.c_str(), nullptr));
}

Result<Value> Abs(In& in, const Value& self, const Args&) {
  if (self.Is(Kind::kComplex)) return Value::Float(Absolute(self));
  if (!self.IsNumber()) return in.Error(fmt::format("bad operand type for abs(): '{}'", TypeName(self)));
  if (self.Is(Kind::kFloat)) return Value::Float(std::abs(self.d));
  return self.AsInt() < 0 ? in.Binary(Op::kSub, Value::Integer(0), self) : Value::Integer(self.AsInt());
}

Result<Value> FileSize(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"binary"}, 0));
  UM_ASSIGN_OR_RETURN(const Value number, ToFloat(in, self, {}));
  const bool binary = Truthy(a[0]);
  const double base = binary ? 1024 : 1000;
  const double bytes = number.AsDouble();
  if (bytes == 1) return in.heap().String("1 Byte");
  if (bytes < base) return in.heap().String(fmt::format("{} Bytes", static_cast<int>(bytes)));
  double unit = base;
  constexpr std::string_view kPrefixes = "kMGTPEZY";
  size_t i = 0;
  while (i + 1 < kPrefixes.size() && bytes >= unit * base) {
    unit *= base;
    ++i;
  }
  const char prefix = binary && kPrefixes[i] == 'k' ? 'K' : kPrefixes[i];
  return in.heap().String(fmt::format("{:.1f} {}{}", bytes / unit, prefix, binary ? "iB" : "B"));
}

constexpr FilterRow kNumberFilters[] = {
    {"int", ToInt}, {"float", ToFloat}, {"round", Round}, {"abs", Abs}, {"filesizeformat", FileSize}};

}  // namespace

std::span<const TestRow> Tests() { return kTests; }
std::span<const FilterRow> NumberFilters() { return kNumberFilters; }

const TestRow* FindTest(std::string_view name) {
  for (const TestRow& row : kTests) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

}  // namespace unimax::jinja
