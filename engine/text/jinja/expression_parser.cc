#include "engine/text/jinja/expression_parser.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/text/jinja/parser.h"

namespace switchyard::jinja {
namespace {

using Kind = Expression::Kind;

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

}  // namespace switchyard::jinja
