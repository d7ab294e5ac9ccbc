// SPDX-License-Identifier: Apache-2.0
// Walks the tree of a template with a budget. Everything a template can reach goes through this class; it can reach
// nothing but its inputs and the tables of filters, tests, methods and functions.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "text/chat_template.h"
#include "text/jinja_ast.h"
#include "text/jinja_value.h"

namespace unimax::jinja {

struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

class Interpreter;
using FilterFunction = Result<Value> (*)(Interpreter&, const Value& self, const Args&);
using TestFunction = Result<bool> (*)(Interpreter&, const Value& self, const Args&);
struct FilterRow {
  std::string_view name;
  FilterFunction run;
};
struct TestRow {
  std::string_view name;
  TestFunction run;
};

std::span<const FilterRow> TextFilters();
std::span<const FilterRow> ListFilters();
std::span<const FilterRow> NumberFilters();
std::span<const TestRow> Tests();
std::span<const FilterRow> TextMethods();
std::span<const FilterRow> ListMethods();
std::span<const FilterRow> DictMethods();
std::span<const FilterRow> GlobalFunctions();  // `self` is none
const FilterRow* FindFilter(std::string_view name);
const TestRow* FindTest(std::string_view name);
// Whether the sandbox forbids this method because it changes a list or a dict.
bool ChangesContainer(std::string_view method);

// Variables by name. The names live in the template, in the tables or in the heap of the rendering.
class Names {
 public:
  const Value* Find(std::string_view name) const {
    const size_t at = Place(name);
    return at == items_.size() ? nullptr : &items_[at].second;
  }
  void Set(std::string_view name, const Value& value);
  void Clear() {
    items_.clear();
    index_.clear();
  }

 private:
  static constexpr size_t kFew = 16;  // so many are looked at one by one
  size_t Place(std::string_view name) const;
  std::vector<std::pair<std::string_view, Value>> items_;
  std::map<std::string_view, size_t> index_;
};

struct Scope final : Object {
  Scope* parent = nullptr;
  Names names;
};
struct MacroObject final : Object {
  const Stmt* stmt = nullptr;
  Scope* scope = nullptr;
};
struct LoopObject final : Object {
  std::vector<Value> items;
  size_t at = 0;
  int depth = 1;
  const Stmt* stmt = nullptr;
  Scope* scope = nullptr;  // around the loop
  Value changed = Value::Missing();
};
struct MethodObject final : Object {  // also a global function, and the methods of loops and cyclers
  Value self;
  const FilterRow* row = nullptr;
};
struct CyclerObject final : Object {  // also a joiner: items[0] is its separator, `at` says whether it was called
  std::vector<Value> items;
  size_t at = 0;
};

class Interpreter {
 public:
  Interpreter(const TemplateBudget& budget, int64_t now)
      : budget_(budget), heap_(budget.heap_bytes / 3 * 2), now_(now) {}

  Result<Text> Run(const Program& program, const Value& context);

  Heap& heap() { return heap_; }
  int64_t now() const { return now_; }
  Status Error(std::string_view reason) const;
  // Counts work; an error when steps or heap are used up.
  Status Step(int64_t n = 1);
  Status Charge(size_t bytes);  // before a large object is made
  Status Walk(const Value& v);  // before all of a string or container is looked at

  Result<Value> Call(const Value& callee, const Args& args);
  Result<Value> Filter(std::string_view name, const Value& self, const Args& args);
  Result<bool> Test(std::string_view name, const Value& self, const Args& args);
  Result<Value> Attribute(const Value& object, const std::string& name);  // object.name
  Result<Value> Item(const Value& object, const Value& key);              // object[key]
  Result<Value> Path(Value object, const Value& path);                    // what attribute= means: "a.b.0" or an index
  Result<std::vector<Value>> Iterate(const Value& v);                     // empties generators
  Result<Value> Binary(Op op, const Value& a, const Value& b);
  Result<bool> Compare(Cmp cmp, const Value& a, const Value& b);
  Result<Value> SliceOf(const Value& object, const Value& start, const Value& stop, const Value& step);
  // The values of parameters by name, kMissing where not given. Errors: one too many, an unknown name, a required one
  // (the first `required`) not given.
  Result<std::vector<Value>> Bind(const Args& args, std::initializer_list<std::string_view> names, size_t required);
  Result<Int> IntOf(const Value& v);  // errors on anything but integers
  Value Str(Text text) { return heap_.String(std::move(text)); }

 private:
  struct Deeper {  // counts nesting while it lives
    explicit Deeper(int& count) : count_(count) { ++count_; }
    ~Deeper() { --count_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    int& count_;
  };

  Status ExecBody(const Body& body, Scope* scope);
  Status Exec(const Stmt& s, Scope* scope);
  Status ExecFor(const Stmt& s, Scope* scope);
  Status RunLoop(const Stmt& s, std::vector<Value> items, int depth, Scope* scope);
  Status ExecSet(const Stmt& s, Scope* scope);
  Status ExecCallBlock(const Stmt& s, Scope* scope);
  Status ExecWith(const Stmt& s, Scope* scope);
  Status Output(const Value& v);
  Status Emit(const Text& text);
  Status MakeRoom(size_t bytes);  // before so many are written
  // Runs `body` in a fresh scope and gives what it wrote.
  Result<Text> Capture(const Body& body, Scope* scope);
  Status Assign(const Expr& target, const Value& value, Scope* scope);

  Result<Value> Eval(const Expr& e, Scope* scope);
  Result<Value> EvalItem(const Expr& e, Scope* scope);
  Result<Value> EvalCall(const Expr& e, Scope* scope, const Value* caller);
  Result<Value> EvalList(const Expr& e, Scope* scope);
  Result<Value> EvalDict(const Expr& e, Scope* scope);
  Result<Value> EvalCompare(const Expr& e, Scope* scope);
  Result<Value> EvalConcat(const Expr& e, Scope* scope);
  Result<Value> EvalFilter(const Expr& e, Scope* scope, const Value* input);
  // a + b + ...: the operands of a chain of sums, left to right, from operands_[begin] on.
  Status EvalOperands(const Expr& e, Scope* scope);
  bool OperandsAreText(size_t begin) const;
  Result<Value> FoldOperands(size_t begin);  // their sum; takes them off
  Status OutputSum(const Expr& e, Scope* scope);
  Result<Value> EvalSign(const Expr& e, Scope* scope);
  Result<Args> EvalArgs(const CallArgs& call, Scope* scope);
  Args Escaped(const Args& args);  // for a string that is escaped already
  Result<Value> CallMacro(const MacroObject& macro, const Args& args);
  Result<Value> CallLoop(LoopObject& loop, const Args& args);
  Result<Value> LoopAttribute(const Value& object, const std::string& name);
  Result<Value> Method(const Value& self, std::span<const FilterRow> rows, std::string_view name);
  Value Lookup(std::string_view name, const Scope* scope) const;
  Scope* NewScope(Scope* parent);
  Scope* NewScope(Scope* parent, const Body& body);
  void Undefine(const Body& body, Scope* scope);

  enum class Flow { kNext, kBreak, kContinue };
  TemplateBudget budget_;
  Heap heap_;
  int64_t now_;
  int64_t steps_ = 0;
  int depth_ = 0, calls_ = 0;
  Place place_;  // of what is being evaluated
  Flow flow_ = Flow::kNext;
  bool autoescape_ = false;
  Text* out_ = nullptr;
  std::vector<Value> operands_;  // of sums that are being made
};

// Variables and results as JSON.
Result<Value> FromJson(Heap& heap, std::string_view json, bool untrusted);  // errors: kBadModel
struct JsonStyle {
  bool ascii = false, sort_keys = false;
  std::optional<std::string> indent;  // none: one line
  std::string item_separator = ", ", key_separator = ": ";
};
Result<Text> ToJson(Interpreter& in, const Value& v, const JsonStyle& style);

// Python's "%" and str.format.
Result<Value> PercentFormat(Interpreter& in, const Text& format, const Value& args);
Result<Value> BraceFormat(Interpreter& in, const Text& format, const Args& args);
Text EscapeHtml(const Text& text);
std::string FormatTime(std::string_view format, int64_t seconds);

}  // namespace unimax::jinja
