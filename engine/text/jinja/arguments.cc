#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/text/jinja/builtins.h"

namespace switchyard::jinja {

Value Arguments::Take(const std::string& name, Value fallback) {
  if (has_positional()) return std::move(positional_[next_++]);
  const auto found =
      std::find_if(named_.begin(), named_.end(), [&name](const auto& entry) { return entry.first == name; });
  if (found == named_.end()) return fallback;
  Value value = std::move(found->second);
  named_.erase(found);
  return value;
}

Value Arguments::Require(Context& context, const std::string& name) {
  const bool has_named =
      std::any_of(named_.begin(), named_.end(), [&name](const auto& entry) { return entry.first == name; });
  if (!has_positional() && !has_named) return context.Fail(absl::StrCat("the argument '", name, "' is missing"));
  return Take(name);
}

int64_t Arguments::TakeInteger(Context& context, const std::string& name, int64_t fallback) {
  const Value value = Take(name, Value(fallback));
  if (value.is_int() || value.is_bool()) return value.integer();
  if (!value.is_none())
    context.Fail(absl::StrCat("the argument '", name, "' must be a whole number, not a ", TypeName(value)));
  return fallback;
}

std::string Arguments::TakeString(Context& context, const std::string& name, std::string fallback) {
  const Value value = Take(name, Value(std::move(fallback)));
  if (value.is_string()) return value.string();
  context.Fail(absl::StrCat("the argument '", name, "' must be a string, not a ", TypeName(value)));
  return "";
}

void Arguments::Finish(Context& context, const std::string& callee) const {
  if (has_positional()) context.Fail(absl::StrCat("'", callee, "' is given too many arguments"));
  if (!named_.empty()) context.Fail(absl::StrCat("'", callee, "' takes no argument '", named_.front().first, "'"));
}

std::vector<Value> Arguments::TakePositional() {
  std::vector<Value> rest(positional_.begin() + static_cast<ptrdiff_t>(next_), positional_.end());
  next_ = positional_.size();
  return rest;
}

}  // namespace switchyard::jinja
