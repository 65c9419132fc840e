// Variables that a template sees, innermost first.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "engine/text/jinja/ast.h"
#include "engine/text/jinja/value.h"

namespace switchyard::jinja {

class Scope {
 public:
  explicit Scope(const Scope* parent) : parent_(parent) {}  // borrowed; may be null
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  void Set(const std::string& name, Value value) { variables_[name] = std::move(value); }
  // Null: no scope has it.
  const Value* Find(std::string_view name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent_) {
      const auto found = scope->variables_.find(name);
      if (found != scope->variables_.end()) return &found->second;
    }
    return nullptr;
  }

 private:
  const Scope* const parent_;
  std::map<std::string, Value, std::less<>> variables_;
};

// A macro, the caller of a call block, or a function that every template has. Kept in variables only, so that it ends
// with the scope in which it was defined.
struct Function {
  std::string name;
  const Statement* macro = nullptr;  // null: `name` says which
  const Scope* scope = nullptr;      // in which the macro was defined
};

}  // namespace switchyard::jinja
