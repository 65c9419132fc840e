// Operators, subscripts and slices.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/text.h"

namespace switchyard::jinja {
namespace {

Value FailTypes(Context& context, const std::string& op, const Value& a, const Value& b) {
  for (const Value* operand : {&a, &b}) {
    if (operand->is_undefined()) return context.Fail(absl::StrCat("'", operand->undefined_name(), "' is undefined"));
  }
  return context.Fail(absl::StrCat("the operator ", op, " does not take ", TypeName(a), " and ", TypeName(b)));
}

Value IntegerResult(Context& context, const std::string& op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (b == 0) {
    return context.Fail("division by zero");
  } else if (b == -1) {  // INT64_MIN / -1
    overflow = __builtin_sub_overflow(int64_t{0}, op == "%" ? 0 : a, &result);
  } else {
    const int64_t quotient = a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);  // rounded down
    result = op == "//" ? quotient : a - quotient * b;
  }
  return overflow ? context.Fail("a whole number does not fit 64 bits") : Value(result);
}

Value FloatResult(Context& context, const std::string& op, double a, double b) {
  if (op == "+") return Value(a + b);
  if (op == "-") return Value(a - b);
  if (op == "*") return Value(a * b);
  if (b == 0) return context.Fail("division by zero");
  if (op == "/") return Value(a / b);
  const double quotient = std::floor(a / b);
  return Value(op == "//" ? quotient : a - quotient * b);
}

Value Repeat(Context& context, const Value& sequence, int64_t count) {
  count = std::max<int64_t>(count, 0);
  if (sequence.is_string()) {
    const std::string& part = sequence.string();
    if (part.empty() || count == 0) return Value(std::string());
    int64_t bytes = 0;
    if (__builtin_mul_overflow(count, static_cast<int64_t>(part.size()), &bytes)) bytes = kMaxWeight;
    if (!context.Allocate(bytes)) return Value();
    std::string text;
    for (int64_t i = 0; i < count; ++i) text += part;
    return Value(std::move(text));
  }
  const std::vector<Value>& part = sequence.list();
  int64_t num_items = 0;
  if (__builtin_mul_overflow(count, static_cast<int64_t>(part.size()), &num_items)) num_items = kMaxWeight;
  if (!context.Charge(num_items)) return Value();
  std::vector<Value> items;
  for (int64_t i = 0; i < count && !part.empty(); ++i) items.insert(items.end(), part.begin(), part.end());
  return context.List(std::move(items));
}

// Less than, as Python orders numbers, strings and lists.
bool Less(Context& context, const std::string& op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return a.is_float() || b.is_float() ? a.number() < b.number() : a.integer() < b.integer();
  }
  if (a.is_string() && b.is_string()) return a.string() < b.string();
  if (a.is_list() && b.is_list()) {
    const size_t both = std::min(a.list().size(), b.list().size());
    for (size_t i = 0; i < both; ++i) {
      if (!Equal(a.list()[i], b.list()[i])) return Less(context, op, a.list()[i], b.list()[i]);
    }
    return a.list().size() < b.list().size();
  }
  FailTypes(context, op, a, b);
  return false;
}

bool Contains(Context& context, const Value& item, const Value& container) {
  if (container.is_string()) {
    if (!item.is_string()) {
      FailTypes(context, "in", item, container);
      return false;
    }
    return container.string().find(item.string()) != std::string::npos;
  }
  if (container.is_dict()) return item.is_string() && container.dict().Find(item.string()) != nullptr;
  if (container.is_list()) {
    return std::any_of(container.list().begin(), container.list().end(),
                       [&item](const Value& part) { return Equal(item, part); });
  }
  if (!container.is_undefined()) context.Fail(absl::StrCat("'in' does not take a ", TypeName(container)));
  return false;
}

}  // namespace

Value Binary(Context& context, const std::string& op, const Value& a, const Value& b) {
  if (op == "~") return context.String(Text(context, a) + Text(context, b));
  if (a.is_number() && b.is_number()) {
    return a.is_float() || b.is_float() || op == "/" ? FloatResult(context, op, a.number(), b.number())
                                                     : IntegerResult(context, op, a.integer(), b.integer());
  }
  if (op == "+" && a.is_string() && b.is_string()) {
    const bool fits = context.Allocate(static_cast<int64_t>(a.string().size() + b.string().size()));
    return fits ? Value(a.string() + b.string()) : Value();
  }
  if (op == "+" && a.is_list() && b.is_list()) {
    if (!context.Charge(static_cast<int64_t>(a.list().size() + b.list().size()))) return Value();
    std::vector<Value> items = a.list();
    items.insert(items.end(), b.list().begin(), b.list().end());
    return context.List(std::move(items));
  }
  if (op == "*" && (a.is_string() || a.is_list()) && (b.is_int() || b.is_bool())) {
    return Repeat(context, a, b.integer());
  }
  if (op == "*" && (b.is_string() || b.is_list()) && (a.is_int() || a.is_bool())) {
    return Repeat(context, b, a.integer());
  }
  if (op == "%" && a.is_string()) {
    return FormatPercent(context, a.string(), b.is_list() ? b.list() : std::vector<Value>{b});
  }
  return FailTypes(context, op, a, b);
}

bool Compare(Context& context, const std::string& op, const Value& a, const Value& b) {
  const bool is_membership = op.ends_with("in");
  const int64_t weight_a = ExtentOf(a).weight;
  const int64_t weight_b = ExtentOf(b).weight;
  if (!context.Charge(is_membership ? weight_b : std::min(weight_a, weight_b))) return false;
  if (op == "==") return Equal(a, b);
  if (op == "!=") return !Equal(a, b);
  if (op == "<") return Less(context, op, a, b);
  if (op == ">") return Less(context, op, b, a);
  // NaN is neither less nor greater nor equal.
  if (op == "<=") return Less(context, op, a, b) || Equal(a, b);
  if (op == ">=") return Less(context, op, b, a) || Equal(a, b);
  return Contains(context, a, b) == (op == "in");
}

Value Attribute(Context& context, const Value& object, const std::string& name) {
  if (object.is_undefined()) {
    return context.Fail(absl::StrCat("'", object.undefined_name(), "' is undefined, so it has no '", name, "'"));
  }
  const Value* found = nullptr;
  if (object.is_dict()) found = object.dict().Find(name);
  if (object.is_namespace()) found = object.name_space().attributes.Find(name);
  return found != nullptr ? *found : Value(Undefined{name});
}

Value Subscript(Context& context, const Value& object, const Value& key) {
  if (key.is_string()) return Attribute(context, object, key.string());
  if (object.is_undefined()) {
    return context.Fail(absl::StrCat("'", object.undefined_name(), "' is undefined, so it has no items"));
  }
  if (!key.is_int() && !key.is_bool()) return Value(Undefined{absl::StrCat("an item of a ", TypeName(object))});
  int64_t index = key.integer();
  if (object.is_list()) {
    const auto size = static_cast<int64_t>(object.list().size());
    if (index < 0) index += size;
    if (index >= 0 && index < size) return object.list()[index];
  } else if (object.is_string()) {
    if (!context.ChargeWalk(object)) return Value();
    const std::vector<std::string_view> characters = Characters(object.string());
    const auto size = static_cast<int64_t>(characters.size());
    if (index < 0) index += size;
    if (index >= 0 && index < size) return Value(std::string(characters[index]));
  }
  return Value(Undefined{absl::StrCat("item ", key.integer(), " of a ", TypeName(object))});
}

Value Slice(Context& context, const Value& object, const Value& begin, const Value& end, const Value& step) {
  for (const Value* bound : {&begin, &end, &step}) {
    if (!bound->is_undefined() && !bound->is_none() && !bound->is_int() && !bound->is_bool()) {
      return context.Fail(absl::StrCat("a slice's bound is a ", TypeName(*bound)));
    }
  }
  if (!object.is_list() && !object.is_string()) {
    return context.Fail(absl::StrCat("a ", TypeName(object), " has no slices"));
  }
  const std::vector<Value> items = Items(context, object);
  const auto size = static_cast<int64_t>(items.size());
  const int64_t stride = step.is_undefined() || step.is_none() ? 1 : step.integer();
  if (stride == 0) return context.Fail("a slice's step is 0");
  // Python clips bounds to [0, size], and for negative steps to [-1, size - 1].
  const auto bound = [&](const Value& value, int64_t fallback) {
    if (value.is_undefined() || value.is_none()) return fallback;
    const int64_t at = value.integer() < 0 ? value.integer() + size : value.integer();
    return stride > 0 ? std::clamp<int64_t>(at, 0, size) : std::clamp<int64_t>(at, -1, size - 1);
  };
  const int64_t first = bound(begin, stride > 0 ? 0 : size - 1);
  const int64_t last = bound(end, stride > 0 ? size : -1);
  std::vector<Value> taken;
  for (int64_t i = first; stride > 0 ? i < last : i > last;) {
    taken.push_back(items[i]);
    if (__builtin_add_overflow(i, stride, &i)) break;
  }
  if (object.is_list()) return context.List(std::move(taken));
  std::string text;
  for (const Value& character : taken) text += character.string();
  return context.String(std::move(text));
}

std::vector<Value> Items(Context& context, const Value& value) {
  std::vector<Value> items;
  if (!context.ok()) return items;
  if (value.is_list()) {
    if (context.Charge(static_cast<int64_t>(value.list().size()))) items = value.list();
  } else if (value.is_dict()) {
    for (const auto& [key, item] : value.dict().entries) items.push_back(context.String(key));
  } else if (value.is_string()) {
    if (!context.Allocate(static_cast<int64_t>(value.string().size() * sizeof(Value)))) return items;
    for (const std::string_view character : Characters(value.string())) items.emplace_back(std::string(character));
  } else if (!value.is_undefined()) {
    context.Fail(absl::StrCat("a ", TypeName(value), " cannot be iterated"));
  }
  return items;
}

std::string Text(Context& context, const Value& value) {
  std::string text;
  // A character of a string becomes four when it is escaped.
  if (context.Allocate(value.is_string() ? 0 : ExtentOf(value).weight * 64)) AppendText(value, &text);
  return text;
}

}  // namespace switchyard::jinja
