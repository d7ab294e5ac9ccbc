// SPDX-License-Identifier: Apache-2.0
// Expressions.
#include <algorithm>
#include <utility>

#include "text/jinja_complex.h"
#include "text/jinja_interp.h"
#include "text/jinja_text_tools.h"

namespace unimax::jinja {

namespace {

// Of constants alone, but for filters and tests.
bool IsConstant(const Expr& e) {
  constexpr ExprKind kOthers[] = {ExprKind::kName, ExprKind::kNsRef, ExprKind::kCall, ExprKind::kFilter,
                                  ExprKind::kTest};
  if (std::find(std::begin(kOthers), std::end(kOthers), e.kind) != std::end(kOthers)) return false;
  return std::all_of(e.args.begin(), e.args.end(), [](const ExprPtr& p) { return p == nullptr || IsConstant(*p); });
}

}  // namespace

size_t Names::Place(std::string_view name) const {
  if (items_.size() > kFew) {
    const auto it = index_.find(name);
    return it == index_.end() ? items_.size() : it->second;
  }
  size_t at = 0;
  while (at < items_.size() && items_[at].first != name) ++at;
  return at;
}

void Names::Set(std::string_view name, const Value& value) {
  const size_t at = Place(name);
  if (at < items_.size()) {
    items_[at].second = value;
    return;
  }
  items_.emplace_back(name, value);
  if (items_.size() <= kFew) return;
  if (index_.empty())
    for (size_t i = 0; i < at; ++i) index_.emplace(items_[i].first, i);
  index_.emplace(name, at);
}

Value Interpreter::Lookup(std::string_view name, const Scope* scope) const {
  for (; scope != nullptr; scope = scope->parent) {
    if (const Value* found = scope->names.Find(name); found != nullptr) return *found;
  }
  return {};
}

Result<Value> Interpreter::Eval(const Expr& e, Scope* scope) {
  const Deeper deeper(depth_);
  UM_RETURN_IF_ERROR(Step());
  place_ = e.place;
  switch (e.kind) {
    case ExprKind::kString:
    case ExprKind::kConst:
      return e.constant;
    case ExprKind::kName:
      return Lookup(e.text, scope);
    case ExprKind::kList:
    case ExprKind::kTuple:
      return EvalList(e, scope);
    case ExprKind::kDict:
      return EvalDict(e, scope);
    case ExprKind::kAttr: {
      UM_ASSIGN_OR_RETURN(const Value object, Eval(*e.args[0], scope));
      return Attribute(object, e.text);
    }
    case ExprKind::kItem:
      return EvalItem(e, scope);
    case ExprKind::kCall:
      return EvalCall(e, scope, nullptr);
    case ExprKind::kFilter:
      return EvalFilter(e, scope, nullptr);
    case ExprKind::kTest: {
      UM_ASSIGN_OR_RETURN(const Value self, Eval(*e.args[0], scope));
      UM_ASSIGN_OR_RETURN(const Args args, EvalArgs(e.call, scope));
      UM_ASSIGN_OR_RETURN(const bool holds, Test(e.text, self, args));
      return Value::Bool(holds);
    }
    case ExprKind::kNot: {
      UM_ASSIGN_OR_RETURN(const Value v, Eval(*e.args[0], scope));
      return Value::Bool(!Truthy(v));
    }
    case ExprKind::kNeg:
    case ExprKind::kPos:
      return EvalSign(e, scope);
    case ExprKind::kBinary: {
      if (e.op == Op::kAdd) {
        const size_t begin = operands_.size();
        UM_RETURN_IF_ERROR(EvalOperands(e, scope));
        return FoldOperands(begin);
      }
      UM_ASSIGN_OR_RETURN(const Value a, Eval(*e.args[0], scope));
      UM_ASSIGN_OR_RETURN(const Value b, Eval(*e.args[1], scope));
      if (e.op == Op::kPow && a.IsNumber() && a.AsDouble() < 0 && IsConstant(*e.args[0]) && !IsConstant(*e.args[1])) {
        // A constant goes into Python's own code as it is written there, where the power binds before the sign.
        const Value zero = Value::Integer(0);
        UM_ASSIGN_OR_RETURN(const Value size, Binary(Op::kSub, zero, a));
        UM_ASSIGN_OR_RETURN(const Value power, Binary(Op::kPow, size, b));
        return Binary(Op::kSub, zero, power);
      }
      return Binary(e.op, a, b);
    }
    case ExprKind::kConcat:
      return EvalConcat(e, scope);
    case ExprKind::kCompare:
      return EvalCompare(e, scope);
    case ExprKind::kAnd:
    case ExprKind::kOr: {
      UM_ASSIGN_OR_RETURN(const Value a, Eval(*e.args[0], scope));
      return Truthy(a) == (e.kind == ExprKind::kOr) ? a : Eval(*e.args[1], scope);
    }
    case ExprKind::kCond: {
      UM_ASSIGN_OR_RETURN(const Value test, Eval(*e.args[0], scope));
      if (Truthy(test)) return Eval(*e.args[1], scope);
      return e.args[2] != nullptr ? Eval(*e.args[2], scope) : Result<Value>(Value());
    }
    case ExprKind::kSlice:
    case ExprKind::kNsRef:
      break;
  }
  return Error("this expression cannot stand here");
}

Status Interpreter::EvalOperands(const Expr& e, Scope* scope) {
  const bool sum = e.kind == ExprKind::kBinary && e.op == Op::kAdd;
  if (sum) UM_RETURN_IF_ERROR(EvalOperands(*e.args[0], scope));
  UM_ASSIGN_OR_RETURN(const Value v, Eval(sum ? *e.args[1] : e, scope));
  operands_.push_back(v);
  return {};
}

bool Interpreter::OperandsAreText(size_t begin) const {
  return std::all_of(operands_.begin() + static_cast<ptrdiff_t>(begin), operands_.end(),
                     [](const Value& v) { return v.Is(Kind::kText) && !v.markup(); });
}

Result<Value> Interpreter::FoldOperands(size_t begin) {
  if (OperandsAreText(begin)) {  // a long chain of strings is copied once
    size_t bytes = 0;
    for (size_t i = begin; i < operands_.size(); ++i) bytes += operands_[i].bytes().size();
    UM_RETURN_IF_ERROR(Charge(bytes));
    Text text;
    text.Reserve(bytes);
    for (size_t i = begin; i < operands_.size(); ++i) text.Append(operands_[i].text());
    operands_.resize(begin);
    return Str(std::move(text));
  }
  Value sum = operands_[begin];
  for (size_t i = begin + 1; i < operands_.size(); ++i) {
    UM_ASSIGN_OR_RETURN(sum, Binary(Op::kAdd, sum, operands_[i]));
  }
  operands_.resize(begin);
  return sum;
}

Status Interpreter::OutputSum(const Expr& e, Scope* scope) {
  const size_t begin = operands_.size();
  UM_RETURN_IF_ERROR(EvalOperands(e, scope));
  if (autoescape_ || !OperandsAreText(begin)) {
    UM_ASSIGN_OR_RETURN(const Value v, FoldOperands(begin));
    return Output(v);
  }
  for (size_t i = begin; i < operands_.size(); ++i) UM_RETURN_IF_ERROR(Emit(operands_[i].text()));
  operands_.resize(begin);
  return {};
}

Result<Value> Interpreter::EvalSign(const Expr& e, Scope* scope) {
  UM_ASSIGN_OR_RETURN(const Value v, Eval(*e.args[0], scope));
  if (v.Is(Kind::kComplex)) return e.kind == ExprKind::kPos ? v : Negated(v);
  if (!v.IsNumber()) return Error(fmt::format("bad operand type for unary sign: '{}'", TypeName(v)));
  if (e.kind == ExprKind::kPos) return v.Is(Kind::kBool) ? Value::Integer(v.AsInt()) : v;
  if (v.Is(Kind::kFloat)) return Value::Float(-v.d);
  Int result = 0;
  if (__builtin_sub_overflow(Int{0}, v.AsInt(), &result)) return Error("a number is too large");
  return Value::Integer(result);
}

Result<Value> Interpreter::EvalList(const Expr& e, Scope* scope) {
  std::vector<Value> items;
  items.reserve(e.args.size());
  for (const ExprPtr& arg : e.args) {
    UM_ASSIGN_OR_RETURN(const Value v, Eval(*arg, scope));
    items.push_back(v);
  }
  return e.kind == ExprKind::kList ? heap_.List(std::move(items)) : heap_.Tuple(std::move(items));
}

Result<Value> Interpreter::EvalDict(const Expr& e, Scope* scope) {
  const Value dict = heap_.Dict();
  for (size_t i = 0; i + 1 < e.args.size(); i += 2) {
    UM_ASSIGN_OR_RETURN(const Value key, Eval(*e.args[i], scope));
    UM_ASSIGN_OR_RETURN(const Value value, Eval(*e.args[i + 1], scope));
    UM_RETURN_IF_ERROR(Charge(2 * sizeof(Value) + 64));
    if (!dict.dict().Set(key, value)) return Error(fmt::format("unhashable type: '{}'", TypeName(key)));
  }
  return dict;
}

Result<Value> Interpreter::EvalItem(const Expr& e, Scope* scope) {
  UM_ASSIGN_OR_RETURN(const Value object, Eval(*e.args[0], scope));
  const Expr& key = *e.args[1];
  if (key.kind != ExprKind::kSlice) {
    UM_ASSIGN_OR_RETURN(const Value k, Eval(key, scope));
    return Item(object, k);
  }
  Value parts[3];
  for (size_t i = 0; i < 3; ++i) {
    parts[i] = Value::None();
    if (key.args[i] == nullptr) continue;
    UM_ASSIGN_OR_RETURN(parts[i], Eval(*key.args[i], scope));
  }
  return SliceOf(object, parts[0], parts[1], parts[2]);
}

Result<Value> Interpreter::EvalConcat(const Expr& e, Scope* scope) {
  Text out;
  for (const ExprPtr& arg : e.args) {
    UM_ASSIGN_OR_RETURN(const Value v, Eval(*arg, scope));
    if (!v.Is(Kind::kText)) UM_RETURN_IF_ERROR(Walk(v));
    const Text made = v.Is(Kind::kText) ? Text() : ToText(v);
    const Text& part = v.Is(Kind::kText) ? v.text() : made;
    UM_RETURN_IF_ERROR(Charge(part.size()));
    out.Append(part);
  }
  return Str(std::move(out));
}

Result<Value> Interpreter::EvalCompare(const Expr& e, Scope* scope) {
  UM_ASSIGN_OR_RETURN(Value left, Eval(*e.args[0], scope));
  for (size_t i = 0; i < e.cmps.size(); ++i) {
    UM_ASSIGN_OR_RETURN(const Value right, Eval(*e.args[i + 1], scope));
    UM_ASSIGN_OR_RETURN(const bool holds, Compare(e.cmps[i], left, right));
    if (!holds) return Value::Bool(false);
    left = right;
  }
  return Value::Bool(true);
}

Result<Args> Interpreter::EvalArgs(const CallArgs& call, Scope* scope) {
  Args args;
  for (const ExprPtr& e : call.positional) {
    UM_ASSIGN_OR_RETURN(const Value v, Eval(*e, scope));
    args.positional.push_back(v);
  }
  for (const auto& [name, e] : call.named) {
    UM_ASSIGN_OR_RETURN(const Value v, Eval(*e, scope));
    args.named.emplace_back(name, v);
  }
  if (call.star != nullptr) {
    UM_ASSIGN_OR_RETURN(const Value list, Eval(*call.star, scope));
    UM_ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(list));
    args.positional.insert(args.positional.end(), items.begin(), items.end());
  }
  if (call.double_star != nullptr) {
    UM_ASSIGN_OR_RETURN(const Value dict, Eval(*call.double_star, scope));
    if (!dict.Is(Kind::kDict)) return Error("what follows ** is not a mapping");
    for (const auto& [key, v] : dict.dict().items) {
      if (!key.Is(Kind::kText)) return Error("keywords must be strings");
      args.named.emplace_back(key.bytes(), v);
    }
  }
  return args;
}

Result<Value> Interpreter::EvalCall(const Expr& e, Scope* scope, const Value* caller) {
  UM_ASSIGN_OR_RETURN(const Value callee, Eval(*e.args[0], scope));
  UM_ASSIGN_OR_RETURN(Args args, EvalArgs(e.call, scope));
  if (caller != nullptr) args.named.emplace_back("caller", *caller);
  if (callee.IsUndefined()) {
    const Expr& what = *e.args[0];
    return Error(fmt::format("'{}' is undefined", what.text.empty() ? "a called value" : what.text));
  }
  return Call(callee, args);
}

Result<Value> Interpreter::EvalFilter(const Expr& e, Scope* scope, const Value* input) {
  Value self;
  if (e.args[0] == nullptr) {
    if (input == nullptr) return Error("a filter has no input");
    self = *input;
  } else if (e.args[0]->kind == ExprKind::kFilter) {
    const Deeper deeper(depth_);
    UM_RETURN_IF_ERROR(Step());
    UM_ASSIGN_OR_RETURN(self, EvalFilter(*e.args[0], scope, input));
  } else {
    UM_ASSIGN_OR_RETURN(self, Eval(*e.args[0], scope));
  }
  UM_ASSIGN_OR_RETURN(const Args args, EvalArgs(e.call, scope));
  return Filter(e.text, self, args);
}

Result<Value> Interpreter::Filter(std::string_view name, const Value& self, const Args& args) {
  const FilterRow* row = FindFilter(name);
  if (row == nullptr) return Error(fmt::format("no filter named '{}'", name));
  const auto texts = TextFilters();  // these look at all of what they are given
  const bool all = row >= texts.data() && row < texts.data() + texts.size();
  if (all || self.Is(Kind::kText)) UM_RETURN_IF_ERROR(Walk(self));
  if (!self.markup()) return row->run(*this, self, args);
  constexpr std::string_view kKeepers[] = {"upper",    "lower",   "capitalize", "trim",   "center", "indent",
                                           "truncate", "reverse", "last",       "format", "random"};
  const bool keeps = std::find(std::begin(kKeepers), std::end(kKeepers), name) != std::end(kKeepers);
  UM_ASSIGN_OR_RETURN(const Value v, row->run(*this, self, name == "format" ? Escaped(args) : args));
  return keeps ? AsMarkup(*this, v) : v;
}

Args Interpreter::Escaped(const Args& args) {
  Args out;
  for (const Value& v : args.positional) out.positional.push_back(EscapedFor(*this, v));
  for (const auto& [name, v] : args.named) out.named.emplace_back(name, EscapedFor(*this, v));
  return out;
}

Result<bool> Interpreter::Test(std::string_view name, const Value& self, const Args& args) {
  const TestRow* row = FindTest(name);
  if (row == nullptr) return Error(fmt::format("no test named '{}'", name));
  if (self.Is(Kind::kText)) UM_RETURN_IF_ERROR(Step(WeightOf(self) / 256));
  return row->run(*this, self, args);
}

Result<Value> Interpreter::Call(const Value& callee, const Args& args) {
  UM_RETURN_IF_ERROR(Step());
  switch (callee.kind) {
    case Kind::kMacro:
      return CallMacro(*static_cast<MacroObject*>(callee.o), args);
    case Kind::kLoop:
      return CallLoop(*static_cast<LoopObject*>(callee.o), args);
    case Kind::kMethod:
    case Kind::kFunction: {
      const auto& method = *static_cast<MethodObject*>(callee.o);
      if (method.self.Is(Kind::kText)) UM_RETURN_IF_ERROR(Walk(method.self));
      if (!method.self.markup()) return method.row->run(*this, method.self, args);
      constexpr std::string_view kEscaping[] = {"join", "format", "ljust", "rjust", "center"};
      const std::string_view name = method.row->name;
      Args given =
          std::find(std::begin(kEscaping), std::end(kEscaping), name) != std::end(kEscaping) ? Escaped(args) : args;
      if (name == "replace" && given.positional.size() > 1) {
        given.positional[1] = EscapedFor(*this, given.positional[1]);
      }
      UM_ASSIGN_OR_RETURN(const Value v, method.row->run(*this, method.self, given));
      return AsMarkup(*this, v);
    }
    case Kind::kJoiner: {
      auto& joiner = *static_cast<CyclerObject*>(callee.o);
      return joiner.at++ == 0 ? heap_.String("") : joiner.items[0];
    }
    default:
      return Error(fmt::format("'{}' object is not callable", TypeName(callee)));
  }
}

Result<std::vector<Value>> Interpreter::Bind(const Args& args, std::initializer_list<std::string_view> names,
                                             size_t required) {
  if (args.positional.size() > names.size()) {
    return Error(fmt::format("takes at most {} arguments, not {}", names.size(), args.positional.size()));
  }
  std::vector<Value> values = args.positional;
  values.resize(names.size(), Value::Missing());
  for (const auto& [name, v] : args.named) {
    const auto it = std::find(names.begin(), names.end(), name);
    if (it == names.end()) return Error(fmt::format("unexpected keyword argument '{}'", name));
    Value& slot = values[static_cast<size_t>(it - names.begin())];
    if (!slot.IsMissing()) return Error(fmt::format("got multiple values for argument '{}'", name));
    slot = v;
  }
  for (size_t i = 0; i < required; ++i) {
    if (values[i].IsMissing()) return Error(fmt::format("missing required argument '{}'", *(names.begin() + i)));
  }
  return values;
}

Result<Int> Interpreter::IntOf(const Value& v) {
  if (!v.IsInteger()) return Error(fmt::format("'{}' object is not an integer", TypeName(v)));
  return v.AsInt();
}

}  // namespace unimax::jinja
