// The expressions of Evaluator.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/text/jinja/evaluator.h"

namespace switchyard::jinja {
namespace {

using Kind = Expression::Kind;

constexpr const char* kGlobals[] = {"range", "namespace", "dict", "raise_exception", "strftime_now"};

}  // namespace

void AddGlobals(Scope* scope) {
  for (const char* name : kGlobals) {
    scope->Set(name, Value(std::make_shared<const Function>(Function{.name = name})));
  }
}

Value Evaluator::Evaluate(const Expression* expression, const Scope* scope) {
  if (expression == nullptr || !context_.Charge(1)) return Value();
  ++depth_;
  Value value = context_.CheckDepth(depth_) ? EvaluateKind(*expression, scope) : Value();
  --depth_;
  return context_.ok() ? value : Value();
}

Value Evaluator::EvaluateKind(const Expression& expression, const Scope* scope) {
  const auto child = [&](size_t i) { return Evaluate(expression.children[i].get(), scope); };
  switch (expression.kind) {
    case Kind::kLiteral:
      return expression.literal;
    case Kind::kName:
      return Name(expression, scope);
    case Kind::kList:
      return ListOf(expression, scope);
    case Kind::kDict:
      return DictOf(expression, scope);
    case Kind::kAttribute: {
      const Value object = child(0);
      return context_.ok() ? Attribute(context_, object, expression.name) : Value();
    }
    case Kind::kSubscript: {
      const Value object = child(0);
      const Value key = child(1);
      return context_.ok() ? Subscript(context_, object, key) : Value();
    }
    case Kind::kSlice:
      return SliceOf(expression, scope);
    case Kind::kCall:
      return Call(expression, scope, /*caller=*/nullptr);
    case Kind::kFilter:
      return FilterOf(expression, scope);
    case Kind::kTest:
      return TestOf(expression, scope);
    case Kind::kNot:
      return Value(!Truthy(child(0)));
    case Kind::kNegative:
      return Negative(expression, scope);
    case Kind::kPositive: {
      Value operand = child(0);
      return operand.is_number() ? operand : context_.Fail(absl::StrCat("+ does not take a ", TypeName(operand)));
    }
    case Kind::kAnd: {
      Value left = child(0);
      return Truthy(left) ? child(1) : left;
    }
    case Kind::kOr: {
      Value left = child(0);
      return Truthy(left) ? left : child(1);
    }
    case Kind::kBinary:
      return BinaryOf(expression, scope);
    case Kind::kComparisons:
      return Comparisons(expression, scope);
    case Kind::kConditional:
      return Truthy(child(1)) ? child(0) : child(2);
  }
  return Value();
}

Value Evaluator::Name(const Expression& expression, const Scope* scope) {
  const Value* const found = scope->Find(expression.name);
  return found != nullptr ? *found : Value(Undefined{expression.name});
}

Value Evaluator::ListOf(const Expression& expression, const Scope* scope) {
  std::vector<Value> items;
  for (const ExpressionPtr& child : expression.children) items.push_back(Evaluate(child.get(), scope));
  return context_.ok() ? context_.List(std::move(items)) : Value();
}

Value Evaluator::DictOf(const Expression& expression, const Scope* scope) {
  std::vector<std::pair<std::string, Value>> entries;
  for (size_t i = 0; i + 1 < expression.children.size(); i += 2) {
    const Value key = Evaluate(expression.children[i].get(), scope);
    Value value = Evaluate(expression.children[i + 1].get(), scope);
    if (!context_.ok()) return Value();
    if (!key.is_string())
      return context_.Fail(absl::StrCat("a dictionary's key must be a string, not a ", TypeName(key)));
    const auto same =
        std::find_if(entries.begin(), entries.end(), [&key](const auto& entry) { return entry.first == key.string(); });
    if (same != entries.end()) {
      same->second = std::move(value);
    } else {
      entries.emplace_back(key.string(), std::move(value));
    }
  }
  return context_.Dict(std::move(entries));
}

Value Evaluator::Negative(const Expression& expression, const Scope* scope) {
  const Value operand = Evaluate(expression.children[0].get(), scope);
  if (operand.is_float()) return Value(-operand.number());
  return Binary(context_, "-", Value(int64_t{0}), operand);
}

Value Evaluator::BinaryOf(const Expression& expression, const Scope* scope) {
  const Value left = Evaluate(expression.children[0].get(), scope);
  const Value right = Evaluate(expression.children[1].get(), scope);
  if (!context_.ok()) return Value();
  context_.set_line(expression.line);
  return Binary(context_, expression.name, left, right);
}

Value Evaluator::Comparisons(const Expression& expression, const Scope* scope) {
  Value left = Evaluate(expression.children[0].get(), scope);
  for (size_t i = 0; i < expression.names.size(); ++i) {
    Value right = Evaluate(expression.children[i + 1].get(), scope);
    if (!context_.ok()) return Value();
    context_.set_line(expression.line);
    if (!Compare(context_, expression.names[i], left, right)) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Evaluator::SliceOf(const Expression& expression, const Scope* scope) {
  std::vector<Value> parts;
  for (const ExpressionPtr& child : expression.children) parts.push_back(Evaluate(child.get(), scope));
  return context_.ok() ? Slice(context_, parts[0], parts[1], parts[2], parts[3]) : Value();
}

Value Evaluator::FilterOf(const Expression& expression, const Scope* scope) {
  const Value subject = expression.children[0] != nullptr ? Evaluate(expression.children[0].get(), scope) : *filtered_;
  Arguments arguments = Evaluate(expression.operands, scope);
  if (!context_.ok()) return Value();
  context_.set_line(expression.line);
  if (subject.is_string() && !context_.ChargeWalk(subject)) return Value();
  Value result = FindFilter(expression.name)(context_, subject, arguments);
  if (context_.ok()) arguments.Finish(context_, expression.name);
  return result;
}

Value Evaluator::TestOf(const Expression& expression, const Scope* scope) {
  const Value subject = Evaluate(expression.children[0].get(), scope);
  Arguments arguments = Evaluate(expression.operands, scope);
  if (!context_.ok()) return Value();
  context_.set_line(expression.line);
  const bool holds = FindTest(expression.name)(context_, subject, arguments);
  if (context_.ok()) arguments.Finish(context_, expression.name);
  return Value(holds);
}

Arguments Evaluator::Evaluate(const Operands& operands, const Scope* scope) {
  std::vector<Value> positional;
  for (const ExpressionPtr& operand : operands.positional) positional.push_back(Evaluate(operand.get(), scope));
  std::vector<std::pair<std::string, Value>> named;
  for (const auto& [name, operand] : operands.named) named.emplace_back(name, Evaluate(operand.get(), scope));
  return Arguments(std::move(positional), std::move(named));
}

Value Evaluator::Call(const Expression& expression, const Scope* scope, const Value* caller) {
  const Expression& callee = *expression.children[0];
  if (callee.kind == Kind::kAttribute) {
    const Value object = Evaluate(callee.children[0].get(), scope);
    Arguments arguments = Evaluate(expression.operands, scope);
    if (!context_.ok()) return Value();
    context_.set_line(expression.line);
    if (callee.children[0]->kind == Kind::kName && callee.children[0]->name == "loop" && callee.name == "cycle") {
      return Cycle(scope, &arguments);
    }
    return CallMethod(context_, object, callee.name, arguments);
  }
  const Value function = Evaluate(&callee, scope);
  Arguments arguments = Evaluate(expression.operands, scope);
  if (!context_.ok()) return Value();
  context_.set_line(expression.line);
  if (function.is_undefined()) return context_.Fail(absl::StrCat("'", function.undefined_name(), "' is undefined"));
  if (!function.is_function()) return context_.Fail(absl::StrCat("a ", TypeName(function), " cannot be called"));
  return CallFunction(function.function(), std::move(arguments), caller);
}

Value Evaluator::CallFunction(const Function& function, Arguments arguments, const Value* caller) {
  Value result =
      function.macro != nullptr ? CallMacro(function, &arguments, caller) : CallBuiltin(function.name, &arguments);
  if (context_.ok()) arguments.Finish(context_, function.name);
  return result;
}

Value Evaluator::CallMacro(const Function& function, Arguments* arguments, const Value* caller) {
  Scope scope(function.scope);
  if (caller != nullptr) scope.Set("caller", *caller);
  for (const Parameter& parameter : function.macro->parameters) {
    Value value = arguments->Take(parameter.name, Value(Undefined{parameter.name}));
    if (value.is_undefined() && parameter.fallback != nullptr) value = Evaluate(parameter.fallback.get(), &scope);
    scope.Set(parameter.name, std::move(value));
  }
  return Capture(function.macro->body, &scope);
}

Value Evaluator::CallBuiltin(const std::string& name, Arguments* arguments) {
  if (name == "range") return Range(arguments);
  if (name == "raise_exception") return context_.Refuse(Text(context_, arguments->Take("message")));
  if (name == "strftime_now") {
    const std::string format = arguments->TakeString(context_, "format", "");
    return context_.String(absl::FormatTime(format, now_, absl::LocalTimeZone()));
  }
  // namespace and dict: of another one, and of names.
  std::vector<std::pair<std::string, Value>> fields;
  if (arguments->has_positional()) {
    const Value other = arguments->Take("mapping");
    if (!other.is_dict()) return context_.Fail(absl::StrCat(name, " is given a ", TypeName(other)));
    fields = other.dict().entries;
  }
  for (auto& field : arguments->TakeNamed()) fields.push_back(std::move(field));
  Value dict = context_.Dict(std::move(fields));
  if (name == "dict" || !context_.ok()) return dict;
  return Value(std::make_shared<Namespace>(Namespace{.attributes = dict.dict()}));
}

Value Evaluator::Range(Arguments* arguments) {
  const int64_t first = arguments->TakeInteger(context_, "start", 0);
  const bool has_stop = arguments->has_positional();
  const int64_t begin = has_stop ? first : 0;
  const int64_t end = has_stop ? arguments->TakeInteger(context_, "stop", 0) : first;
  const int64_t step = arguments->TakeInteger(context_, "step", 1);
  if (step == 0) return context_.Fail("the step of range() is 0");
  std::vector<Value> items;
  for (int64_t i = begin; context_.ok() && (step > 0 ? i < end : i > end);) {
    if (static_cast<int64_t>(items.size()) >= context_.limits().max_range) {
      return context_.Fail(absl::StrCat("range() is longer than ", context_.limits().max_range));
    }
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return context_.List(std::move(items));
}

Value Evaluator::Cycle(const Scope* scope, Arguments* arguments) {
  const std::vector<Value> values = arguments->TakePositional();
  const Value index = Attribute(context_, *scope->Find("loop"), "index0");
  if (values.empty() || !index.is_int()) return context_.Fail("loop.cycle() is given nothing");
  return values[index.integer() % static_cast<int64_t>(values.size())];
}

}  // namespace switchyard::jinja
