#include "engine/checkpoint/json_fields.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"

namespace switchyard {

std::string JsonText(const nlohmann::json& value) {
  constexpr size_t kLongest = 80;
  // `replace`: a message must not fail on a string that is not UTF-8.
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace);
  if (text.size() > kLongest) text = absl::StrCat(text.substr(0, kLongest), "...");
  return text;
}

JsonFields::JsonFields(std::string place, const nlohmann::json& object) : place_(std::move(place)), object_(object) {}

const nlohmann::json* JsonFields::Find(absl::string_view name) {
  read_.emplace(name);
  const auto found = object_.find(std::string(name));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool JsonFields::Has(absl::string_view name) { return Find(name) != nullptr; }

int64_t JsonFields::CheckedInteger(absl::string_view name, const nlohmann::json& value, IntegerRange range) {
  if (!value.is_number_integer()) {
    Fail(name, absl::StrCat("is ", JsonText(value), "; it must be a whole number"));
    return range.min;
  }
  // Above the signed range only unsigned values exist.
  const bool too_large =
      value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  const int64_t integer = too_large ? 0 : value.get<int64_t>();
  if (too_large || integer > range.max) {
    Fail(name, absl::StrCat("is ", JsonText(value), "; it must be at most ", range.max));
    return range.min;
  }
  if (integer < range.min) {
    Fail(name, absl::StrCat("is ", integer, "; it must be at least ", range.min));
    return range.min;
  }
  return integer;
}

std::optional<int64_t> JsonFields::Integer(absl::string_view name, IntegerRange range) {
  const nlohmann::json* const value = Find(name);
  if (value == nullptr) return std::nullopt;
  return CheckedInteger(name, *value, range);
}

int64_t JsonFields::RequiredInteger(absl::string_view name, IntegerRange range) {
  const std::optional<int64_t> value = Integer(name, range);
  if (!value) Fail(name, absl::StrCat("is missing; it must be a whole number of at least ", range.min));
  return value.value_or(range.min);
}

std::optional<double> JsonFields::Number(absl::string_view name, NumberRange range) {
  const nlohmann::json* const value = Find(name);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (number >= range.min && number <= range.max && (range.min_allowed || number > range.min)) return number;
  const std::string limit =
      range.max == std::numeric_limits<double>::max() ? "" : absl::StrCat(" and at most ", range.max);
  Fail(name, absl::StrCat("is ", JsonText(*value), "; it must be a number ",
                          range.min_allowed ? "of at least " : "greater than ", range.min, limit));
  return std::nullopt;
}

double JsonFields::RequiredNumber(absl::string_view name, NumberRange range) {
  const std::optional<double> value = Number(name, range);
  if (!value) Fail(name, absl::StrCat("is missing; it must be a number above ", range.min));
  return value.value_or(1.0);
}

std::optional<bool> JsonFields::Boolean(absl::string_view name) {
  const nlohmann::json* const value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  Fail(name, absl::StrCat("is ", JsonText(*value), "; it must be true or false"));
  return std::nullopt;
}

std::optional<std::string> JsonFields::String(absl::string_view name) {
  const nlohmann::json* const value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  Fail(name, absl::StrCat("is ", JsonText(*value), "; it must be a string"));
  return std::nullopt;
}

std::optional<std::vector<int32_t>> JsonFields::TokenIds(absl::string_view name, int64_t vocab_size) {
  const nlohmann::json* const value = Find(name);
  if (value == nullptr) return std::nullopt;
  const IntegerRange range{.min = 0, .max = vocab_size - 1};
  std::vector<int32_t> ids;
  const auto add = [&](const nlohmann::json& element) {
    const auto id = static_cast<int32_t>(CheckedInteger(name, element, range));
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  };
  if (value->is_array()) {
    for (const nlohmann::json& element : *value) add(element);
  } else {
    add(*value);
  }
  return ids;
}

void JsonFields::Fail(absl::string_view name, absl::string_view what) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat(place_, ": ", name, " ", what));
}

std::vector<std::string> JsonFields::Unread() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : object_.items()) {
    if (!value.is_null() && !read_.contains(name)) names.push_back(name);
  }
  return names;
}

}  // namespace switchyard
