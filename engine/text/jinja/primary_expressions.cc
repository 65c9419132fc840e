// ExpressionParser: values as they are written, and what stands behind one: attributes, subscripts, calls, filters and
// tests.
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/expression_parser.h"

namespace switchyard::jinja {
namespace {

using Kind = Expression::Kind;

}  // namespace

ExpressionPtr ExpressionParser::Primary() {
  const Token token = tokens_.Take();
  ExpressionPtr expression = Make(Kind::kLiteral, {});
  expression->line = token.line;
  switch (token.kind) {
    case Token::Kind::kName:
      if (token.text == "true" || token.text == "True") {
        expression->literal = Value(true);
      } else if (token.text == "false" || token.text == "False") {
        expression->literal = Value(false);
      } else if (token.text == "none" || token.text == "None") {
        expression->literal = Value(None{});
      } else {
        expression->kind = Kind::kName;
        expression->name = token.text;
      }
      return expression;
    case Token::Kind::kString: {
      std::string text = token.text;
      while (tokens_.Is(Token::Kind::kString)) text += tokens_.Take().text;
      expression->literal = Value(std::move(text));
      return expression;
    }
    case Token::Kind::kInteger: {
      int64_t number = 0;
      if (!absl::SimpleAtoi(token.text, &number)) {
        tokens_.Fail(absl::StrCat("the number ", token.text.substr(0, 40), " does not fit 64 bits"));
      }
      expression->literal = Value(number);
      return expression;
    }
    case Token::Kind::kFloat: {
      double number = 0;
      if (!absl::SimpleAtod(token.text, &number)) tokens_.Fail("a number cannot be read");
      expression->literal = Value(number);
      return expression;
    }
    case Token::Kind::kOperator:
      if (token.text == "(") return ListUntil(")", /*parenthesised=*/true);
      if (token.text == "[") return ListUntil("]", /*parenthesised=*/false);
      if (token.text == "{") return DictLiteral();
      break;
    default:
      break;
  }
  tokens_.Fail(absl::StrCat("expected an expression, found ",
                            token.text.empty() ? "none" : absl::StrCat("'", token.text.substr(0, 40), "'")));
  return expression;
}

ExpressionPtr ExpressionParser::ListUntil(const std::string& close, bool parenthesised) {
  ExpressionPtr list = Make(Kind::kList, {});
  bool has_comma = false;
  while (tokens_.ok() && !tokens_.AcceptOperator(close)) {
    list->children.push_back(Parse());
    if (tokens_.AcceptOperator(",")) {
      has_comma = true;
    } else if (!tokens_.IsOperator(close)) {
      tokens_.FailExpected(absl::StrCat("',' or '", close, "'"));
    }
  }
  SetDepth(list.get());
  if (parenthesised && !has_comma && list->children.size() == 1) return std::move(list->children[0]);
  return list;
}

ExpressionPtr ExpressionParser::DictLiteral() {
  ExpressionPtr dict = Make(Kind::kDict, {});
  while (tokens_.ok() && !tokens_.AcceptOperator("}")) {
    dict->children.push_back(Parse());
    tokens_.ExpectOperator(":");
    dict->children.push_back(Parse());
    if (!tokens_.AcceptOperator(",") && !tokens_.IsOperator("}")) tokens_.FailExpected("',' or '}'");
  }
  SetDepth(dict.get());
  return dict;
}

ExpressionPtr ExpressionParser::Postfix(ExpressionPtr subject) {
  while (tokens_.ok()) {
    if (tokens_.AcceptOperator(".")) {
      if (tokens_.Is(Token::Kind::kInteger)) {
        ExpressionPtr index = Primary();
        subject = Make(Kind::kSubscript, Children(std::move(subject), std::move(index)));
      } else {
        subject = Make(Kind::kAttribute, Children(std::move(subject)), tokens_.ExpectName());
      }
    } else if (tokens_.AcceptOperator("[")) {
      subject = Subscript(std::move(subject));
    } else if (tokens_.IsOperator("(")) {
      ExpressionPtr call = Make(Kind::kCall, Children(std::move(subject)));
      call->operands = Call();
      SetDepth(call.get());
      subject = std::move(call);
    } else {
      break;
    }
  }
  return subject;
}

ExpressionPtr ExpressionParser::Subscript(ExpressionPtr subject) {
  std::vector<ExpressionPtr> parts(1);
  while (tokens_.ok() && !tokens_.IsOperator("]")) {
    if (tokens_.AcceptOperator(":")) {
      parts.emplace_back();
    } else if (parts.back() == nullptr) {
      parts.back() = Parse();
    } else {
      tokens_.FailExpected("']'");
    }
  }
  tokens_.ExpectOperator("]");
  const bool is_slice = parts.size() > 1;
  if (parts.size() > 3 || (!is_slice && parts[0] == nullptr)) tokens_.Fail("a subscript [] is malformed");
  if (is_slice) parts.resize(3);
  parts.insert(parts.begin(), std::move(subject));
  return Make(is_slice ? Kind::kSlice : Kind::kSubscript, std::move(parts));
}

Operands ExpressionParser::Call() {
  Operands operands;
  tokens_.ExpectOperator("(");
  while (tokens_.ok() && !tokens_.AcceptOperator(")")) {
    const bool is_named =
        tokens_.Is(Token::Kind::kName) && tokens_.Peek(1).kind == Token::Kind::kOperator && tokens_.Peek(1).text == "=";
    if (tokens_.IsOperator("*") || tokens_.IsOperator("**")) {
      tokens_.FailUnknown(tokens_.line(), "unpacked arguments (* and **) are not supported");
    } else if (is_named) {
      std::string name = tokens_.Take().text;
      tokens_.Take();
      operands.named.emplace_back(std::move(name), Parse());
    } else if (!operands.named.empty()) {
      tokens_.Fail("a positional argument stands behind a named one");
    } else {
      operands.positional.push_back(Parse());
    }
    if (!tokens_.AcceptOperator(",") && !tokens_.IsOperator(")")) tokens_.FailExpected("',' or ')'");
  }
  return operands;
}

ExpressionPtr ExpressionParser::ParseFilters(ExpressionPtr subject) {
  while (tokens_.ok()) {
    if (tokens_.AcceptOperator("|")) {
      subject = ParseFilter(std::move(subject));
    } else if (tokens_.AcceptName("is")) {
      subject = Test(std::move(subject));
    } else if (tokens_.IsOperator("(")) {
      subject = Postfix(std::move(subject));
    } else {
      break;
    }
  }
  return subject;
}

ExpressionPtr ExpressionParser::ParseFilter(ExpressionPtr subject) {
  const int line = tokens_.line();
  std::string name = tokens_.ExpectName();
  if (tokens_.ok() && FindFilter(name) == nullptr) {
    tokens_.FailUnknown(line, absl::StrCat("the filter '", name.substr(0, 60), "' is not supported"));
  }
  ExpressionPtr filter = Make(Kind::kFilter, Children(std::move(subject)), std::move(name));
  if (tokens_.IsOperator("(")) filter->operands = Call();
  SetDepth(filter.get());
  return filter;
}

ExpressionPtr ExpressionParser::Test(ExpressionPtr subject) {
  const bool negated = tokens_.AcceptName("not");
  const int line = tokens_.line();
  std::string name = tokens_.ExpectName();
  if (tokens_.ok() && FindTest(name) == nullptr) {
    tokens_.FailUnknown(line, absl::StrCat("the test 'is ", name.substr(0, 60), "' is not supported"));
  }
  ExpressionPtr test = Make(Kind::kTest, Children(std::move(subject)), std::move(name));
  if (tokens_.IsOperator("(")) {
    test->operands = Call();
  } else {
    // One operand needs no parentheses: "is divisibleby 3".
    bool has_operand = tokens_.Is(Token::Kind::kString) || tokens_.Is(Token::Kind::kInteger) ||
                       tokens_.Is(Token::Kind::kFloat) || tokens_.IsOperator("[") || tokens_.IsOperator("{");
    if (tokens_.Is(Token::Kind::kName)) {
      has_operand = true;
      for (const std::string_view word : {"else", "or", "and", "if", "is", "in", "not", "recursive"}) {
        has_operand = has_operand && !tokens_.IsName(word);
      }
    }
    if (has_operand) test->operands.positional.push_back(Postfix(Primary()));
  }
  SetDepth(test.get());
  return negated ? Make(Kind::kNot, Children(std::move(test))) : std::move(test);
}

}  // namespace switchyard::jinja
