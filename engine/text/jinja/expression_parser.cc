#include "engine/text/jinja/expression_parser.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/parser.h"

namespace switchyard::jinja {
namespace {

using Kind = Expression::Kind;

template <typename... T>
std::vector<ExpressionPtr> Children(T... children) {
  std::vector<ExpressionPtr> result;
  (result.push_back(std::move(children)), ...);
  return result;
}

constexpr std::array<std::array<std::string_view, 4>, 3> kLevels = {{{"+", "-"}, {"~"}, {"*", "/", "//", "%"}}};

}  // namespace

ExpressionPtr ExpressionParser::Make(Kind kind, std::vector<ExpressionPtr> children, std::string name) {
  auto expression = std::make_unique<Expression>(
      Expression{.kind = kind, .line = tokens_.line(), .name = std::move(name), .children = std::move(children)});
  SetDepth(expression.get());
  return expression;
}

void ExpressionParser::SetDepth(Expression* expression) {
  const auto add = [expression](const ExpressionPtr& child) {
    if (child != nullptr) expression->depth = std::max(expression->depth, child->depth + 1);
  };
  for (const ExpressionPtr& child : expression->children) add(child);
  for (const ExpressionPtr& child : expression->operands.positional) add(child);
  for (const auto& [name, child] : expression->operands.named) add(child);
  if (expression->depth > kMaxNesting) {
    tokens_.Fail(absl::StrCat("an expression is nested deeper than ", kMaxNesting, " levels"));
  }
}

ExpressionPtr ExpressionParser::Parse(bool with_conditional) {
  if (++nesting_ > kMaxNesting) {
    tokens_.Fail(absl::StrCat("an expression is nested deeper than ", kMaxNesting, " levels"));
  }
  ExpressionPtr expression = tokens_.ok() ? Or() : Make(Kind::kLiteral, {});
  while (with_conditional && tokens_.AcceptName("if")) {
    ExpressionPtr condition = Or();
    ExpressionPtr otherwise = tokens_.AcceptName("else") ? Parse() : nullptr;
    expression = Make(Kind::kConditional, Children(std::move(expression), std::move(condition), std::move(otherwise)));
  }
  --nesting_;
  return expression;
}

ExpressionPtr ExpressionParser::ParseTuple(bool with_conditional) {
  ExpressionPtr first = Parse(with_conditional);
  if (!tokens_.IsOperator(",")) return first;
  ExpressionPtr tuple = Make(Kind::kList, Children(std::move(first)));
  while (tokens_.AcceptOperator(",")) {
    if (tokens_.Is(Token::Kind::kBlockClose) || tokens_.Is(Token::Kind::kOutputClose)) break;
    tuple->children.push_back(Parse(with_conditional));
  }
  SetDepth(tuple.get());
  return tuple;
}

ExpressionPtr ExpressionParser::Or() {
  ExpressionPtr left = And();
  while (tokens_.AcceptName("or")) left = Make(Kind::kOr, Children(std::move(left), And()));
  return left;
}

ExpressionPtr ExpressionParser::And() {
  ExpressionPtr left = Not();
  while (tokens_.AcceptName("and")) left = Make(Kind::kAnd, Children(std::move(left), Not()));
  return left;
}

ExpressionPtr ExpressionParser::Not() {
  int count = 0;
  while (tokens_.AcceptName("not")) ++count;
  ExpressionPtr operand = Comparisons();
  for (; count > 0 && tokens_.ok(); --count) operand = Make(Kind::kNot, Children(std::move(operand)));
  return operand;
}

ExpressionPtr ExpressionParser::Comparisons() {
  ExpressionPtr first = Binary(0);
  ExpressionPtr chain;
  while (tokens_.ok()) {
    std::string op;
    for (const std::string_view known : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (op.empty() && tokens_.AcceptOperator(known)) op = known;
    }
    if (op.empty() && tokens_.AcceptName("in")) op = "in";
    if (op.empty() && tokens_.IsName("not") && tokens_.Peek(1).kind == Token::Kind::kName &&
        tokens_.Peek(1).text == "in") {
      tokens_.Take();
      tokens_.Take();
      op = "not in";
    }
    if (op.empty()) break;
    if (chain == nullptr) chain = Make(Kind::kComparisons, Children(std::move(first)));
    chain->names.push_back(op);
    chain->children.push_back(Binary(0));
    SetDepth(chain.get());
  }
  return chain != nullptr ? std::move(chain) : std::move(first);
}

ExpressionPtr ExpressionParser::Binary(int level) {
  const auto operand = [this, level] {
    return level + 1 < static_cast<int>(kLevels.size()) ? Binary(level + 1) : Power();
  };
  ExpressionPtr left = operand();
  while (tokens_.Is(Token::Kind::kOperator)) {
    const auto& operators = kLevels[level];
    const std::string op = tokens_.Peek().text;
    if (std::find(operators.begin(), operators.end(), op) == operators.end()) break;
    tokens_.Take();
    left = Make(Kind::kBinary, Children(std::move(left), operand()), op);
  }
  return left;
}

ExpressionPtr ExpressionParser::Power() {
  ExpressionPtr base = Unary(/*with_filters=*/true);
  if (tokens_.IsOperator("**")) tokens_.FailUnknown(tokens_.line(), "the operator ** is not supported");
  return base;
}

ExpressionPtr ExpressionParser::Unary(bool with_filters) {
  for (const auto& [sign, kind] : {std::pair{"-", Kind::kNegative}, std::pair{"+", Kind::kPositive}}) {
    if (!tokens_.AcceptOperator(sign)) continue;
    if (++nesting_ > kMaxNesting) tokens_.Fail("too many signs before a value");
    ExpressionPtr operand =
        Make(kind, tokens_.ok() ? Children(Unary(/*with_filters=*/false)) : std::vector<ExpressionPtr>());
    --nesting_;
    return with_filters ? ParseFilters(std::move(operand)) : std::move(operand);
  }
  ExpressionPtr expression = Postfix(Primary());
  return with_filters ? ParseFilters(std::move(expression)) : std::move(expression);
}

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
