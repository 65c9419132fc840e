#include "server/openai/field_reader.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"

namespace switchyard::openai {
namespace {

using nlohmann::json;

// nullopt: not a whole number, or outside of [min, max].
std::optional<int64_t> WholeNumber(const json& value, int64_t min, int64_t max) {
  if (value.is_number_unsigned()) {
    const uint64_t number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
    const int64_t whole = static_cast<int64_t>(number);
    return whole >= min && whole <= max ? std::optional(whole) : std::nullopt;
  }
  if (value.is_number_integer()) {
    const int64_t whole = value.get<int64_t>();
    return whole >= min && whole <= max ? std::optional(whole) : std::nullopt;
  }
  if (!value.is_number_float()) return std::nullopt;
  const double number = value.get<double>();
  // Up to 2^53 a double that equals a whole number is that number.
  constexpr double kExact = 9007199254740992.0;
  if (std::trunc(number) != number || std::abs(number) > kExact) return std::nullopt;
  const int64_t whole = static_cast<int64_t>(number);
  return whole >= min && whole <= max ? std::optional(whole) : std::nullopt;
}

std::string RangeText(int64_t min, int64_t max) { return absl::StrCat("a whole number from ", min, " to ", max); }

}  // namespace

std::string Describe(const json& value) {
  if (value.is_structured()) return absl::StrCat("an ", value.type_name(), " of ", value.size(), " elements");
  constexpr size_t kMaxLength = 60;
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > kMaxLength) text = text.substr(0, kMaxLength) + "…";
  return absl::StrCat("the ", value.type_name(), " ", text);
}

FieldReader::FieldReader(const json& object, std::string prefix) : object_(object), prefix_(std::move(prefix)) {}

const json* FieldReader::Find(const std::string& name) {
  read_.insert(name);
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<bool> FieldReader::Bool(const std::string& name) {
  const json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  FailType(name, "true or false", *value);
  return std::nullopt;
}

std::optional<std::string> FieldReader::String(const std::string& name) {
  const json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  FailType(name, "a string", *value);
  return std::nullopt;
}

std::optional<int64_t> FieldReader::Int(const std::string& name, int64_t min, int64_t max) {
  const json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> whole = WholeNumber(*value, min, max);
  if (!whole.has_value()) FailType(name, RangeText(min, max), *value);
  return whole;
}

std::optional<float> FieldReader::Float(const std::string& name, double min, double max, bool above_min) {
  const json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) {
    const double number = value->get<double>();
    // Rounding to float must not leave an open range: 1e-60 is above 0, but its float is not.
    const float rounded = static_cast<float>(number);
    if (number >= min && number <= max && (!above_min || rounded > min)) return rounded;
  }
  FailType(name,
           absl::StrCat("a number ", above_min ? "above " : "from ", min, above_min ? " and up to " : " to ", max),
           *value);
  return std::nullopt;
}

std::vector<int32_t> FieldReader::Ints(const std::string& name, const json& array, int64_t min, int64_t max) {
  std::vector<int32_t> numbers;
  if (!array.is_array()) {
    FailType(name, "an array of whole numbers", array);
    return numbers;
  }
  numbers.reserve(array.size());
  for (size_t i = 0; i < array.size() && ok(); ++i) {
    const std::optional<int64_t> whole = WholeNumber(array[i], min, max);
    if (!whole.has_value()) FailType(absl::StrCat(name, "[", i, "]"), RangeText(min, max), array[i]);
    numbers.push_back(static_cast<int32_t>(whole.value_or(0)));
  }
  return numbers;
}

void FieldReader::Fail(const std::string& name, const std::string& message) {
  if (error_.has_value()) return;
  error_ = FieldError(prefix_ + name, absl::StrCat(prefix_, name, " ", message));
}

void FieldReader::FailNotFound(const std::string& name, const std::string& message) {
  if (error_.has_value()) return;
  Fail(name, message);
  error_->status = 404;
  error_->code = "model_not_found";
}

void FieldReader::FailType(const std::string& name, const std::string& expected, const json& found) {
  Fail(name, absl::StrCat("must be ", expected, ", but is ", Describe(found)));
}

void FieldReader::SetCode(const std::string& code) {
  if (error_.has_value()) error_->code = code;
}

void FieldReader::TakeError(const FieldReader& nested) {
  if (!error_.has_value()) error_ = nested.error_;
}

std::vector<std::string> FieldReader::UnreadNames() const {
  std::vector<std::string> unread;
  for (const auto& [name, value] : object_.items()) {
    if (read_.count(name) == 0) unread.push_back(name);
  }
  return unread;
}

}  // namespace switchyard::openai
