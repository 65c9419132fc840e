// A parsed template. Immutable after parsing.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/text/jinja/value.h"

namespace switchyard::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

// Operands of a call, a filter or a test.
struct Operands {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};

struct Expression {
  enum class Kind {
    kLiteral,      // literal
    kName,         // name
    kList,         // children; a tuple too
    kDict,         // children: key, value, key, value, …
    kAttribute,    // children[0].name
    kSubscript,    // children[0][children[1]]
    kSlice,        // children[0][children[1]:children[2]:children[3]], null where absent
    kCall,         // children[0](operands)
    kFilter,       // children[0] | name(operands); children[0] is null in a filter block
    kTest,         // children[0] is name(operands)
    kNot,          // children[0]
    kNegative,     // children[0]
    kPositive,     // children[0]
    kAnd,          // children[0] and children[1]
    kOr,           // children[0] or children[1]
    kBinary,       // children[0] name children[1]: an arithmetic operator or ~
    kComparisons,  // children[0] names[0] children[1] names[1] children[2] …: chained, as in Python
    kConditional   // children[0] if children[1] else children[2], which may be null
  };
  Kind kind;
  int line = 1;
  int depth = 1;  // levels of expressions, this one included
  std::string name;
  std::vector<std::string> names;
  Value literal;
  std::vector<ExpressionPtr> children;
  Operands operands;
};

struct Statement;
using Statements = std::vector<std::unique_ptr<Statement>>;

// Of a macro or a call block.
struct Parameter {
  std::string name;
  ExpressionPtr fallback;  // null: undefined where the caller gives none
};

struct Statement {
  enum class Kind {
    kText,      // text
    kOutput,    // expression
    kIf,        // branches in order, then `otherwise`
    kFor,       // names in expression if condition: body, or `otherwise` when nothing was iterated
    kSet,       // names = expression
    kSetField,  // names[0].names[1] = expression
    kSetBlock,  // names[0] = body, filtered by `expression` if it is there
    kFilter,    // body, filtered by `expression`
    kMacro,     // names[0](parameters): body
    kCall,      // expression, a kCall, whose caller(parameters) is body
    kWith,      // body, with names[i] = values[i]
    kBody,      // body: {% generation %}
    kBreak,
    kContinue
  };
  struct Branch {
    ExpressionPtr condition;
    Statements body;
  };

  Kind kind;
  int line = 1;
  std::string text;
  std::vector<std::string> names;
  ExpressionPtr expression;
  ExpressionPtr condition;
  std::vector<ExpressionPtr> values;
  std::vector<Branch> branches;
  std::vector<Parameter> parameters;
  Statements body;
  Statements otherwise;
};

}  // namespace switchyard::jinja
