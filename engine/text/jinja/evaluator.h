// Runs a parsed template.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "engine/text/jinja/ast.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/context.h"
#include "engine/text/jinja/scope.h"

namespace switchyard::jinja {

// One rendering. Not thread-safe.
class Evaluator {
 public:
  // `context` is borrowed. `now` is what strftime_now tells, in local time.
  Evaluator(Context* context, absl::Time now) : context_(*context), now_(now) {}

  // Appends to `output`. Faults stay in the context.
  void Run(const Statements& statements, Scope* scope, std::string* output);

 private:
  enum class Flow { kNext, kBreak, kContinue };

  // statements, in evaluator.cc
  Flow Execute(const Statements& statements, Scope* scope);
  Flow Execute(const Statement& statement, Scope* scope);
  Flow For(const Statement& statement, const Scope* scope);
  void Assign(const Statement& statement, Value value, Scope* scope);
  void SetField(const Statement& statement, const Scope* scope);
  // What `statements` write.
  Value Capture(const Statements& statements, Scope* scope);
  void Write(std::string_view text);

  // expressions, in expressions.cc
  Value Evaluate(const Expression* expression, const Scope* scope);  // null: undefined
  Value EvaluateKind(const Expression& expression, const Scope* scope);
  Value Name(const Expression& expression, const Scope* scope);
  Value ListOf(const Expression& expression, const Scope* scope);
  Value DictOf(const Expression& expression, const Scope* scope);
  Value Negative(const Expression& expression, const Scope* scope);
  Value Comparisons(const Expression& expression, const Scope* scope);
  Value SliceOf(const Expression& expression, const Scope* scope);
  Value FilterOf(const Expression& expression, const Scope* scope);
  Value TestOf(const Expression& expression, const Scope* scope);
  Value BinaryOf(const Expression& expression, const Scope* scope);
  Value Call(const Expression& expression, const Scope* scope, const Value* caller);
  Arguments Evaluate(const Operands& operands, const Scope* scope);
  Value CallFunction(const Function& function, Arguments arguments, const Value* caller);
  Value CallMacro(const Function& function, Arguments* arguments, const Value* caller);
  Value CallBuiltin(const std::string& name, Arguments* arguments);
  Value Range(Arguments* arguments);
  Value Cycle(const Scope* scope, Arguments* arguments);

  Context& context_;
  const absl::Time now_;
  std::string* output_ = nullptr;
  const Value* filtered_ = nullptr;  // a filter block's text, or null
  int depth_ = 0;
};

// The functions that every template has, for the outermost scope.
void AddGlobals(Scope* scope);

}  // namespace switchyard::jinja
