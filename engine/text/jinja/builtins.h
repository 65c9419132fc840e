// Filters, tests and methods by name.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/jinja/context.h"
#include "engine/text/jinja/value.h"

namespace switchyard::jinja {

// The operands of one call, evaluated. Each is taken once, in the order of the callee's parameters.
class Arguments {
 public:
  Arguments(std::vector<Value> positional, std::vector<std::pair<std::string, Value>> named)
      : positional_(std::move(positional)), named_(std::move(named)) {}
  Arguments() = default;

  // The next positional one, or the one named `name`, or `fallback`.
  Value Take(const std::string& name, Value fallback = Value());
  // Fails when `name` is absent.
  Value Require(Context& context, const std::string& name);
  // As Take, of the type asked for, else a fault.
  int64_t TakeInteger(Context& context, const std::string& name, int64_t fallback);
  bool TakeBool(const std::string& name, bool fallback) { return Truthy(Take(name, Value(fallback))); }
  std::string TakeString(Context& context, const std::string& name, std::string fallback);
  // Fails when something is left over.
  void Finish(Context& context, const std::string& callee) const;

  // What is left: for map and select, whose operands are another filter's.
  bool has_positional() const { return next_ < positional_.size(); }
  std::vector<Value> TakePositional();
  std::vector<std::pair<std::string, Value>> TakeNamed() { return std::move(named_); }

 private:
  std::vector<Value> positional_;
  std::vector<std::pair<std::string, Value>> named_;
  size_t next_ = 0;
};

using Filter = Value (*)(Context& context, const Value& subject, Arguments& arguments);
using Test = bool (*)(Context& context, const Value& subject, Arguments& arguments);

// Null: there is none of that name.
Filter FindFilter(std::string_view name);
Test FindTest(std::string_view name);

// object.name(arguments). Fails with UNIMPLEMENTED for a method that the object's type does not have here.
Value CallMethod(Context& context, const Value& object, const std::string& name, Arguments& arguments);

// a op b for + - * / // % and ~.
Value Binary(Context& context, const std::string& op, const Value& a, const Value& b);
// a op b for == != < <= > >= in and `not in`.
bool Compare(Context& context, const std::string& op, const Value& a, const Value& b);
// object[key] and object.key: undefined where there is none, a fault where `object` is undefined.
Value Subscript(Context& context, const Value& object, const Value& key);
Value Attribute(Context& context, const Value& object, const std::string& name);
// object[begin:end:step]; undefined bounds are absent.
Value Slice(Context& context, const Value& object, const Value& begin, const Value& end, const Value& step);
// Python's "%s" % values.
Value FormatPercent(Context& context, const std::string& format, const std::vector<Value>& values);

// What a loop over `value` sees: items, keys, characters; nothing for an undefined value.
std::vector<Value> Items(Context& context, const Value& value);
// As printed.
std::string Text(Context& context, const Value& value);

}  // namespace switchyard::jinja
