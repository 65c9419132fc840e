// Expressions, with jinja2's precedence: if-else, or, and, not, comparisons, + -, ~, * / // %, **, unary, postfix.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "engine/text/jinja/ast.h"
#include "engine/text/jinja/token_stream.h"

namespace switchyard::jinja {

// Never returns null: after a fault, which the stream keeps, anything.
class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream* tokens) : tokens_(*tokens) {}  // borrowed

  // `with_conditional`: may be "a if b else c"; not so behind "for x in", where "if" is the loop's own.
  ExpressionPtr Parse(bool with_conditional = true);
  // An expression, or several between commas: a tuple.
  ExpressionPtr ParseTuple(bool with_conditional = true);
  // `subject` and the filters behind it: "| a | b(1)". A null subject is a filter block's body.
  ExpressionPtr ParseFilters(ExpressionPtr subject);
  // One filter, its "|" already taken.
  ExpressionPtr ParseFilter(ExpressionPtr subject);

 private:
  ExpressionPtr Or();
  ExpressionPtr And();
  ExpressionPtr Not();
  ExpressionPtr Comparisons();
  // Left-associative binary operators; `level` 0: + -, 1: ~, 2: * / // %.
  ExpressionPtr Binary(int level);
  ExpressionPtr Power();
  ExpressionPtr Unary(bool with_filters);
  ExpressionPtr Primary();
  ExpressionPtr Postfix(ExpressionPtr subject);
  ExpressionPtr Subscript(ExpressionPtr subject);
  ExpressionPtr DictLiteral();
  ExpressionPtr ListUntil(const std::string& close, bool parenthesised);
  ExpressionPtr Test(ExpressionPtr subject);
  Operands Call();

  template <typename... T>
  static std::vector<ExpressionPtr> Children(T... children) {
    std::vector<ExpressionPtr> result;
    (result.push_back(std::move(children)), ...);
    return result;
  }
  ExpressionPtr Make(Expression::Kind kind, std::vector<ExpressionPtr> children, std::string name = "");
  void SetDepth(Expression* expression);

  TokenStream& tokens_;
  int nesting_ = 0;
};

}  // namespace switchyard::jinja
