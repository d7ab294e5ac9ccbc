// SPDX-License-Identifier: Apache-2.0
// Python's "%" operator, str.format and strftime, as far as templates use them.
#include <algorithm>
#include <cmath>

#include "text/jinja_interp.h"
#include "text/jinja_text_tools.h"
#include "text/utf8.h"

namespace unimax::jinja {
namespace {

constexpr Int kMaxWidth = 1'000'000;

struct Spec {
  std::string fill = " ";
  char align = '\0';  // '<' '>' '^' '='
  bool plus = false, space = false, alternate = false, comma = false;
  Int width = 0;
  Int precision = -1;
  char type = '\0';
};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

Int ReadNumber(std::string_view s, size_t& at) {
  Int v = 0;
  while (at < s.size() && IsDigit(s[at])) v = std::min(v * 10 + (s[at++] - '0'), kMaxWidth);
  return v;
}

std::string IntDigits(Int v, int base, bool upper) {
  if (base == 10) {
    std::string digits = IntText(v);
    return v < 0 ? digits.substr(1) : digits;
  }
  const std::string_view signs = upper ? "0123456789ABCDEF" : "0123456789abcdef";
  auto rest = static_cast<unsigned __int128>(v);
  if (v < 0) rest = -rest;
  std::string out;
  while (rest != 0) {
    const auto digit = static_cast<size_t>(rest % static_cast<unsigned>(base));
    out += signs[digit];
    rest /= static_cast<unsigned>(base);
  }
  std::reverse(out.begin(), out.end());
  return out.empty() ? "0" : out;
}

// Digits of |v|, without sign.
Result<std::string> NumberDigits(Interpreter& in, const Value& v, const Spec& spec) {
  char type = spec.type;
  if (type == 'i' || type == 'u') type = 'd';
  std::string digits;
  if (type == 'd' || type == 'x' || type == 'X' || type == 'o' || type == 'b' || (type == '\0' && v.IsInteger())) {
    Int n = 0;
    if (v.IsInteger()) {
      n = v.AsInt();
    } else if (v.Is(Kind::kFloat) && std::isfinite(v.d) && std::abs(v.d) < 1e38) {
      n = static_cast<Int>(v.d);
    } else {
      return in.Error("format: a number is required");
    }
    const int base = type == 'o' ? 8 : type == 'b' ? 2 : type == 'x' || type == 'X' ? 16 : 10;
    digits = IntDigits(n, base, type == 'X');
    while (static_cast<Int>(digits.size()) < spec.precision && spec.precision <= 1000) digits.insert(0, 1, '0');
    if (spec.alternate && base != 10)
      digits.insert(0, base == 16 ? (type == 'X' ? "0X" : "0x") : base == 8 ? "0o" : "0b");
  } else {
    if (!v.IsNumber()) return in.Error("format: a number is required");
    const double d = std::abs(v.AsDouble());
    const int precision = static_cast<int>(std::min(spec.precision < 0 ? Int{6} : spec.precision, Int{400}));
    switch (type) {
      case 'f':
      case 'F':
        digits = fmt::format("{:.{}f}", d, precision);
        break;
      case '%':
        digits = fmt::format("{:.{}f}%", d * 100, precision);
        break;
      case 'e':
        digits = fmt::format("{:.{}e}", d, precision);
        break;
      case 'E':
        digits = fmt::format("{:.{}E}", d, precision);
        break;
      case 'g':
        digits = fmt::format("{:.{}g}", d, precision);
        break;
      case 'G':
        digits = fmt::format("{:.{}G}", d, precision);
        break;
      case '\0':
      case 'n':
        digits = spec.precision < 0 ? FloatText(d) : fmt::format("{:.{}g}", d, precision);
        break;
      default:
        return in.Error(fmt::format("format: unknown code '{}'", type));
    }
  }
  if (spec.comma) {
    const size_t dot = std::min(digits.find_first_not_of("0123456789"), digits.size());
    for (size_t i = dot; i > 3; i -= 3) digits.insert(i - 3, 1, ',');
  }
  return digits;
}

Result<Text> Format(Interpreter& in, const Value& v, Spec spec) {
  UM_RETURN_IF_ERROR(in.Charge(static_cast<size_t>(spec.width)));
  const bool textual = spec.type == 's' || spec.type == 'r' || spec.type == 'c' || (spec.type == '\0' && !v.IsNumber());
  Text body;
  std::string sign;
  if (textual) {
    body = ToText(v, spec.type == 'r');
    if (spec.precision >= 0) {
      UM_ASSIGN_OR_RETURN(const Value cut,
                          in.SliceOf(in.Str(body), Value::None(), Value::Integer(spec.precision), Value::None()));
      body = cut.text();
    }
    if (spec.align == '\0') spec.align = '<';
  } else if (v.Is(Kind::kBool) && spec.type == '\0') {
    body = ToText(v);
  } else {
    if (!v.IsNumber()) return in.Error(fmt::format("format: a number is required, not {}", TypeName(v)));
    UM_ASSIGN_OR_RETURN(std::string digits, NumberDigits(in, v, spec));
    const bool negative = v.Is(Kind::kFloat) ? std::signbit(v.d) : v.AsInt() < 0;
    sign = negative ? "-" : spec.plus ? "+" : spec.space ? " " : "";
    body = Text(std::move(digits));
  }
  if (spec.align == '\0') spec.align = '>';
  const Int length = static_cast<Int>(utf8::Length(body.bytes()) + sign.size());
  const Int missing = std::max(spec.width - length, Int{0});
  const Int left = spec.align == '>' ? missing : spec.align == '^' ? missing / 2 : 0;
  Text out;
  const auto fill = [&](Int n) {
    for (Int i = 0; i < n; ++i) out.Append(spec.fill, false);
  };
  fill(left);
  out.Append(sign, false);
  if (spec.align == '=') fill(missing);
  out.Append(body);
  if (spec.align == '<') fill(missing);
  if (spec.align == '^') fill(missing - left);
  return out;
}

// [[fill]align][sign][#][0][width][,][.precision][type]
Result<Spec> ReadSpec(Interpreter& in, std::string_view s) {
  Spec spec;
  size_t at = 0;
  const auto is_align = [&](size_t i) {
    return i < s.size() && (s[i] == '<' || s[i] == '>' || s[i] == '^' || s[i] == '=');
  };
  const size_t first = s.empty() ? 0 : static_cast<size_t>(utf8::At(s, 0).length);
  if (!s.empty() && is_align(first)) {
    spec.fill = std::string(s.substr(0, first));
    spec.align = s[first];
    at = first + 1;
  } else if (is_align(0)) {
    spec.align = s[0];
    at = 1;
  }
  if (at < s.size() && (s[at] == '+' || s[at] == '-' || s[at] == ' ')) {
    spec.plus = s[at] == '+';
    spec.space = s[at] == ' ';
    ++at;
  }
  if (at < s.size() && s[at] == '#') {
    spec.alternate = true;
    ++at;
  }
  if (at < s.size() && s[at] == '0') {
    if (spec.align == '\0') {
      spec.align = '=';
      spec.fill = "0";
    }
    ++at;
  }
  spec.width = ReadNumber(s, at);
  if (at < s.size() && (s[at] == ',' || s[at] == '_')) {
    spec.comma = true;
    ++at;
  }
  if (at < s.size() && s[at] == '.') {
    ++at;
    spec.precision = ReadNumber(s, at);
  }
  if (at < s.size()) spec.type = s[at++];
  if (at < s.size()) return in.Error("format: bad format specifier");
  return spec;
}

}  // namespace

Result<Value> PercentFormat(Interpreter& in, const Text& format, const Value& args) {
  const std::string& s = format.bytes();
  const bool tuple = args.Is(Kind::kTuple);
  size_t used = 0;
  Text out;
  const auto next = [&]() -> Result<Value> {
    if (tuple ? used >= args.list().items.size() : used > 0) return in.Error("not enough arguments for format string");
    return tuple ? args.list().items[used++] : (++used, args);
  };
  for (size_t at = 0; at < s.size();) {
    const size_t percent = std::min(s.find('%', at), s.size());
    out.Append(format, at, percent);
    at = percent + 1;
    if (percent >= s.size()) break;
    if (at >= s.size()) return in.Error("incomplete format");
    if (s[at] == '%') {
      out.Append("%", format.UntrustedAt(at++));
      continue;
    }
    Value v = Value::Missing();
    if (s[at] == '(') {
      const size_t close = s.find(')', at);
      if (close == s.npos || !args.Is(Kind::kDict)) return in.Error("format requires a mapping");
      const Value* found = args.dict().Find(std::string_view(s).substr(at + 1, close - at - 1));
      if (found == nullptr) return in.Error("format: a key is missing");
      v = *found;
      used = 1;
      at = close + 1;
    }
    Spec spec;
    for (; at < s.size() && std::string_view("-+ #0").find(s[at]) != std::string_view::npos; ++at) {
      if (s[at] == '-') spec.align = '<';
      if (s[at] == '+') spec.plus = true;
      if (s[at] == ' ') spec.space = true;
      if (s[at] == '#') spec.alternate = true;
      if (s[at] == '0' && spec.align == '\0') {
        spec.align = '=';
        spec.fill = "0";
      }
    }
    spec.width = ReadNumber(s, at);
    if (at < s.size() && s[at] == '.') {
      ++at;
      spec.precision = ReadNumber(s, at);
    }
    if (at >= s.size()) return in.Error("incomplete format");
    spec.type = s[at++];
    if (std::string_view("srcdiuxXofFeEgG").find(spec.type) == std::string_view::npos) {
      return in.Error(fmt::format("unsupported format character '{}'", spec.type));
    }
    if (v.IsMissing()) {
      UM_ASSIGN_OR_RETURN(v, next());
    }
    const bool textual = spec.type == 's' || spec.type == 'r' || spec.type == 'c';
    if (textual && spec.align != '<') spec.align = '>';
    if (textual) spec.fill = " ";
    UM_ASSIGN_OR_RETURN(const Text part, Format(in, v, spec));
    UM_RETURN_IF_ERROR(in.Charge(part.size()));
    out.Append(part);
  }
  // What can be indexed, but for tuples and texts, passes for a mapping, of which nothing need be used.
  const bool mapping = args.Is(Kind::kDict) || args.Is(Kind::kList) || args.IsUndefined();
  const bool all_used = tuple ? used == args.list().items.size() : used > 0 || mapping;
  if (!all_used) return in.Error("not all arguments converted during string formatting");
  return in.Str(std::move(out));
}

Result<Value> BraceFormat(Interpreter& in, const Text& format, const Args& args) {
  const std::string& s = format.bytes();
  Text out;
  size_t automatic = 0;
  for (size_t at = 0; at < s.size();) {
    const size_t brace = std::min(s.find_first_of("{}", at), s.size());
    out.Append(format, at, brace);
    if (brace >= s.size()) break;
    if (brace + 1 < s.size() && s[brace + 1] == s[brace]) {
      out.Append(format, brace, brace + 1);
      at = brace + 2;
      continue;
    }
    const size_t close = s.find('}', brace);
    if (s[brace] == '}' || close == s.npos) return in.Error("Single '{' or '}' encountered in format string");
    std::string_view field = std::string_view(s).substr(brace + 1, close - brace - 1);
    std::string_view spec_text;
    const size_t colon = field.find(':');
    if (colon != field.npos) {
      spec_text = field.substr(colon + 1);
      field = field.substr(0, colon);
    }
    char conversion = '\0';
    if (field.size() >= 2 && field[field.size() - 2] == '!') {
      conversion = field.back();
      field = field.substr(0, field.size() - 2);
    }
    if (conversion != '\0' && conversion != 'r' && conversion != 's') {
      return in.Error(fmt::format("format: conversion '{}' is not supported", conversion));
    }
    if (spec_text.find('{') != spec_text.npos) return in.Error("format: nested fields are not supported");
    const size_t name_end = std::min(field.find_first_of(".["), field.size());
    const std::string_view name = field.substr(0, name_end);
    Value v = Value::Missing();
    if (name.empty() || IsDigit(name[0])) {
      size_t zero = 0;
      const size_t index = name.empty() ? automatic++ : static_cast<size_t>(ReadNumber(name, zero));
      if (index >= args.positional.size()) return in.Error("format: an index is out of range");
      v = args.positional[index];
    } else {
      for (const auto& [key, value] : args.named) {
        if (key == name) v = value;
      }
      if (v.IsMissing()) return in.Error("format: a name is missing");
    }
    if (name_end < field.size()) {
      if (field[name_end] != '.') return in.Error("format: indexes are not supported");
      UM_ASSIGN_OR_RETURN(v, in.Path(v, in.heap().String(field.substr(name_end + 1))));
    }
    UM_ASSIGN_OR_RETURN(const Spec spec, ReadSpec(in, spec_text));
    if (conversion != '\0') v = in.Str(ToText(v, conversion == 'r'));
    if (!spec_text.empty()) {
      if (v.Is(Kind::kComplex)) v = in.Str(ToText(v));
      if (!v.Is(Kind::kText) && !v.IsNumber()) {
        return in.Error(fmt::format("unsupported format string passed to {}.__format__", TypeName(v)));
      }
      if (v.Is(Kind::kBool)) v = Value::Integer(v.AsInt());
    }
    UM_ASSIGN_OR_RETURN(const Text part, Format(in, v, spec));
    UM_RETURN_IF_ERROR(in.Charge(part.size()));
    out.Append(part);
    at = close + 1;
  }
  return in.Str(std::move(out));
}

std::string FormatTime(std::string_view format, int64_t seconds) {
  constexpr std::string_view kDays[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
  constexpr std::string_view kMonths[] = {"January", "February", "March",     "April",   "May",      "June",
                                          "July",    "August",   "September", "October", "November", "December"};
  int64_t days = seconds / 86400;
  int64_t rest = seconds % 86400;
  if (rest < 0) {
    rest += 86400;
    --days;
  }
  // Civil date from days (proleptic Gregorian; years begin in March so that the leap day is last).
  const int64_t z = days + 719468;
  const int64_t era = (z >= 0 ? z : z - 146096) / 146097;
  const int64_t day_of_era = z - era * 146097;
  const int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const int64_t shifted = (5 * day_of_year + 2) / 153;
  const int64_t day = day_of_year - (153 * shifted + 2) / 5 + 1;
  const int64_t month = shifted < 10 ? shifted + 3 : shifted - 9;
  const int64_t year = year_of_era + era * 400 + (month <= 2 ? 1 : 0);
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  constexpr int kBefore[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  const int64_t yearday = kBefore[month - 1] + day + (leap && month > 2 ? 1 : 0);
  const auto weekday = static_cast<size_t>(((days + 4) % 7 + 7) % 7);
  const int64_t hour = rest / 3600, minute = rest / 60 % 60, second = rest % 60;
  const int64_t hour12 = hour % 12 == 0 ? 12 : hour % 12;
  const std::string_view month_name = kMonths[month - 1];
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 >= format.size()) {
      out += format[i];
      continue;
    }
    char code = format[++i];
    const bool bare = code == '-' && i + 1 < format.size();  // no padding
    if (bare) code = format[++i];
    const auto two = [&](int64_t v) { return bare ? fmt::format("{}", v) : fmt::format("{:02}", v); };
    switch (code) {
      case 'Y':
        out += fmt::format("{}", year);
        break;
      case 'y':
        out += two(year % 100);
        break;
      case 'm':
        out += two(month);
        break;
      case 'd':
        out += two(day);
        break;
      case 'e':
        out += fmt::format("{:2}", day);
        break;
      case 'H':
        out += two(hour);
        break;
      case 'I':
        out += two(hour12);
        break;
      case 'M':
        out += two(minute);
        break;
      case 'S':
        out += two(second);
        break;
      case 'p':
        out += hour < 12 ? "AM" : "PM";
        break;
      case 'j':
        out += bare ? fmt::format("{}", yearday) : fmt::format("{:03}", yearday);
        break;
      case 'B':
        out += month_name;
        break;
      case 'b':
      case 'h':
        out += month_name.substr(0, 3);
        break;
      case 'A':
        out += kDays[weekday];
        break;
      case 'a':
        out += kDays[weekday].substr(0, 3);
        break;
      case 'w':
        out += fmt::format("{}", weekday);
        break;
      case 'u':
        out += fmt::format("{}", weekday == 0 ? 7 : weekday);
        break;
      case 'F':
        out += fmt::format("{}-{:02}-{:02}", year, month, day);
        break;
      case 'T':
        out += fmt::format("{:02}:{:02}:{:02}", hour, minute, second);
        break;
      case 'R':
        out += fmt::format("{:02}:{:02}", hour, minute);
        break;
      case 'D':
        out += fmt::format("{:02}/{:02}/{:02}", month, day, year % 100);
        break;
      case 's':
        out += fmt::format("{}", seconds);
        break;
      case 'f':
        out += "000000";
        break;
      case 'n':
        out += '\n';
        break;
      case 't':
        out += '\t';
        break;
      case 'Z':
      case 'z':
        break;  // the moment is naive
      case '%':
        out += '%';
        break;
      default:
        out += std::string("%") + code;
        break;
    }
  }
  return out;
}

}  // namespace unimax::jinja
