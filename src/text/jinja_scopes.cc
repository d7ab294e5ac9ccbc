// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_scopes.h"

#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace unimax::jinja {
namespace {

using Name = std::string_view;

class Finder {
 public:
  // One scope: what stands before its body (parameters, targets) is told by `begin`, which takes a Walk.
  template <class F>
  void Scope(Body& body, bool of_block, F begin) {
    Walk walk{*this, {}, {}};
    begin(walk);
    walk.Statements(body);
    // All of a scope is looked at before what lies within it: names that it sets later are its own there, too.
    for (const auto& [name, undefined] : walk.undefined) ++around_[name];
    blocks_ += of_block ? 1 : 0;
    for (Stmt* inner : walk.inner) Inner(*inner);
    blocks_ -= of_block ? 1 : 0;
    for (const auto& [name, undefined] : walk.undefined) {
      --around_[name];
      if (undefined && within_.contains(name) && !in_blocks_.contains(name)) body.undefined.emplace_back(name);
    }
  }

 private:
  // Walks the statements of one scope in the order in which jinja2 does.
  struct Walk {
    Finder& finder;
    // The names that the scope uses: whether one is undefined until it is set, or means what it means around the scope.
    // The first use decides.
    std::unordered_map<Name, bool> undefined;
    std::vector<Stmt*> inner;  // statements with scopes of their own
    int branches = 0;          // of ifs, around the current statement

    void Read(Name name) {
      if (finder.IsAround(name)) {
        finder.ReadFromWithin(name);
      } else {
        undefined.emplace(name, false);
      }
    }
    // A name that is set in a branch means without that what lies around, even where every branch sets it.
    void Set(Name name) { undefined.emplace(name, branches == 0 && !finder.IsAround(name)); }
    void Parameter(Name name) { undefined.insert_or_assign(name, false); }

    void Expression(const Expr* e) {
      if (e == nullptr) return;
      if (e->kind == ExprKind::kName || e->kind == ExprKind::kNsRef) Read(e->text);
      for (const ExprPtr& arg : e->args) Expression(arg.get());
      for (const ExprPtr& arg : e->call.positional) Expression(arg.get());
      for (const auto& [key, arg] : e->call.named) Expression(arg.get());
      Expression(e->call.star.get());
      Expression(e->call.double_star.get());
    }
    void Target(const Expr& e, bool parameter) {
      if (e.kind == ExprKind::kNsRef) return Read(e.text);
      if (e.kind == ExprKind::kName) return parameter ? Parameter(e.text) : Set(e.text);
      for (const ExprPtr& item : e.args) Target(*item, parameter);
    }
    void Statements(Body& body) {
      for (const StmtPtr& s : body.stmts) Statement(*s);
    }
    void Statement(Stmt& s);
  };

  bool IsAround(Name name) const {
    const auto found = around_.find(name);
    return found != around_.end() && found->second > 0;
  }
  void ReadFromWithin(Name name) { (blocks_ > 0 ? in_blocks_ : within_).insert(name); }
  void Inner(Stmt& s);

  std::unordered_map<Name, int> around_;  // how many of the scopes around the current one know the name
  std::unordered_set<Name> within_;       // names that a scope reads from one around it
  std::unordered_set<Name> in_blocks_;    // the same within {% block %}, which looks at the caller's variables again
  int blocks_ = 0;                        // around the current scope
};

void Finder::Walk::Statement(Stmt& s) {
  switch (s.kind) {
    case StmtKind::kIf:
      for (size_t i = 0; i < s.bodies.size(); ++i) {
        if (i < s.exprs.size()) Expression(s.exprs[i].get());
        ++branches;
        Statements(s.bodies[i]);
        --branches;
      }
      return;
    case StmtKind::kSet:
      Expression(s.exprs[0].get());
      return Target(*s.targets[0], false);
    case StmtKind::kSetBlock:
      Target(*s.targets[0], false);
      break;
    case StmtKind::kFor:
      Expression(s.exprs[0].get());
      break;
    case StmtKind::kMacro:
      Set(s.text);
      break;
    case StmtKind::kWith:
    case StmtKind::kOutput:
    case StmtKind::kCallBlock:
    case StmtKind::kFilter:
      for (const ExprPtr& e : s.exprs) Expression(e.get());
      break;
    default:
      break;
  }
  if (!s.bodies.empty()) inner.push_back(&s);
}

void Finder::Inner(Stmt& s) {
  const auto targets = [&](Walk& walk) {
    for (const ExprPtr& target : s.targets) walk.Target(*target, true);
  };
  switch (s.kind) {
    case StmtKind::kFor: {
      Body test;
      Scope(s.bodies[0], false, [&](Walk& walk) {
        walk.Parameter("loop");
        targets(walk);
      });
      Scope(s.bodies[1], false, [](Walk&) {});
      Scope(test, false, [&](Walk& walk) {
        targets(walk);
        walk.Expression(s.exprs[1].get());
      });
      return;
    }
    case StmtKind::kMacro:
    case StmtKind::kCallBlock:
      return Scope(s.bodies[0], false, [&](Walk& walk) {
        if (s.takes_varargs) walk.Parameter("varargs");
        if (s.takes_kwargs) walk.Parameter("kwargs");
        if (s.takes_caller) walk.Parameter("caller");
        for (const Parameter& p : s.parameters) walk.Parameter(p.name);
        for (const Parameter& p : s.parameters) walk.Expression(p.fallback.get());
      });
    case StmtKind::kWith:
      return Scope(s.bodies[0], false, targets);
    case StmtKind::kAutoescape:
      return Scope(s.bodies[0], false, [&](Walk& walk) { walk.Expression(s.exprs[0].get()); });
    default:
      return Scope(s.bodies[0], s.kind == StmtKind::kScope && !s.text.empty(), [](Walk&) {});
  }
}

}  // namespace

void FindUndefined(Body& root) {
  Finder().Scope(root, false, [](auto&) {});
}

}  // namespace unimax::jinja
