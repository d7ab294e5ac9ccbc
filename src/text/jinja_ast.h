// SPDX-License-Identifier: Apache-2.0
// The syntax tree of a template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_lexer.h"
#include "text/jinja_value.h"

namespace unimax::jinja {

enum class Op : uint8_t { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow };
enum class Cmp : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };

enum class ExprKind : uint8_t {
  kString,  // constant
  kConst,   // constant
  kName,    // text
  kNsRef,   // text.attribute, as a target
  kList,    // args
  kTuple,   // args
  kDict,    // args: key, value, key, value
  kAttr,    // args[0].text
  kItem,    // args[0][args[1]]
  kSlice,   // as args[1] of kItem: args[0]:args[1]:args[2], any may be null
  kCall,    // args[0](call)
  kFilter,  // args[0] | text(call); args[0] null within a filter block
  kTest,    // args[0] is text(call)
  kNot,
  kNeg,
  kPos,
  kBinary,   // args[0] op args[1]
  kConcat,   // args joined as strings
  kCompare,  // args[0] cmps[0] args[1] cmps[1] args[2] ...
  kAnd,
  kOr,
  kCond,  // args: condition, then, else (null: undefined)
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct CallArgs {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr star, double_star;
};

struct Expr {
  ExprKind kind;
  Place place;
  int depth = 1;  // of the tree below, bounded by the parser
  std::string text, attribute;
  Value constant;
  std::unique_ptr<TextObject> string;  // kString: owns the constant
  Op op = Op::kAdd;
  std::vector<Cmp> cmps;
  std::vector<ExprPtr> args;
  CallArgs call;
};

enum class StmtKind : uint8_t {
  kData,        // text
  kOutput,      // exprs[0]
  kIf,          // exprs[i] guards bodies[i]; one more body is the else
  kFor,         // target, exprs: iterable, filter (may be null); bodies: body, else
  kSet,         // target, exprs[0]
  kSetBlock,    // target, exprs[0]: filter chain or null; bodies[0]
  kMacro,       // text: name; parameters; bodies[0]
  kCallBlock,   // parameters; exprs[0]: the call; bodies[0]
  kFilter,      // exprs[0]: filter chain; bodies[0]
  kWith,        // targets and exprs in pairs; bodies[0]
  kScope,       // bodies[0] in a scope of its own (block, generation)
  kAutoescape,  // exprs[0]; bodies[0]
  kBreak,
  kContinue,
  kUnavailable  // include, import, extends: there are no other templates
};

struct Stmt;
using StmtPtr = std::unique_ptr<Stmt>;
struct Body {
  std::vector<StmtPtr> stmts;
  // Where the body is a scope of its own: names that are undefined in it until it sets them (jinja_scopes.h).
  std::vector<std::string> undefined;
};

struct Parameter {
  std::string name;
  ExprPtr fallback;  // null: none
};

struct Stmt {
  StmtKind kind;
  Place place;
  std::string text;
  std::vector<ExprPtr> targets;
  std::vector<ExprPtr> exprs;
  std::vector<Body> bodies;
  std::vector<Parameter> parameters;
  bool recursive = false;     // kFor
  bool keeps_scopes = false;  // kFor: a macro in its body keeps the variables of its round
  bool takes_varargs = false, takes_kwargs = false, takes_caller = false;  // kMacro, kCallBlock: names its body uses
};

struct Program {
  Body body;
};

}  // namespace unimax::jinja
