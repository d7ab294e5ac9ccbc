// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_parser.h"

#include <algorithm>

#include "text/jinja_parser_impl.h"
#include "text/jinja_scopes.h"

namespace unimax::jinja {

bool Parser::SkipSign(std::string_view sign) {
  if (!AtSign(sign)) return false;
  Next();
  return true;
}
bool Parser::SkipName(std::string_view name) {
  if (!AtName(name)) return false;
  Next();
  return true;
}

Status Parser::Fail(std::string_view reason) const { return ErrorAt(Peek().place, reason); }

Status Parser::Unexpected() const {
  const Token& t = Peek();
  if (t.type == Tok::kEnd) return Fail("the template ends too early");
  if (t.type == Tok::kVariableEnd || t.type == Tok::kBlockEnd) return Fail("unexpected end of a tag");
  return Fail(fmt::format("unexpected '{}'", t.text));
}

Status Parser::ExpectSign(std::string_view sign) { return SkipSign(sign) ? Status() : Unexpected(); }
Status Parser::ExpectName(std::string_view name) { return SkipName(name) ? Status() : Unexpected(); }

Result<std::string> Parser::AnyName() {
  if (Peek().type != Tok::kName) return Unexpected();
  return Next().text;
}

Result<Body> Parser::ParseAll() {
  UM_ASSIGN_OR_RETURN(Body body, ParseBody({}));
  if (Peek().type != Tok::kEnd) return Unexpected();
  return body;
}

// Reads until a tag that begins with one of `end_words`, which is left current; with none, until the end.
Result<Body> Parser::ParseBody(Words end_words) {
  if (nesting_ >= kMaxNesting) return Fail("blocks are nested too deep");
  ++nesting_;
  Body body;
  while (true) {
    const Token& token = Peek();
    if (token.type == Tok::kEnd) {
      if (end_words.size() > 0) return Fail(fmt::format("the template ends before '{}'", *(end_words.end() - 1)));
      break;
    }
    auto s = std::make_unique<Stmt>();
    s->place = token.place;
    if (token.type == Tok::kData) {
      s->kind = StmtKind::kData;
      s->text = Next().text;
    } else if (token.type == Tok::kVariableBegin) {
      Next();
      s->kind = StmtKind::kOutput;
      UM_ASSIGN_OR_RETURN(ExprPtr e, ParseTuple(true, "", false));
      s->exprs.push_back(std::move(e));
      if (Peek().type != Tok::kVariableEnd) return Unexpected();
      Next();
    } else {
      Next();  // kBlockBegin
      if (std::any_of(end_words.begin(), end_words.end(), [&](std::string_view w) { return AtName(w); })) break;
      UM_ASSIGN_OR_RETURN(s, ParseStatement());
      if (Peek().type != Tok::kBlockEnd) return Unexpected();
      Next();
    }
    if (s != nullptr) body.stmts.push_back(std::move(s));
  }
  --nesting_;
  return body;
}

Status Parser::ParseClosed(Stmt& s, std::string_view end_word) {
  if (Peek().type != Tok::kBlockEnd) return Unexpected();
  Next();
  UM_ASSIGN_OR_RETURN(Body body, ParseBody({end_word}));
  s.bodies.push_back(std::move(body));
  return ExpectName(end_word);
}

Result<StmtPtr> Parser::ParseStatement() {
  auto s = std::make_unique<Stmt>();
  s->place = Peek().place;
  UM_ASSIGN_OR_RETURN(const std::string word, AnyName());
  if (word == "for") return ParseFor(std::move(s));
  if (word == "if") return ParseIf(std::move(s));
  if (word == "set") return ParseSet(std::move(s));
  if (word == "macro" || word == "call") {
    s->kind = word == "macro" ? StmtKind::kMacro : StmtKind::kCallBlock;
    return ParseMacro(std::move(s));
  }
  if (word == "with") return ParseWith(std::move(s));
  if (word == "filter") {
    s->kind = StmtKind::kFilter;
    UM_ASSIGN_OR_RETURN(ExprPtr chain, ParseFilterChain(nullptr, true));
    s->exprs.push_back(std::move(chain));
    UM_RETURN_IF_ERROR(ParseClosed(*s, "endfilter"));
    return s;
  }
  if (word == "block") {
    s->kind = StmtKind::kScope;
    UM_ASSIGN_OR_RETURN(s->text, AnyName());
    SkipName("scoped");
    UM_RETURN_IF_ERROR(ParseClosed(*s, "endblock"));
    if (Peek().type == Tok::kName) Next();  // the end tag may repeat the name
    return s;
  }
  if (word == "generation") {
    s->kind = StmtKind::kScope;
    UM_RETURN_IF_ERROR(ParseClosed(*s, "endgeneration"));
    return s;
  }
  if (word == "autoescape") {
    s->kind = StmtKind::kAutoescape;
    UM_ASSIGN_OR_RETURN(ExprPtr on, ParseExpression());
    s->exprs.push_back(std::move(on));
    UM_RETURN_IF_ERROR(ParseClosed(*s, "endautoescape"));
    return s;
  }
  if (word == "break" || word == "continue") {
    if (loops_ == 0) return Fail(fmt::format("'{}' outside of a loop", word));
    s->kind = word == "break" ? StmtKind::kBreak : StmtKind::kContinue;
    return s;
  }
  if (word == "print") {
    s->kind = StmtKind::kOutput;
    UM_ASSIGN_OR_RETURN(ExprPtr e, ParseTuple(true, "", false));
    s->exprs.push_back(std::move(e));
    return s;
  }
  if (word == "include" || word == "import" || word == "extends" || word == "from") {
    s->kind = StmtKind::kUnavailable;
    s->text = word;
    while (Peek().type != Tok::kBlockEnd && Peek().type != Tok::kEnd) Next();
    return s;
  }
  return Fail(fmt::format("unknown tag '{}'", word));
}

Result<StmtPtr> Parser::ParseFor(StmtPtr s) {
  s->kind = StmtKind::kFor;
  UM_ASSIGN_OR_RETURN(ExprPtr target, ParseTarget(true, false, "in"));
  UM_RETURN_IF_ERROR(ExpectName("in"));
  UM_ASSIGN_OR_RETURN(ExprPtr iterable, ParseTuple(false, "recursive", false));
  ExprPtr filter;
  if (SkipName("if")) {
    UM_ASSIGN_OR_RETURN(filter, ParseExpression());
  }
  s->recursive = SkipName("recursive");
  if (Peek().type != Tok::kBlockEnd) return Unexpected();
  Next();
  ++loops_;
  ++fors_;
  const int macros = macros_;
  UM_ASSIGN_OR_RETURN(Body body, ParseBody({"endfor", "else"}));
  s->keeps_scopes = macros_ != macros;
  --loops_;
  Body otherwise;
  if (Next().text == "else") {
    if (Peek().type != Tok::kBlockEnd) return Unexpected();
    Next();
    UM_ASSIGN_OR_RETURN(otherwise, ParseBody({"endfor"}));
    Next();
  }
  --fors_;
  s->targets.push_back(std::move(target));
  s->exprs.push_back(std::move(iterable));
  s->exprs.push_back(std::move(filter));
  s->bodies.push_back(std::move(body));
  s->bodies.push_back(std::move(otherwise));
  return s;
}

Result<StmtPtr> Parser::ParseIf(StmtPtr s) {
  s->kind = StmtKind::kIf;
  while (true) {
    UM_ASSIGN_OR_RETURN(ExprPtr test, ParseTuple(false, "", false));
    s->exprs.push_back(std::move(test));
    if (Peek().type != Tok::kBlockEnd) return Unexpected();
    Next();
    UM_ASSIGN_OR_RETURN(Body body, ParseBody({"elif", "else", "endif"}));
    s->bodies.push_back(std::move(body));
    const std::string word = Next().text;
    if (word == "elif") continue;
    if (word == "else") UM_RETURN_IF_ERROR(ParseClosed(*s, "endif"));
    return s;
  }
}

Result<StmtPtr> Parser::ParseSet(StmtPtr s) {
  UM_ASSIGN_OR_RETURN(ExprPtr target, ParseTarget(true, true, ""));
  s->targets.push_back(std::move(target));
  if (SkipSign("=")) {
    s->kind = StmtKind::kSet;
    UM_ASSIGN_OR_RETURN(ExprPtr value, ParseTuple(true, "", false));
    s->exprs.push_back(std::move(value));
    return s;
  }
  s->kind = StmtKind::kSetBlock;
  UM_ASSIGN_OR_RETURN(ExprPtr chain, ParseFilterChain(nullptr, false));
  s->exprs.push_back(std::move(chain));
  UM_RETURN_IF_ERROR(ParseClosed(*s, "endset"));
  return s;
}

Status Parser::ParseSignature(Stmt& s) {
  UM_RETURN_IF_ERROR(ExpectSign("("));
  while (!AtSign(")")) {
    if (!s.parameters.empty()) UM_RETURN_IF_ERROR(ExpectSign(","));
    Parameter p;
    UM_ASSIGN_OR_RETURN(p.name, AnyName());
    if (SkipSign("=")) {
      UM_ASSIGN_OR_RETURN(p.fallback, ParseExpression());
    } else if (!s.parameters.empty() && s.parameters.back().fallback != nullptr) {
      return Fail("a parameter without a default follows one with a default");
    }
    s.parameters.push_back(std::move(p));
  }
  return ExpectSign(")");
}

Result<StmtPtr> Parser::ParseMacro(StmtPtr s) {
  const bool is_macro = s->kind == StmtKind::kMacro;
  ++macros_;
  if (is_macro) {
    UM_ASSIGN_OR_RETURN(s->text, AnyName());
    UM_RETURN_IF_ERROR(ParseSignature(*s));
  } else {
    if (AtSign("(")) UM_RETURN_IF_ERROR(ParseSignature(*s));
    UM_ASSIGN_OR_RETURN(ExprPtr call, ParseExpression());
    if (call->kind != ExprKind::kCall) return Fail("expected a call");
    s->exprs.push_back(std::move(call));
  }
  const int outer_loops = std::exchange(loops_, 0);
  const size_t from = at_;
  UM_RETURN_IF_ERROR(ParseClosed(*s, is_macro ? "endmacro" : "endcall"));
  loops_ = outer_loops;
  for (size_t i = from; i < at_; ++i) {
    if (tokens_[i].type != Tok::kName) continue;
    s->takes_varargs |= tokens_[i].text == "varargs";
    s->takes_kwargs |= tokens_[i].text == "kwargs";
    s->takes_caller |= tokens_[i].text == "caller";
  }
  return s;
}

Result<StmtPtr> Parser::ParseWith(StmtPtr s) {
  s->kind = StmtKind::kWith;
  while (Peek().type != Tok::kBlockEnd) {
    if (!s->targets.empty()) UM_RETURN_IF_ERROR(ExpectSign(","));
    UM_ASSIGN_OR_RETURN(ExprPtr target, ParseTarget(true, false, ""));
    UM_RETURN_IF_ERROR(ExpectSign("="));
    UM_ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
    s->targets.push_back(std::move(target));
    s->exprs.push_back(std::move(value));
  }
  UM_RETURN_IF_ERROR(ParseClosed(*s, "endwith"));
  return s;
}

// A name, a tuple of targets, or name.attribute where `with_namespace`.
Result<ExprPtr> Parser::ParseTarget(bool with_tuple, bool with_namespace, std::string_view end_word) {
  if (nesting_ >= kMaxNesting) return Fail("targets are nested too deep");
  ++nesting_;
  ExprPtr tuple = Make(ExprKind::kTuple);
  bool comma = false;
  while (true) {
    if (!tuple->args.empty()) UM_RETURN_IF_ERROR(ExpectSign(","));
    if (AtTupleEnd(end_word)) break;
    ExprPtr item = Make(ExprKind::kName);
    if (SkipSign("(")) {
      UM_ASSIGN_OR_RETURN(item, ParseTarget(true, with_namespace, ""));
      UM_RETURN_IF_ERROR(ExpectSign(")"));
    } else {
      UM_ASSIGN_OR_RETURN(item->text, AnyName());
      constexpr std::string_view kReserved[] = {"true", "false", "none", "True", "False", "None"};
      if (std::find(std::begin(kReserved), std::end(kReserved), item->text) != std::end(kReserved)) {
        return Fail(fmt::format("cannot assign to '{}'", item->text));
      }
      if (with_namespace && SkipSign(".")) {
        item->kind = ExprKind::kNsRef;
        UM_ASSIGN_OR_RETURN(item->attribute, AnyName());
      } else if (item->text == "loop" && (end_word == "in" || (with_namespace && fors_ > 0))) {
        return Fail("cannot assign to 'loop' in a for loop");
      }
    }
    UM_RETURN_IF_ERROR(Adopt(*tuple, std::move(item)));
    if (!with_tuple || !AtSign(",")) break;
    comma = true;
  }
  --nesting_;
  if (tuple->args.empty()) return Unexpected();
  if (comma) return tuple;
  return std::move(tuple->args[0]);
}

Result<std::unique_ptr<const Program>> ParseTemplate(std::string_view source) {
  UM_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  auto program = std::make_unique<Program>();
  Parser parser(std::move(tokens));
  UM_ASSIGN_OR_RETURN(program->body, parser.ParseAll());
  FindUndefined(program->body);
  return std::unique_ptr<const Program>(std::move(program));
}

}  // namespace unimax::jinja
