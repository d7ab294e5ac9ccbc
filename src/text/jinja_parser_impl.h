// SPDX-License-Identifier: Apache-2.0
// The parser's state, shared by its two halves: statements (jinja_parser.cc) and expressions (jinja_parse_expr.cc).
#pragma once

#include <initializer_list>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"

namespace unimax::jinja {

inline constexpr int kMaxExprDepth = 200;  // of an expression's tree
inline constexpr int kMaxNesting = 100;    // of brackets and blocks within each other

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  Result<Body> ParseAll();

 private:
  using Words = std::initializer_list<std::string_view>;

  const Token& Peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  Token Next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool AtSign(std::string_view sign) const { return Peek().type == Tok::kSign && Peek().text == sign; }
  bool AtName(std::string_view name) const { return Peek().type == Tok::kName && Peek().text == name; }
  bool SkipSign(std::string_view sign);
  bool SkipName(std::string_view name);
  Status ExpectSign(std::string_view sign);
  Status ExpectName(std::string_view name);
  Result<std::string> AnyName();
  Status Fail(std::string_view reason) const;
  Status Unexpected() const;

  // Statements.
  Result<Body> ParseBody(Words end_words);
  Result<StmtPtr> ParseStatement();
  Result<StmtPtr> ParseFor(StmtPtr s);
  Result<StmtPtr> ParseIf(StmtPtr s);
  Result<StmtPtr> ParseSet(StmtPtr s);
  Result<StmtPtr> ParseMacro(StmtPtr s);
  Result<StmtPtr> ParseWith(StmtPtr s);
  Status ParseClosed(Stmt& s, std::string_view end_word);  // a body and its end tag
  Status ParseSignature(Stmt& s);
  Result<ExprPtr> ParseTarget(bool with_tuple, bool with_namespace, std::string_view end_word);

  // Expressions.
  Result<ExprPtr> ParseExpression() { return ParseCond(); }
  Result<ExprPtr> ParseTuple(bool with_cond, std::string_view end_word, bool parenthesised);
  Result<ExprPtr> ParseCond();
  Result<ExprPtr> ParseOr();
  Result<ExprPtr> ParseAnd();
  Result<ExprPtr> ParseNot();
  Result<ExprPtr> ParseCompare();
  Result<ExprPtr> ParseSum();
  Result<ExprPtr> ParseConcat();
  Result<ExprPtr> ParseProduct();
  Result<ExprPtr> ParsePower();
  Result<ExprPtr> ParseUnary(bool with_filter);
  Result<ExprPtr> ParsePrimary();
  Result<ExprPtr> ParsePostfix(ExprPtr e);
  Result<ExprPtr> ParseFilters(ExprPtr e);
  Result<ExprPtr> ParseFilterChain(ExprPtr e, bool start_inline);
  Result<ExprPtr> ParseTest(ExprPtr e);
  Result<ExprPtr> ParseSubscript(ExprPtr e);
  Result<ExprPtr> ParseSubscribed();
  Result<ExprPtr> ParseListOrDict(bool dict);
  Status ParseCallArgs(Expr& call);
  bool AtTupleEnd(std::string_view end_word) const;

  ExprPtr Make(ExprKind kind) const;
  // Counts `child` into the depth of `parent` and adds it to its arguments.
  Status Adopt(Expr& parent, ExprPtr child) const;
  Status CountDepth(Expr& parent, const ExprPtr& child) const;
  Result<ExprPtr> Binary(ExprKind kind, ExprPtr left, ExprPtr right) const;

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  int macros_ = 0;  // read so far, call blocks too
  int loops_ = 0;   // within this many loops (break and continue)
  int fors_ = 0;    // the same, also within macros and else
};

}  // namespace unimax::jinja
