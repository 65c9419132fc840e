#include "engine/text/jinja/parser.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/text/jinja/expression_parser.h"
#include "engine/text/jinja/lexer.h"
#include "engine/text/jinja/token_stream.h"

namespace switchyard::jinja {
namespace {

using Kind = Statement::Kind;
using StatementPtr = std::unique_ptr<Statement>;
using Names = std::initializer_list<std::string>;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)), expressions_(&tokens_) {}

  absl::StatusOr<Statements> Run() {
    Statements statements = Body({});
    if (!tokens_.ok()) return tokens_.status();
    return statements;
  }

 private:
  // Statements up to a tag named in `ends`, whose name becomes the next token; or, without ends, to the template's end.
  Statements Body(Names ends) {
    Statements statements;
    if (++nesting_ > kMaxNesting) tokens_.Fail(absl::StrCat("tags are nested deeper than ", kMaxNesting, " levels"));
    const int line = tokens_.line();
    while (tokens_.ok()) {
      if (tokens_.Is(Token::Kind::kEnd)) {
        if (ends.size() > 0) {
          tokens_.Fail(absl::StrCat("the tag opened in line ", line, " has no {% ", *(ends.end() - 1), " %}"));
        }
        break;
      }
      StatementPtr statement = New(Kind::kText);
      if (tokens_.Is(Token::Kind::kData)) {
        statement->text = tokens_.Take().text;
      } else if (tokens_.Accept(Token::Kind::kOutputOpen)) {
        statement->kind = Kind::kOutput;
        statement->expression = expressions_.ParseTuple();
        if (!tokens_.Accept(Token::Kind::kOutputClose)) tokens_.FailExpected("}}");
      } else {
        if (!tokens_.Accept(Token::Kind::kBlockOpen)) tokens_.FailExpected("{%");
        if (std::any_of(ends.begin(), ends.end(), [this](const std::string& name) { return tokens_.IsName(name); }))
          break;
        statement = Tag();
      }
      statements.push_back(std::move(statement));
    }
    --nesting_;
    return statements;
  }

  StatementPtr New(Kind kind) {
    auto statement = std::make_unique<Statement>();
    statement->kind = kind;
    statement->line = tokens_.line();
    return statement;
  }
  void Close() {
    if (!tokens_.Accept(Token::Kind::kBlockClose)) tokens_.FailExpected("%}");
  }
  // The body, and its end tag `end`.
  Statements BodyUntil(const std::string& end) {
    Close();
    Statements body = Body({end});
    tokens_.Take();
    return body;
  }

  StatementPtr Tag() {
    StatementPtr statement = New(Kind::kBody);
    const std::string name = tokens_.ExpectName();
    if (name == "if") {
      If(statement.get());
    } else if (name == "for") {
      For(statement.get());
    } else if (name == "set") {
      Set(statement.get());
    } else if (name == "macro") {
      statement->kind = Kind::kMacro;
      statement->names.push_back(tokens_.ExpectName());
      Parameters(statement.get());
      NestedBody(statement.get(), "endmacro");
      tokens_.Accept(Token::Kind::kName);  // the macro's name may be repeated
    } else if (name == "call") {
      statement->kind = Kind::kCall;
      if (tokens_.IsOperator("(")) Parameters(statement.get());
      statement->expression = expressions_.Parse();
      if (tokens_.ok() && statement->expression->kind != Expression::Kind::kCall) tokens_.FailExpected("a call");
      NestedBody(statement.get(), "endcall");
    } else if (name == "filter") {
      statement->kind = Kind::kFilter;
      statement->expression = expressions_.ParseFilters(expressions_.ParseFilter(nullptr));
      statement->body = BodyUntil("endfilter");
    } else if (name == "with") {
      With(statement.get());
    } else if (name == "generation") {
      statement->body = BodyUntil("endgeneration");
    } else if (name == "break" || name == "continue") {
      statement->kind = name == "break" ? Kind::kBreak : Kind::kContinue;
      if (num_loops_ == 0) tokens_.Fail(absl::StrCat("{% ", name, " %} stands outside of a loop"));
    } else if (tokens_.ok()) {
      tokens_.FailUnknown(statement->line, absl::StrCat("the tag {% ", name.substr(0, 60), " %} is not supported"));
    }
    Close();
    return statement;
  }

  // Of a macro: a loop around it is not its own.
  void NestedBody(Statement* statement, const std::string& end) {
    const int num_loops = std::exchange(num_loops_, 0);
    statement->body = BodyUntil(end);
    num_loops_ = num_loops;
  }

  void If(Statement* statement) {
    statement->kind = Kind::kIf;
    bool more = true;
    while (more && tokens_.ok()) {
      Statement::Branch branch{.condition = expressions_.ParseTuple(), .body = {}};
      Close();
      branch.body = Body({"elif", "else", "endif"});
      statement->branches.push_back(std::move(branch));
      more = tokens_.AcceptName("elif");
    }
    if (tokens_.AcceptName("else")) {
      statement->otherwise = BodyUntil("endif");
    } else {
      tokens_.Take();
    }
  }

  void For(Statement* statement) {
    statement->kind = Kind::kFor;
    Targets(statement);
    if (!tokens_.AcceptName("in")) tokens_.FailExpected("'in'");
    statement->expression = expressions_.ParseTuple(/*with_conditional=*/false);
    if (tokens_.AcceptName("if")) statement->condition = expressions_.Parse();
    if (tokens_.IsName("recursive")) tokens_.FailUnknown(tokens_.line(), "recursive loops are not supported");
    Close();
    ++num_loops_;
    statement->body = Body({"else", "endfor"});
    --num_loops_;
    if (tokens_.AcceptName("else")) {
      statement->otherwise = BodyUntil("endfor");
    } else {
      tokens_.Take();
    }
  }

  void Targets(Statement* statement) {
    const bool parenthesised = tokens_.AcceptOperator("(");
    do {
      statement->names.push_back(tokens_.ExpectName());
    } while (tokens_.AcceptOperator(",") && tokens_.Is(Token::Kind::kName) && !tokens_.IsName("in"));
    if (parenthesised) tokens_.ExpectOperator(")");
  }

  void Set(Statement* statement) {
    Targets(statement);
    if (statement->names.size() == 1 && tokens_.AcceptOperator(".")) {
      statement->names.push_back(tokens_.ExpectName());
      tokens_.ExpectOperator("=");
      statement->kind = Kind::kSetField;
      statement->expression = expressions_.ParseTuple();
    } else if (tokens_.AcceptOperator("=")) {
      statement->kind = Kind::kSet;
      statement->expression = expressions_.ParseTuple();
    } else {
      if (statement->names.size() != 1) tokens_.FailExpected("'='");
      statement->kind = Kind::kSetBlock;
      if (tokens_.AcceptOperator("|")) {
        statement->expression = expressions_.ParseFilters(expressions_.ParseFilter(nullptr));
      }
      statement->body = BodyUntil("endset");
    }
  }

  void Parameters(Statement* statement) {
    tokens_.ExpectOperator("(");
    while (tokens_.ok() && !tokens_.AcceptOperator(")")) {
      Parameter parameter{.name = tokens_.ExpectName(), .fallback = nullptr};
      if (tokens_.AcceptOperator("=")) parameter.fallback = expressions_.Parse();
      statement->parameters.push_back(std::move(parameter));
      if (!tokens_.AcceptOperator(",") && !tokens_.IsOperator(")")) tokens_.FailExpected("',' or ')'");
    }
  }

  void With(Statement* statement) {
    statement->kind = Kind::kWith;
    while (tokens_.ok() && !tokens_.Is(Token::Kind::kBlockClose)) {
      statement->names.push_back(tokens_.ExpectName());
      tokens_.ExpectOperator("=");
      statement->values.push_back(expressions_.Parse());
      if (!tokens_.AcceptOperator(",")) break;
    }
    statement->body = BodyUntil("endwith");
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  int nesting_ = 0;
  int num_loops_ = 0;  // around the next statement, within its macro
};

}  // namespace

absl::StatusOr<Statements> Parse(std::string_view source) {
  absl::StatusOr<std::vector<Token>> tokens = Tokenize(source);
  if (!tokens.ok()) return tokens.status();
  return Parser(*std::move(tokens)).Run();
}

}  // namespace switchyard::jinja
