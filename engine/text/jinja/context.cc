#include "engine/text/jinja/context.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace switchyard::jinja {
namespace {

bool IsStorable(const Value& value) { return !value.is_namespace() && !value.is_function(); }

}  // namespace

Value Context::Fail(const std::string& message) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat("line ", line_, ": ", message));
  return Value();
}

Value Context::FailUnknown(const std::string& message) {
  if (status_.ok()) status_ = absl::UnimplementedError(absl::StrCat("line ", line_, ": ", message));
  return Value();
}

Value Context::Refuse(const std::string& message) {
  if (status_.ok()) status_ = absl::FailedPreconditionError(message);
  return Value();
}

Value Context::FailLimit(const std::string& what, int64_t limit) {
  if (status_.ok()) {
    status_ = absl::ResourceExhaustedError(
        absl::StrCat("line ", line_, ": the template passes its limit of ", limit, " ", what, "; send a shorter chat"));
  }
  return Value();
}

bool Context::Charge(int64_t steps) {
  steps_ += std::min(steps, kMaxWeight);
  if (steps_ > limits_.max_steps) FailLimit("steps", limits_.max_steps);
  return ok();
}

bool Context::Allocate(int64_t bytes) {
  bytes_ += std::min(bytes, kMaxWeight);
  if (bytes_ > limits_.max_bytes) FailLimit("bytes of strings and lists", limits_.max_bytes);
  return ok() && Charge(bytes / 16);
}

bool Context::CheckDepth(int depth) {
  if (depth > limits_.max_depth) FailLimit("levels of macros and expressions", limits_.max_depth);
  return ok();
}

Value Context::String(std::string text) {
  if (!Allocate(static_cast<int64_t>(text.size() + sizeof(std::string)))) return Value();
  return Value(std::move(text));
}

Value Context::List(std::vector<Value> items) {
  if (!Allocate(static_cast<int64_t>(items.size() * sizeof(Value) + sizeof(jinja::List)))) return Value();
  if (!std::all_of(items.begin(), items.end(), IsStorable)) {
    return Fail("a list cannot hold a namespace or a macro");
  }
  Value list = MakeList(std::move(items));
  return CheckParts(list) ? list : Value();
}

Value Context::Dict(std::vector<std::pair<std::string, Value>> entries) {
  int64_t bytes = sizeof(jinja::Dict);
  for (const auto& [key, value] : entries)
    bytes += static_cast<int64_t>(key.size() + sizeof(std::string) + sizeof(Value));
  if (!Allocate(bytes)) return Value();
  if (!std::all_of(entries.begin(), entries.end(), [](const auto& entry) { return IsStorable(entry.second); })) {
    return Fail("a dictionary cannot hold a namespace or a macro");
  }
  Value dict = MakeDict(std::move(entries));
  return CheckParts(dict) ? dict : Value();
}

bool Context::CheckParts(const Value& container) {
  if (ExtentOf(container).depth > limits_.max_value_depth) {
    FailLimit("levels of lists and dictionaries", limits_.max_value_depth);
  }
  return ok();
}

}  // namespace switchyard::jinja
