#include "engine/text/jinja/evaluator.h"

#include "absl/strings/str_cat.h"

namespace switchyard::jinja {
namespace {

using Kind = Statement::Kind;

// What {{ loop.… }} sees.
Value LoopState(Context& context, const std::vector<Value>& items, size_t i) {
  const auto index = static_cast<int64_t>(i);
  const auto size = static_cast<int64_t>(items.size());
  std::vector<std::pair<std::string, Value>> state = {
      {"index", Value(index + 1)},       {"index0", Value(index)},
      {"revindex", Value(size - index)}, {"revindex0", Value(size - index - 1)},
      {"first", Value(i == 0)},          {"last", Value(i + 1 == items.size())},
      {"length", Value(size)},           {"depth", Value(int64_t{1})},
      {"depth0", Value(int64_t{0})}};
  if (i > 0) state.emplace_back("previtem", items[i - 1]);
  if (i + 1 < items.size()) state.emplace_back("nextitem", items[i + 1]);
  return context.Dict(std::move(state));
}

}  // namespace

void Evaluator::Run(const Statements& statements, Scope* scope, std::string* output) {
  output_ = output;
  Execute(statements, scope);
}

Evaluator::Flow Evaluator::Execute(const Statements& statements, Scope* scope) {
  for (const auto& statement : statements) {
    context_.set_line(statement->line);
    if (!context_.Charge(1)) return Flow::kBreak;
    ++depth_;
    const Flow flow = context_.CheckDepth(depth_) ? Execute(*statement, scope) : Flow::kBreak;
    --depth_;
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::Execute(const Statement& statement, Scope* scope) {
  switch (statement.kind) {
    case Kind::kText:
      Write(statement.text);
      return Flow::kNext;
    case Kind::kOutput:
      Write(Text(context_, Evaluate(statement.expression.get(), scope)));
      return Flow::kNext;
    case Kind::kIf:
      for (const Statement::Branch& branch : statement.branches) {
        if (Truthy(Evaluate(branch.condition.get(), scope))) return Execute(branch.body, scope);
      }
      return Execute(statement.otherwise, scope);
    case Kind::kFor:
      return For(statement, scope);
    case Kind::kSet:
      Assign(statement, Evaluate(statement.expression.get(), scope), scope);
      return Flow::kNext;
    case Kind::kSetField:
      SetField(statement, scope);
      return Flow::kNext;
    case Kind::kSetBlock:
    case Kind::kFilter: {
      Scope inner(scope);
      Value text = Capture(statement.body, &inner);
      if (statement.expression != nullptr) {
        const Value* const outer = filtered_;
        filtered_ = &text;
        Value changed = Evaluate(statement.expression.get(), scope);
        filtered_ = outer;
        text = std::move(changed);
      }
      if (statement.kind == Kind::kFilter) {
        Write(Text(context_, text));
      } else {
        scope->Set(statement.names[0], std::move(text));
      }
      return Flow::kNext;
    }
    case Kind::kMacro:
      scope->Set(statement.names[0], Value(std::make_shared<const Function>(
                                         Function{.name = statement.names[0], .macro = &statement, .scope = scope})));
      return Flow::kNext;
    case Kind::kCall: {
      const Value caller(
          std::make_shared<const Function>(Function{.name = "caller", .macro = &statement, .scope = scope}));
      Write(Text(context_, Call(*statement.expression, scope, &caller)));
      return Flow::kNext;
    }
    case Kind::kWith: {
      Scope inner(scope);
      for (size_t i = 0; i < statement.names.size(); ++i) {
        inner.Set(statement.names[i], Evaluate(statement.values[i].get(), scope));
      }
      return Execute(statement.body, &inner);
    }
    case Kind::kBody:
      return Execute(statement.body, scope);
    case Kind::kBreak:
      return Flow::kBreak;
    case Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::For(const Statement& statement, const Scope* scope) {
  std::vector<Value> items = Items(context_, Evaluate(statement.expression.get(), scope));
  if (statement.condition != nullptr) {
    std::vector<Value> kept;
    for (Value& item : items) {
      Scope inner(scope);
      Assign(statement, item, &inner);
      if (Truthy(Evaluate(statement.condition.get(), &inner))) kept.push_back(std::move(item));
      if (!context_.ok()) return Flow::kBreak;
    }
    items = std::move(kept);
  }
  for (size_t i = 0; i < items.size() && context_.ok(); ++i) {
    Scope inner(scope);
    context_.set_line(statement.line);
    inner.Set("loop", LoopState(context_, items, i));
    Assign(statement, items[i], &inner);
    if (Execute(statement.body, &inner) == Flow::kBreak) break;
  }
  if (!items.empty() || !context_.ok()) return Flow::kNext;
  Scope inner(scope);
  return Execute(statement.otherwise, &inner);
}

void Evaluator::Assign(const Statement& statement, Value value, Scope* scope) {
  if (statement.names.size() == 1) return scope->Set(statement.names[0], std::move(value));
  const std::vector<Value> parts = Items(context_, value);
  if (context_.ok() && parts.size() != statement.names.size()) {
    context_.Fail(absl::StrCat(statement.names.size(), " names are given ", parts.size(), " values"));
  }
  for (size_t i = 0; i < statement.names.size() && context_.ok(); ++i) scope->Set(statement.names[i], parts[i]);
}

void Evaluator::SetField(const Statement& statement, const Scope* scope) {
  Value value = Evaluate(statement.expression.get(), scope);
  const Value* const target = scope->Find(statement.names[0]);
  if (target == nullptr || !target->is_namespace()) {
    context_.Fail(absl::StrCat("'", statement.names[0], "' is no namespace, so its fields cannot be set"));
  } else if (value.is_namespace() || value.is_function()) {
    context_.Fail("a namespace cannot hold a namespace or a macro");
  }
  if (!context_.ok()) return;
  auto& fields = target->name_space().attributes.entries;
  for (auto& [name, field] : fields) {
    if (name != statement.names[1]) continue;
    field = std::move(value);
    return;
  }
  fields.emplace_back(statement.names[1], std::move(value));
}

Value Evaluator::Capture(const Statements& statements, Scope* scope) {
  std::string text;
  std::string* const outer = output_;
  output_ = &text;
  Execute(statements, scope);
  output_ = outer;
  return context_.String(std::move(text));
}

void Evaluator::Write(std::string_view text) {
  if (!context_.ok()) return;
  if (static_cast<int64_t>(output_->size() + text.size()) > context_.limits().max_output_bytes) {
    context_.Allocate(kMaxWeight);
    return;
  }
  if (context_.Charge(static_cast<int64_t>(text.size() / 16))) output_->append(text);
}

}  // namespace switchyard::jinja
