// SPDX-License-Identifier: Apache-2.0
// Statements.
#include <utility>

#include "text/jinja_interp.h"

namespace unimax::jinja {
namespace {

constexpr int kMaxDepth = 1000;  // of expressions and statements being walked; each costs stack

}  // namespace

Status Interpreter::Error(std::string_view reason) const { return ErrorAt(place_, reason); }

Status Interpreter::Step(int64_t n) {
  steps_ += n;
  if (steps_ > budget_.steps) return Error("the template runs for too long");
  if (heap_.Full()) return Error("the template uses too much memory");
  if (depth_ > kMaxDepth) return Error("the template is nested too deep");
  return {};
}

Status Interpreter::Charge(size_t bytes) {
  return heap_.Charge(bytes) ? Status() : Error("the template uses too much memory");
}

Status Interpreter::Walk(const Value& v) {
  constexpr int64_t kStepBytes = 32;  // so many bytes of text take about as long as a step
  return Step(WeightOf(v) / kStepBytes);
}

Scope* Interpreter::NewScope(Scope* parent) {
  heap_.Charge(64);  // of its first variable
  Scope* scope = heap_.Make<Scope>();
  scope->parent = parent;
  return scope;
}

Scope* Interpreter::NewScope(Scope* parent, const Body& body) {
  Scope* scope = NewScope(parent);
  Undefine(body, scope);
  return scope;
}

void Interpreter::Undefine(const Body& body, Scope* scope) {
  heap_.Charge(64 * body.undefined.size());
  for (const std::string& name : body.undefined) scope->names.Set(name, Value());
}

Result<Text> Interpreter::Run(const Program& program, const Value& context) {
  Scope* globals = NewScope(nullptr);
  for (const FilterRow& row : GlobalFunctions()) {
    auto* function = heap_.Make<MethodObject>();
    function->row = &row;
    function->self = Value::None();
    globals->names.Set(row.name, Value::Of(Kind::kFunction, function));
  }
  for (const auto& [key, value] : context.dict().items) globals->names.Set(key.bytes(), value);
  Text out;
  out_ = &out;
  UM_RETURN_IF_ERROR(ExecBody(program.body, NewScope(globals, program.body)));
  return out;
}

Status Interpreter::MakeRoom(size_t bytes) {
  const auto limit = static_cast<size_t>(budget_.output_bytes);
  if (bytes > limit || out_->size() > limit - bytes) return Error("the template writes too much");
  return Charge(bytes);
}

Status Interpreter::Emit(const Text& text) {
  UM_RETURN_IF_ERROR(MakeRoom(text.size()));
  out_->Append(text);
  return {};
}

Status Interpreter::Output(const Value& v) {
  if (v.Is(Kind::kText) && !autoescape_) return Emit(v.text());
  UM_RETURN_IF_ERROR(Walk(v));
  const Text text = ToText(v);
  return Emit(autoescape_ && !v.markup() ? EscapeHtml(text) : text);
}

Status Interpreter::ExecBody(const Body& body, Scope* scope) {
  for (const StmtPtr& s : body.stmts) {
    UM_RETURN_IF_ERROR(Exec(*s, scope));
    if (flow_ != Flow::kNext) break;
  }
  return {};
}

Result<Text> Interpreter::Capture(const Body& body, Scope* scope) {
  Text written;
  Text* outer = std::exchange(out_, &written);
  const Status status = ExecBody(body, NewScope(scope, body));
  out_ = outer;
  if (!status.ok()) return status;
  return written;
}

Status Interpreter::Exec(const Stmt& s, Scope* scope) {
  const Deeper deeper(depth_);
  place_ = s.place;
  UM_RETURN_IF_ERROR(Step());
  switch (s.kind) {
    case StmtKind::kData:
      UM_RETURN_IF_ERROR(MakeRoom(s.text.size()));
      out_->Append(s.text, false);
      return {};
    case StmtKind::kOutput: {
      if (s.exprs[0]->kind == ExprKind::kBinary && s.exprs[0]->op == Op::kAdd) return OutputSum(*s.exprs[0], scope);
      UM_ASSIGN_OR_RETURN(const Value v, Eval(*s.exprs[0], scope));
      return Output(v);
    }
    case StmtKind::kIf:
      for (size_t i = 0; i < s.bodies.size(); ++i) {
        bool taken = true;
        if (i < s.exprs.size()) {
          UM_ASSIGN_OR_RETURN(const Value v, Eval(*s.exprs[i], scope));
          taken = Truthy(v);
        }
        if (taken) return ExecBody(s.bodies[i], scope);
      }
      return {};
    case StmtKind::kFor:
      return ExecFor(s, scope);
    case StmtKind::kSet:
    case StmtKind::kSetBlock:
      return ExecSet(s, scope);
    case StmtKind::kMacro: {
      auto* macro = heap_.Make<MacroObject>();
      macro->stmt = &s;
      macro->scope = scope;
      scope->names.Set(s.text, Value::Of(Kind::kMacro, macro));
      return {};
    }
    case StmtKind::kCallBlock:
      return ExecCallBlock(s, scope);
    case StmtKind::kFilter: {
      UM_ASSIGN_OR_RETURN(Text text, Capture(s.bodies[0], scope));
      const Value input = Str(std::move(text));
      UM_ASSIGN_OR_RETURN(const Value v, EvalFilter(*s.exprs[0], scope, &input));
      if (!v.Is(Kind::kText)) return Error(fmt::format("a filter block gives a string, not {}", TypeName(v)));
      return Output(v);
    }
    case StmtKind::kWith:
      return ExecWith(s, scope);
    case StmtKind::kScope:
      return ExecBody(s.bodies[0], NewScope(scope, s.bodies[0]));
    case StmtKind::kAutoescape: {
      UM_ASSIGN_OR_RETURN(const Value on, Eval(*s.exprs[0], scope));
      const bool outer = std::exchange(autoescape_, Truthy(on));
      const Status status = ExecBody(s.bodies[0], NewScope(scope, s.bodies[0]));
      autoescape_ = outer;
      return status;
    }
    case StmtKind::kBreak:
      flow_ = Flow::kBreak;
      return {};
    case StmtKind::kContinue:
      flow_ = Flow::kContinue;
      return {};
    case StmtKind::kUnavailable:
      return Error(fmt::format("'{}' is not available in chat templates", s.text));
  }
  return {};
}

Status Interpreter::ExecFor(const Stmt& s, Scope* scope) {
  UM_ASSIGN_OR_RETURN(const Value iterable, Eval(*s.exprs[0], scope));
  UM_ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(iterable));
  return RunLoop(s, std::move(items), 1, scope);
}

Status Interpreter::RunLoop(const Stmt& s, std::vector<Value> items, int depth, Scope* scope) {
  if (s.exprs[1] != nullptr) {
    std::vector<Value> kept;
    for (const Value& item : items) {
      Scope* inner = NewScope(scope);
      UM_RETURN_IF_ERROR(Assign(*s.targets[0], item, inner));
      UM_ASSIGN_OR_RETURN(const Value v, Eval(*s.exprs[1], inner));
      if (Truthy(v)) kept.push_back(item);
    }
    items = std::move(kept);
  }
  if (items.empty()) return ExecBody(s.bodies[1], NewScope(scope, s.bodies[1]));
  auto* loop = heap_.Make<LoopObject>();
  loop->items = std::move(items);
  loop->depth = depth;
  loop->stmt = &s;
  loop->scope = scope;
  Scope* inner = nullptr;
  for (size_t i = 0; i < loop->items.size(); ++i) {
    loop->at = i;
    if (inner == nullptr || s.keeps_scopes) inner = NewScope(scope);
    inner->names.Clear();
    Undefine(s.bodies[0], inner);
    UM_RETURN_IF_ERROR(Assign(*s.targets[0], loop->items[i], inner));
    inner->names.Set("loop", Value::Of(Kind::kLoop, loop));
    UM_RETURN_IF_ERROR(ExecBody(s.bodies[0], inner));
    const Flow flow = std::exchange(flow_, Flow::kNext);
    if (flow == Flow::kBreak) break;
  }
  return {};
}

Status Interpreter::ExecSet(const Stmt& s, Scope* scope) {
  if (s.kind == StmtKind::kSet) {
    UM_ASSIGN_OR_RETURN(const Value v, Eval(*s.exprs[0], scope));
    return Assign(*s.targets[0], v, scope);
  }
  UM_ASSIGN_OR_RETURN(Text text, Capture(s.bodies[0], scope));
  Value v = Str(std::move(text));
  if (s.exprs[0] != nullptr) {
    UM_ASSIGN_OR_RETURN(v, EvalFilter(*s.exprs[0], scope, &v));
  }
  return Assign(*s.targets[0], v, scope);
}

Status Interpreter::ExecCallBlock(const Stmt& s, Scope* scope) {
  auto* caller = heap_.Make<MacroObject>();
  caller->stmt = &s;
  caller->scope = scope;
  const Value value = Value::Of(Kind::kMacro, caller);
  UM_ASSIGN_OR_RETURN(const Value v, EvalCall(*s.exprs[0], scope, &value));
  return Output(v);
}

Status Interpreter::ExecWith(const Stmt& s, Scope* scope) {
  Scope* inner = NewScope(scope, s.bodies[0]);
  std::vector<Value> values;
  for (const ExprPtr& e : s.exprs) {
    UM_ASSIGN_OR_RETURN(const Value v, Eval(*e, scope));
    values.push_back(v);
  }
  for (size_t i = 0; i < values.size(); ++i) UM_RETURN_IF_ERROR(Assign(*s.targets[i], values[i], inner));
  return ExecBody(s.bodies[0], inner);
}

Status Interpreter::Assign(const Expr& target, const Value& value, Scope* scope) {
  if (target.kind == ExprKind::kName) {
    scope->names.Set(target.text, value);
    return Charge(64);
  }
  if (target.kind == ExprKind::kNsRef) {
    const Value object = Lookup(target.text, scope);
    if (!object.Is(Kind::kNamespace)) return Error("cannot assign attribute on non-namespace object");
    object.dict().Set(heap_.String(target.attribute), value);
    return Charge(64);
  }
  UM_ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(value));
  if (items.size() != target.args.size()) {
    return Error(fmt::format("{} values cannot be unpacked to {} names", items.size(), target.args.size()));
  }
  for (size_t i = 0; i < items.size(); ++i) UM_RETURN_IF_ERROR(Assign(*target.args[i], items[i], scope));
  return {};
}

Result<Value> Interpreter::CallMacro(const MacroObject& macro, const Args& args) {
  if (calls_ >= budget_.depth) return Error("calls are nested too deep");
  const Deeper deeper(calls_);
  const Stmt& s = *macro.stmt;
  Scope* scope = NewScope(macro.scope);
  std::vector<std::pair<std::string, Value>> named = args.named;
  const auto take = [&](std::string_view name) {
    for (size_t i = 0; i < named.size(); ++i) {
      if (named[i].first != name) continue;
      const Value v = named[i].second;
      named.erase(named.begin() + static_cast<ptrdiff_t>(i));
      return v;
    }
    return Value::Missing();
  };
  std::vector<Value> varargs;
  for (size_t i = 0; i < args.positional.size(); ++i) {
    if (i < s.parameters.size()) {
      scope->names.Set(s.parameters[i].name, args.positional[i]);
    } else {
      varargs.push_back(args.positional[i]);
    }
  }
  bool has_caller = false;
  for (size_t i = 0; i < s.parameters.size(); ++i) {
    const Parameter& p = s.parameters[i];
    has_caller |= p.name == "caller";
    if (i < args.positional.size()) continue;
    Value v = take(p.name);
    if (v.IsMissing() && p.fallback != nullptr) {
      UM_ASSIGN_OR_RETURN(v, Eval(*p.fallback, scope));
    }
    scope->names.Set(p.name, v.IsMissing() ? Value() : v);
  }
  if (s.takes_caller && !has_caller) {
    const Value caller = take("caller");
    if (!caller.IsMissing() || s.kind == StmtKind::kMacro)
      scope->names.Set("caller", caller.IsMissing() ? Value() : caller);
  }
  if (s.takes_kwargs) {
    const Value kwargs = heap_.Dict();
    for (const auto& [name, v] : named) kwargs.dict().Set(heap_.String(name), v);
    scope->names.Set("kwargs", kwargs);
  } else if (!named.empty()) {
    return Error(fmt::format("macro '{}' takes no keyword argument '{}'", s.text, named[0].first));
  }
  if (s.takes_varargs) {
    scope->names.Set("varargs", heap_.Tuple(std::move(varargs)));
  } else if (!varargs.empty()) {
    return Error(fmt::format("macro '{}' takes not more than {} argument(s)", s.text, s.parameters.size()));
  }
  const Place place = place_;
  UM_ASSIGN_OR_RETURN(Text text, Capture(s.bodies[0], scope));
  place_ = place;
  return heap_.String(std::move(text), autoescape_);
}

Result<Value> Interpreter::CallLoop(LoopObject& loop, const Args& args) {
  if (!loop.stmt->recursive) return Error("the loop is not marked as recursive");
  if (args.positional.size() != 1) return Error("a recursive loop takes one argument");
  if (calls_ >= budget_.depth) return Error("calls are nested too deep");
  const Deeper deeper(calls_);
  UM_ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(args.positional[0]));
  Text written;
  Text* outer = std::exchange(out_, &written);
  const Status status = RunLoop(*loop.stmt, std::move(items), loop.depth + 1, loop.scope);
  out_ = outer;
  if (!status.ok()) return status;
  return Str(std::move(written));
}

}  // namespace unimax::jinja
