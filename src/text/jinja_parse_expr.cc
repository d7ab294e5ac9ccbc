// SPDX-License-Identifier: Apache-2.0
#include <charconv>

#include "text/jinja_parser.h"
#include "text/jinja_parser_impl.h"

namespace unimax::jinja {
namespace {

struct CmpRow {
  std::string_view sign;
  Cmp cmp;
};
constexpr CmpRow kCmps[] = {{"==", Cmp::kEq}, {"!=", Cmp::kNe}, {"<", Cmp::kLt},
                            {"<=", Cmp::kLe}, {">", Cmp::kGt},  {">=", Cmp::kGe}};

bool ParseInt(std::string_view text, Int* out) {
  int base = 10;
  if (text.size() > 2 && text[0] == '0') {
    const char mark = static_cast<char>(text[1] | 0x20);
    base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
    if (base != 10) text.remove_prefix(2);
  }
  Int v = 0;
  for (char c : text) {
    const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
    if (digit >= base || __builtin_mul_overflow(v, Int{base}, &v) || __builtin_add_overflow(v, Int{digit}, &v)) {
      return false;
    }
  }
  *out = v;
  return true;
}

}  // namespace

ExprPtr Parser::Make(ExprKind kind) const {
  auto e = std::make_unique<Expr>();
  e->kind = kind;
  e->place = Peek().place;
  return e;
}

Status Parser::CountDepth(Expr& parent, const ExprPtr& child) const {
  if (child != nullptr) parent.depth = std::max(parent.depth, child->depth + 1);
  return parent.depth > kMaxExprDepth ? Fail("an expression is nested too deep") : Status();
}

Status Parser::Adopt(Expr& parent, ExprPtr child) const {
  UM_RETURN_IF_ERROR(CountDepth(parent, child));
  parent.args.push_back(std::move(child));
  return {};
}

Result<ExprPtr> Parser::Binary(ExprKind kind, ExprPtr left, ExprPtr right) const {
  ExprPtr e = Make(kind);
  UM_RETURN_IF_ERROR(Adopt(*e, std::move(left)));
  UM_RETURN_IF_ERROR(Adopt(*e, std::move(right)));
  return e;
}

Result<ExprPtr> Parser::ParseCond() {
  if (nesting_ >= kMaxNesting) return Fail("brackets are nested too deep");
  ++nesting_;
  UM_ASSIGN_OR_RETURN(ExprPtr e, ParseOr());
  while (SkipName("if")) {
    ExprPtr cond = Make(ExprKind::kCond);
    UM_ASSIGN_OR_RETURN(ExprPtr test, ParseOr());
    ExprPtr other;
    if (SkipName("else")) {
      UM_ASSIGN_OR_RETURN(other, ParseCond());
    }
    UM_RETURN_IF_ERROR(Adopt(*cond, std::move(test)));
    UM_RETURN_IF_ERROR(Adopt(*cond, std::move(e)));
    UM_RETURN_IF_ERROR(Adopt(*cond, std::move(other)));
    e = std::move(cond);
  }
  --nesting_;
  return e;
}

Result<ExprPtr> Parser::ParseOr() {
  UM_ASSIGN_OR_RETURN(ExprPtr e, ParseAnd());
  while (SkipName("or")) {
    UM_ASSIGN_OR_RETURN(ExprPtr right, ParseAnd());
    UM_ASSIGN_OR_RETURN(e, Binary(ExprKind::kOr, std::move(e), std::move(right)));
  }
  return e;
}

Result<ExprPtr> Parser::ParseAnd() {
  UM_ASSIGN_OR_RETURN(ExprPtr e, ParseNot());
  while (SkipName("and")) {
    UM_ASSIGN_OR_RETURN(ExprPtr right, ParseNot());
    UM_ASSIGN_OR_RETURN(e, Binary(ExprKind::kAnd, std::move(e), std::move(right)));
  }
  return e;
}

Result<ExprPtr> Parser::ParseNot() {
  int count = 0;
  while (SkipName("not")) ++count;
  UM_ASSIGN_OR_RETURN(ExprPtr e, ParseCompare());
  for (; count > 0; --count) {
    ExprPtr n = Make(ExprKind::kNot);
    UM_RETURN_IF_ERROR(Adopt(*n, std::move(e)));
    e = std::move(n);
  }
  return e;
}

Result<ExprPtr> Parser::ParseCompare() {
  UM_ASSIGN_OR_RETURN(ExprPtr e, ParseSum());
  ExprPtr compare;
  while (true) {
    std::optional<Cmp> cmp;
    for (const CmpRow& row : kCmps) {
      if (AtSign(row.sign)) cmp = row.cmp;
    }
    if (AtName("in")) cmp = Cmp::kIn;
    if (AtName("not") && Peek(1).type == Tok::kName && Peek(1).text == "in") {
      cmp = Cmp::kNotIn;
      Next();
    }
    if (!cmp) break;
    Next();
    if (compare == nullptr) {
      compare = Make(ExprKind::kCompare);
      UM_RETURN_IF_ERROR(Adopt(*compare, std::move(e)));
    }
    UM_ASSIGN_OR_RETURN(ExprPtr right, ParseSum());
    compare->cmps.push_back(*cmp);
    UM_RETURN_IF_ERROR(Adopt(*compare, std::move(right)));
  }
  return compare != nullptr ? std::move(compare) : std::move(e);
}

Result<ExprPtr> Parser::ParseSum() {
  UM_ASSIGN_OR_RETURN(ExprPtr e, ParseConcat());
  while (AtSign("+") || AtSign("-")) {
    const Op op = Next().text == "+" ? Op::kAdd : Op::kSub;
    UM_ASSIGN_OR_RETURN(ExprPtr right, ParseConcat());
    UM_ASSIGN_OR_RETURN(e, Binary(ExprKind::kBinary, std::move(e), std::move(right)));
    e->op = op;
  }
  return e;
}

Result<ExprPtr> Parser::ParseConcat() {
  UM_ASSIGN_OR_RETURN(ExprPtr e, ParseProduct());
  if (!AtSign("~")) return e;
  ExprPtr concat = Make(ExprKind::kConcat);
  UM_RETURN_IF_ERROR(Adopt(*concat, std::move(e)));
  while (SkipSign("~")) {
    UM_ASSIGN_OR_RETURN(ExprPtr right, ParseProduct());
    UM_RETURN_IF_ERROR(Adopt(*concat, std::move(right)));
  }
  return concat;
}

Result<ExprPtr> Parser::ParseProduct() {
  UM_ASSIGN_OR_RETURN(ExprPtr e, ParsePower());
  while (AtSign("*") || AtSign("/") || AtSign("//") || AtSign("%")) {
    const std::string sign = Next().text;
    UM_ASSIGN_OR_RETURN(ExprPtr right, ParsePower());
    UM_ASSIGN_OR_RETURN(e, Binary(ExprKind::kBinary, std::move(e), std::move(right)));
    e->op = sign == "*" ? Op::kMul : sign == "/" ? Op::kDiv : sign == "//" ? Op::kFloorDiv : Op::kMod;
  }
  return e;
}

Result<ExprPtr> Parser::ParsePower() {
  UM_ASSIGN_OR_RETURN(ExprPtr e, ParseUnary(true));
  while (SkipSign("**")) {
    UM_ASSIGN_OR_RETURN(ExprPtr right, ParseUnary(true));
    UM_ASSIGN_OR_RETURN(e, Binary(ExprKind::kBinary, std::move(e), std::move(right)));
    e->op = Op::kPow;
  }
  return e;
}

Result<ExprPtr> Parser::ParseUnary(bool with_filter) {
  std::string signs;
  while (AtSign("-") || AtSign("+")) signs += Next().text;
  UM_ASSIGN_OR_RETURN(ExprPtr e, ParsePrimary());
  UM_ASSIGN_OR_RETURN(e, ParsePostfix(std::move(e)));
  for (; !signs.empty(); signs.pop_back()) {
    ExprPtr n = Make(signs.back() == '-' ? ExprKind::kNeg : ExprKind::kPos);
    UM_RETURN_IF_ERROR(Adopt(*n, std::move(e)));
    e = std::move(n);
  }
  return with_filter ? ParseFilters(std::move(e)) : Result<ExprPtr>(std::move(e));
}

Result<ExprPtr> Parser::ParsePrimary() {
  ExprPtr e = Make(ExprKind::kConst);
  const Token token = Peek();
  switch (token.type) {
    case Tok::kName: {
      Next();
      const std::string& n = token.text;
      if (n == "true" || n == "True" || n == "false" || n == "False") {
        e->constant = Value::Bool(n == "true" || n == "True");
      } else if (n == "none" || n == "None") {
        e->constant = Value::None();
      } else {
        e->kind = ExprKind::kName;
        e->text = n;
      }
      return e;
    }
    case Tok::kString: {
      std::string joined;
      while (Peek().type == Tok::kString) joined += Next().text;
      e->kind = ExprKind::kString;
      e->string = std::make_unique<TextObject>();
      e->string->text = Text(std::move(joined));
      e->constant = Value::Of(Kind::kText, e->string.get());
      return e;
    }
    case Tok::kInteger: {
      Int v = 0;
      if (!ParseInt(token.text, &v)) return Fail("a number is too large");
      Next();
      e->constant = Value::Integer(v);
      return e;
    }
    case Tok::kFloat: {
      const std::string digits = Next().text;
      e->constant = Value::Float(std::strtod(digits.c_str(), nullptr));
      return e;
    }
    case Tok::kSign:
      if (token.text == "(") {
        Next();
        UM_ASSIGN_OR_RETURN(e, ParseTuple(true, "", true));
        UM_RETURN_IF_ERROR(ExpectSign(")"));
        return e;
      }
      if (token.text == "[" || token.text == "{") return ParseListOrDict(token.text == "{");
      return Unexpected();
    default:
      return Unexpected();
  }
}

Result<ExprPtr> Parser::ParseListOrDict(bool dict) {
  ExprPtr e = Make(dict ? ExprKind::kDict : ExprKind::kList);
  const std::string_view close = dict ? "}" : "]";
  Next();
  while (!AtSign(close)) {
    if (!e->args.empty()) UM_RETURN_IF_ERROR(ExpectSign(","));
    if (AtSign(close)) break;
    UM_ASSIGN_OR_RETURN(ExprPtr item, ParseExpression());
    UM_RETURN_IF_ERROR(Adopt(*e, std::move(item)));
    if (!dict) continue;
    UM_RETURN_IF_ERROR(ExpectSign(":"));
    UM_ASSIGN_OR_RETURN(item, ParseExpression());
    UM_RETURN_IF_ERROR(Adopt(*e, std::move(item)));
  }
  UM_RETURN_IF_ERROR(ExpectSign(close));
  return e;
}

bool Parser::AtTupleEnd(std::string_view end_word) const {
  const Tok t = Peek().type;
  return t == Tok::kVariableEnd || t == Tok::kBlockEnd || AtSign(")") || (!end_word.empty() && AtName(end_word));
}

Result<ExprPtr> Parser::ParseTuple(bool with_cond, std::string_view end_word, bool parenthesised) {
  ExprPtr tuple = Make(ExprKind::kTuple);
  bool comma = false;
  while (true) {
    if (!tuple->args.empty()) UM_RETURN_IF_ERROR(ExpectSign(","));
    if (AtTupleEnd(end_word)) break;
    UM_ASSIGN_OR_RETURN(ExprPtr item, with_cond ? ParseExpression() : ParseOr());
    UM_RETURN_IF_ERROR(Adopt(*tuple, std::move(item)));
    if (!AtSign(",")) break;
    comma = true;
  }
  if (comma) return tuple;
  if (!tuple->args.empty()) return std::move(tuple->args[0]);
  return parenthesised ? Result<ExprPtr>(std::move(tuple)) : Unexpected();
}

Result<ExprPtr> Parser::ParsePostfix(ExprPtr e) {
  while (AtSign(".") || AtSign("[") || AtSign("(")) {
    if (AtSign("(")) {
      ExprPtr call = Make(ExprKind::kCall);
      UM_RETURN_IF_ERROR(Adopt(*call, std::move(e)));
      UM_RETURN_IF_ERROR(ParseCallArgs(*call));
      e = std::move(call);
    } else {
      UM_ASSIGN_OR_RETURN(e, ParseSubscript(std::move(e)));
    }
  }
  return e;
}

Result<ExprPtr> Parser::ParseFilters(ExprPtr e) {
  while (true) {
    if (AtSign("|")) {
      UM_ASSIGN_OR_RETURN(e, ParseFilterChain(std::move(e), false));
    } else if (AtName("is")) {
      UM_ASSIGN_OR_RETURN(e, ParseTest(std::move(e)));
    } else if (AtSign("(")) {
      ExprPtr call = Make(ExprKind::kCall);
      UM_RETURN_IF_ERROR(Adopt(*call, std::move(e)));
      UM_RETURN_IF_ERROR(ParseCallArgs(*call));
      e = std::move(call);
    } else {
      return e;
    }
  }
}

Result<ExprPtr> Parser::ParseFilterChain(ExprPtr e, bool start_inline) {
  while (AtSign("|") || start_inline) {
    if (!start_inline) Next();
    start_inline = false;
    ExprPtr filter = Make(ExprKind::kFilter);
    UM_ASSIGN_OR_RETURN(filter->text, AnyName());
    while (SkipSign(".")) {
      UM_ASSIGN_OR_RETURN(const std::string part, AnyName());
      filter->text += "." + part;
    }
    UM_RETURN_IF_ERROR(Adopt(*filter, std::move(e)));
    if (AtSign("(")) UM_RETURN_IF_ERROR(ParseCallArgs(*filter));
    e = std::move(filter);
  }
  return e;
}

Result<ExprPtr> Parser::ParseTest(ExprPtr e) {
  Next();
  const bool negated = SkipName("not");
  ExprPtr test = Make(ExprKind::kTest);
  UM_ASSIGN_OR_RETURN(test->text, AnyName());
  UM_RETURN_IF_ERROR(Adopt(*test, std::move(e)));
  const Tok t = Peek().type;
  if (AtSign("(")) {
    UM_RETURN_IF_ERROR(ParseCallArgs(*test));
  } else if ((t == Tok::kName && !AtName("else") && !AtName("or") && !AtName("and")) || t == Tok::kString ||
             t == Tok::kInteger || t == Tok::kFloat || AtSign("[") || AtSign("{")) {
    if (AtName("is")) return Fail("tests cannot be chained");
    UM_ASSIGN_OR_RETURN(ExprPtr arg, ParsePrimary());
    UM_ASSIGN_OR_RETURN(arg, ParsePostfix(std::move(arg)));
    UM_RETURN_IF_ERROR(CountDepth(*test, arg));
    test->call.positional.push_back(std::move(arg));
  }
  if (!negated) return test;
  ExprPtr n = Make(ExprKind::kNot);
  UM_RETURN_IF_ERROR(Adopt(*n, std::move(test)));
  return n;
}

Result<ExprPtr> Parser::ParseSubscript(ExprPtr e) {
  if (SkipSign(".")) {
    const Token token = Next();
    if (token.type == Tok::kName) {
      ExprPtr attr = Make(ExprKind::kAttr);
      attr->text = token.text;
      UM_RETURN_IF_ERROR(Adopt(*attr, std::move(e)));
      return attr;
    }
    Int v = 0;
    if (token.type != Tok::kInteger || !ParseInt(token.text, &v)) return Fail("expected a name or a number after '.'");
    ExprPtr index = Make(ExprKind::kConst);
    index->constant = Value::Integer(v);
    return Binary(ExprKind::kItem, std::move(e), std::move(index));
  }
  Next();
  ExprPtr tuple = Make(ExprKind::kTuple);
  while (!AtSign("]")) {
    if (!tuple->args.empty()) UM_RETURN_IF_ERROR(ExpectSign(","));
    UM_ASSIGN_OR_RETURN(ExprPtr part, ParseSubscribed());
    UM_RETURN_IF_ERROR(Adopt(*tuple, std::move(part)));
  }
  UM_RETURN_IF_ERROR(ExpectSign("]"));
  if (tuple->args.size() == 1) return Binary(ExprKind::kItem, std::move(e), std::move(tuple->args[0]));
  return Binary(ExprKind::kItem, std::move(e), std::move(tuple));
}

Result<ExprPtr> Parser::ParseSubscribed() {
  ExprPtr slice = Make(ExprKind::kSlice);
  ExprPtr part;
  if (!AtSign(":")) {
    UM_ASSIGN_OR_RETURN(part, ParseExpression());
    if (!AtSign(":")) return part;
  }
  UM_RETURN_IF_ERROR(Adopt(*slice, std::move(part)));
  for (int i = 0; i < 2; ++i) {
    part = nullptr;
    if (SkipSign(":") && !AtSign(":") && !AtSign("]") && !AtSign(",")) {
      UM_ASSIGN_OR_RETURN(part, ParseExpression());
    }
    UM_RETURN_IF_ERROR(Adopt(*slice, std::move(part)));
  }
  return slice;
}

Status Parser::ParseCallArgs(Expr& e) {
  CallArgs& call = e.call;
  UM_RETURN_IF_ERROR(ExpectSign("("));
  bool comma = false;
  while (!AtSign(")")) {
    if (comma) {
      UM_RETURN_IF_ERROR(ExpectSign(","));
      if (AtSign(")")) break;
    }
    comma = true;
    if (SkipSign("*")) {
      if (call.star != nullptr || call.double_star != nullptr) return Unexpected();
      UM_ASSIGN_OR_RETURN(call.star, ParseExpression());
      UM_RETURN_IF_ERROR(CountDepth(e, call.star));
    } else if (SkipSign("**")) {
      if (call.double_star != nullptr) return Unexpected();
      UM_ASSIGN_OR_RETURN(call.double_star, ParseExpression());
      UM_RETURN_IF_ERROR(CountDepth(e, call.double_star));
    } else if (Peek().type == Tok::kName && Peek(1).type == Tok::kSign && Peek(1).text == "=") {
      if (call.double_star != nullptr) return Unexpected();
      std::string name = Next().text;
      Next();
      UM_ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
      UM_RETURN_IF_ERROR(CountDepth(e, value));
      call.named.emplace_back(std::move(name), std::move(value));
    } else {
      if (call.star != nullptr || call.double_star != nullptr || !call.named.empty()) return Unexpected();
      UM_ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
      UM_RETURN_IF_ERROR(CountDepth(e, value));
      call.positional.push_back(std::move(value));
    }
  }
  return ExpectSign(")");
}

}  // namespace unimax::jinja
