// SPDX-License-Identifier: Apache-2.0
// Operators, attributes, items, slices and iteration.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja_complex.h"
#include "text/jinja_interp.h"
#include "text/jinja_text_tools.h"
#include "text/utf8.h"

namespace unimax::jinja {
namespace {

constexpr Int kMaxLength = Int{1} << 40;  // of repeated things; the heap's limit is far below

Value NumberOrMissing(Op op, double a, double b) {
  switch (op) {
    case Op::kAdd:
      return Value::Float(a + b);
    case Op::kSub:
      return Value::Float(a - b);
    case Op::kMul:
      return Value::Float(a * b);
    case Op::kDiv:
      return b == 0 ? Value::Missing() : Value::Float(a / b);
    case Op::kFloorDiv: {  // of what is left without the remainder, as Python has it: 10 // 0.1 is 99
      if (b == 0) return Value::Missing();
      const double r = std::fmod(a, b);
      const double whole = (a - r) / b - (r != 0 && (r < 0) != (b < 0) ? 1 : 0);
      if (whole == 0) return Value::Float(std::copysign(0.0, a / b));
      const double floor = std::floor(whole);
      return Value::Float(whole - floor > 0.5 ? floor + 1 : floor);
    }
    case Op::kMod: {
      if (b == 0) return Value::Missing();
      const double r = std::fmod(a, b);
      if (r == 0) return Value::Float(std::copysign(0.0, b));
      return Value::Float((r < 0) != (b < 0) ? r + b : r);
    }
    case Op::kPow:
      return a == 0 && b < 0 ? Value::Missing() : Value::Float(std::pow(a, b));
  }
  return Value::Missing();
}

// kMissing: division by zero or a result out of range.
Value IntOp(Op op, Int a, Int b) {
  Int r = 0;
  switch (op) {
    case Op::kAdd:
      return __builtin_add_overflow(a, b, &r) ? Value::Missing() : Value::Integer(r);
    case Op::kSub:
      return __builtin_sub_overflow(a, b, &r) ? Value::Missing() : Value::Integer(r);
    case Op::kMul:
      return __builtin_mul_overflow(a, b, &r) ? Value::Missing() : Value::Integer(r);
    case Op::kDiv:
      return b == 0 ? Value::Missing() : Value::Float(static_cast<double>(a) / static_cast<double>(b));
    case Op::kFloorDiv:
    case Op::kMod: {
      if (b == 0) return Value::Missing();
      if (b == -1) return op == Op::kMod ? Value::Integer(0) : IntOp(Op::kSub, 0, a);
      Int q = a / b;
      Int m = a % b;
      if (m != 0 && (m < 0) != (b < 0)) {
        m += b;
        --q;
      }
      return Value::Integer(op == Op::kMod ? m : q);
    }
    case Op::kPow: {
      if (b < 0) return NumberOrMissing(op, static_cast<double>(a), static_cast<double>(b));
      r = 1;
      if (a == 0 || a == 1) return Value::Integer(b == 0 ? 1 : a);
      if (a == -1) return Value::Integer(b % 2 == 0 ? 1 : -1);
      for (Int i = 0; i < b; ++i) {
        if (__builtin_mul_overflow(r, a, &r)) return Value::Missing();
      }
      return Value::Integer(r);
    }
  }
  return Value::Missing();
}

}  // namespace

Result<Value> Interpreter::Binary(Op op, const Value& a, const Value& b) {
  if (op == Op::kMod && a.Is(Kind::kText)) {
    UM_ASSIGN_OR_RETURN(const Value v, PercentFormat(*this, a.text(), a.markup() ? EscapedFor(*this, b) : b));
    return a.markup() ? AsMarkup(*this, v) : v;
  }
  if (a.IsUndefined() || b.IsUndefined()) return Error("an operand is undefined");
  const bool complex = a.Is(Kind::kComplex) || b.Is(Kind::kComplex);
  if ((a.IsNumber() || a.Is(Kind::kComplex)) && (b.IsNumber() || b.Is(Kind::kComplex))) {
    const bool root = op == Op::kPow && !complex && a.AsDouble() < 0 && b.AsDouble() != std::floor(b.AsDouble());
    if (complex || root) {
      const Value v = ComplexOp(op, a, b);
      if (v.Is(Kind::kUndefined)) return Error("complex numbers have no floor and no remainder");
      if (v.IsMissing()) return Error("division by zero or a number out of range");
      return v;
    }
    const bool exact = a.IsInteger() && b.IsInteger();
    const Value v = exact ? IntOp(op, a.AsInt(), b.AsInt()) : NumberOrMissing(op, a.AsDouble(), b.AsDouble());
    if (v.IsMissing()) return Error("division by zero or a number out of range");
    return v;
  }
  if (op == Op::kAdd && a.kind == b.kind) {
    if (a.Is(Kind::kText)) {
      UM_RETURN_IF_ERROR(Charge(a.bytes().size() + b.bytes().size()));
      Text text = a.markup() && !b.markup() ? a.text() : b.markup() && !a.markup() ? EscapeHtml(a.text()) : a.text();
      text.Append(a.markup() && !b.markup() ? EscapeHtml(b.text()) : b.text());
      return heap_.String(std::move(text), a.markup() || b.markup());
    }
    if (a.IsSequence()) {
      std::vector<Value> items = a.list().items;
      UM_RETURN_IF_ERROR(Charge(b.list().items.size() * sizeof(Value)));
      items.insert(items.end(), b.list().items.begin(), b.list().items.end());
      return heap_.Sequence(a.kind, std::move(items));
    }
  }
  if (op == Op::kMul && (a.IsInteger() || b.IsInteger())) {
    const Value& thing = a.IsInteger() ? b : a;
    const Int n = std::clamp(a.IsInteger() ? a.AsInt() : b.AsInt(), Int{0}, kMaxLength);
    if (thing.Is(Kind::kText)) {
      if (n > 0) UM_RETURN_IF_ERROR(Charge(thing.bytes().size() * static_cast<size_t>(n)));
      Text text;
      for (Int i = 0; i < n && thing.text().size() > 0; ++i) text.Append(thing.text());
      return heap_.String(std::move(text), thing.markup());
    }
    if (thing.IsSequence()) {
      const auto& items = thing.list().items;
      UM_RETURN_IF_ERROR(Charge(items.size() * static_cast<size_t>(n) * sizeof(Value)));
      std::vector<Value> out;
      for (Int i = 0; i < n && !items.empty(); ++i) out.insert(out.end(), items.begin(), items.end());
      return heap_.Sequence(thing.kind, std::move(out));
    }
  }
  return Error(fmt::format("unsupported operand types: '{}' and '{}'", TypeName(a), TypeName(b)));
}

Result<bool> Interpreter::Compare(Cmp cmp, const Value& a, const Value& b) {
  UM_RETURN_IF_ERROR(Step(1 + std::min(WeightOf(a), WeightOf(b)) / 256));
  switch (cmp) {
    case Cmp::kEq:
      return Equal(a, b);
    case Cmp::kNe:
      return !Equal(a, b);
    case Cmp::kLt:
    case Cmp::kLe:
    case Cmp::kGt:
    case Cmp::kGe: {
      const bool swapped = cmp == Cmp::kGt || cmp == Cmp::kLe;
      const auto less = swapped ? Less(b, a) : Less(a, b);
      if (!less) return Error(fmt::format("'{}' and '{}' cannot be ordered", TypeName(a), TypeName(b)));
      if (cmp == Cmp::kLt || cmp == Cmp::kGt) return *less;
      const bool nan = (a.Is(Kind::kFloat) && std::isnan(a.d)) || (b.Is(Kind::kFloat) && std::isnan(b.d));
      return !*less && !nan;
    }
    case Cmp::kIn:
    case Cmp::kNotIn:
      break;
  }
  bool found = false;
  if (b.Is(Kind::kText)) {
    if (!a.Is(Kind::kText)) return Error("a string can only hold strings");
    UM_RETURN_IF_ERROR(Step(static_cast<int64_t>(b.bytes().size() / 256)));
    found = b.bytes().find(a.bytes()) != std::string::npos;
  } else if (b.Is(Kind::kDict)) {
    if (!HashKey(a)) return Error(fmt::format("unhashable type: '{}'", TypeName(a)));
    found = b.dict().Find(a) != nullptr;
  } else {
    UM_ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(b));
    for (const Value& item : items) {
      UM_RETURN_IF_ERROR(Step(1 + std::min(WeightOf(a), WeightOf(item)) / 256));
      found |= Equal(a, item);
    }
  }
  return found == (cmp == Cmp::kIn);
}

Result<std::vector<Value>> Interpreter::Iterate(const Value& v) {
  std::vector<Value> items;
  switch (v.kind) {
    case Kind::kMissing:
    case Kind::kUndefined:
      break;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDictView:
      items = v.list().items;
      break;
    case Kind::kGenerator:
      items = std::exchange(v.list().items, {});
      break;
    case Kind::kDict:
      for (const auto& item : v.dict().items) items.push_back(item.first);
      break;
    case Kind::kText: {
      const std::string& s = v.bytes();
      UM_RETURN_IF_ERROR(Step(static_cast<int64_t>(s.size())));
      for (size_t i = 0; i < s.size();) {
        const size_t end = i + static_cast<size_t>(utf8::At(s, i).length);
        items.push_back(Str(v.text().Slice(i, end)));
        i = end;
      }
      break;
    }
    default:
      return Error(fmt::format("'{}' object is not iterable", TypeName(v)));
  }
  UM_RETURN_IF_ERROR(Step(static_cast<int64_t>(items.size())));
  UM_RETURN_IF_ERROR(Charge(items.size() * sizeof(Value) / 4));
  return items;
}

Result<Value> Interpreter::Method(const Value& self, std::span<const FilterRow> rows, std::string_view name) {
  for (const FilterRow& row : rows) {
    if (row.name != name) continue;
    auto* method = heap_.Make<MethodObject>();
    method->self = self;
    method->row = &row;
    return Value::Of(Kind::kMethod, method);
  }
  return Value();
}

Result<Value> Interpreter::Attribute(const Value& object, const std::string& name) {
  if (object.IsUndefined()) return Error(fmt::format("undefined has no attribute '{}'", name));
  // What the sandbox forbids is undefined: it prints nothing and cannot be called.
  const bool container = object.IsSequence() || object.Is(Kind::kDict);
  if (container && ChangesContainer(name) && !(object.Is(Kind::kDict) && object.dict().Find(name) != nullptr)) {
    return Value();
  }
  Value v;
  switch (object.kind) {
    case Kind::kText:
      return Method(object, TextMethods(), name);
    case Kind::kList:
    case Kind::kTuple: {
      const ListObject& list = object.list();
      if (object.Is(Kind::kTuple) && name == "copy") return Value();
      if (list.grouped && (name == "grouper" || name == "list")) return list.items[name == "list" ? 1 : 0];
      return Method(object, ListMethods(), name);
    }
    case Kind::kDict: {
      UM_ASSIGN_OR_RETURN(v, Method(object, DictMethods(), name));
      if (!v.IsUndefined()) return v;
      const Value* found = object.dict().Find(name);
      return found != nullptr ? *found : Value();
    }
    case Kind::kNamespace: {
      const Value* found = object.dict().Find(name);
      return found != nullptr ? *found : Value();
    }
    case Kind::kLoop:
    case Kind::kCycler:
      return LoopAttribute(object, name);
    case Kind::kMacro: {
      const Stmt& s = *static_cast<MacroObject*>(object.o)->stmt;
      if (name == "name") return heap_.String(s.text);
      if (name == "caller") return Value::Bool(s.takes_caller);
      if (name == "catch_kwargs") return Value::Bool(s.takes_kwargs);
      if (name == "catch_varargs") return Value::Bool(s.takes_varargs);
      if (name != "arguments") return Value();
      std::vector<Value> names;
      for (const Parameter& p : s.parameters) names.push_back(heap_.String(p.name));
      return heap_.Tuple(std::move(names));
    }
    default:
      return Value();
  }
}

Result<Value> Interpreter::Item(const Value& object, const Value& key) {
  if (object.IsUndefined()) return Error("undefined has no items");
  if (object.Is(Kind::kDict)) {
    const Value* found = object.dict().Find(key);
    if (found != nullptr) return *found;
  } else if ((object.IsSequence() || object.Is(Kind::kText)) && key.IsInteger()) {
    const bool is_text = object.Is(Kind::kText);
    if (is_text) UM_RETURN_IF_ERROR(Walk(object));
    const Int n =
        is_text ? static_cast<Int>(utf8::Length(object.bytes())) : static_cast<Int>(object.list().items.size());
    Int at = key.AsInt();
    if (at < 0) at += n;
    if (at < 0 || at >= n) return Value();
    if (!is_text) return object.list().items[static_cast<size_t>(at)];
    return SliceOf(object, Value::Integer(at), Value::Integer(at + 1), Value::None());
  }
  if (key.Is(Kind::kText)) return Attribute(object, key.bytes());
  return Value();
}

Result<Value> Interpreter::Path(Value object, const Value& path) {
  if (!path.Is(Kind::kText)) return Item(object, path);
  const std::string& s = path.bytes();
  for (size_t at = 0; at <= s.size();) {
    const size_t dot = std::min(s.find('.', at), s.size());
    const std::string part = s.substr(at, dot - at);
    const bool number = !part.empty() && part.size() < 10 &&
                        std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    const Value key = number ? Value::Integer(std::atoi(part.c_str())) : heap_.String(part);
    UM_ASSIGN_OR_RETURN(object, Item(object, key));
    at = dot + 1;
  }
  return object;
}

Result<Value> Interpreter::SliceOf(const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (!object.Is(Kind::kText) && !object.IsSequence()) {
    return Error(fmt::format("'{}' object cannot be sliced", TypeName(object)));
  }
  for (const Value* part : {&start, &stop, &step}) {
    if (!part->IsInteger() && !part->Is(Kind::kNone)) return Error("slice indices must be integers or none");
  }
  const Int by = step.Is(Kind::kNone) ? 1 : std::clamp(step.AsInt(), -kMaxLength, kMaxLength);
  if (by == 0) return Error("slice step cannot be zero");
  std::vector<size_t> borders;  // of characters
  if (object.Is(Kind::kText)) {
    const std::string& s = object.bytes();
    UM_RETURN_IF_ERROR(Walk(object));
    UM_RETURN_IF_ERROR(Charge(s.size() / 8));  // of the borders that are held for a while
    for (size_t i = 0; i < s.size(); i += static_cast<size_t>(utf8::At(s, i).length)) borders.push_back(i);
    borders.push_back(s.size());
  }
  const Int n = borders.empty() ? static_cast<Int>(object.list().items.size()) : static_cast<Int>(borders.size()) - 1;
  const Int low = by > 0 ? 0 : -1;
  const Int high = by > 0 ? n : n - 1;
  const auto clip = [&](const Value& v, Int fallback) {
    if (v.Is(Kind::kNone)) return fallback;
    const Int at = v.AsInt() < 0 ? v.AsInt() + n : v.AsInt();
    return std::clamp(at, low, high);
  };
  const Int begin = clip(start, by > 0 ? low : high);
  const Int end = clip(stop, by > 0 ? high : low);
  if (object.Is(Kind::kText) && by == 1) {
    const size_t from = borders[static_cast<size_t>(begin)];
    return heap_.String(object.text().Slice(from, std::max(from, borders[static_cast<size_t>(end)])), object.markup());
  }
  Text text;
  std::vector<Value> items;
  for (Int i = begin; by > 0 ? i < end : i > end; i += by) {
    const auto at = static_cast<size_t>(i);
    if (object.Is(Kind::kText)) {
      text.Append(object.text(), borders[at], borders[at + 1]);
    } else {
      items.push_back(object.list().items[at]);
    }
  }
  if (object.Is(Kind::kText)) return heap_.String(std::move(text), object.markup());
  return heap_.Sequence(object.kind, std::move(items));
}

}  // namespace unimax::jinja
