// Values as JSON, written as Python's json.dumps does, and read from it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/text/jinja/value.h"

namespace switchyard::jinja {

inline constexpr int kMaxJsonDepth = 60;

struct JsonStyle {
  std::optional<int> indent;  // absent: one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
  bool ascii_only = false;
};

// False: `value` holds something that JSON has no word for (an undefined value, a macro).
bool AppendJson(const Value& value, const JsonStyle& style, std::string* text);

// Keys keep their order. INVALID_ARGUMENT: no JSON, or nested deeper than kMaxJsonDepth.
absl::StatusOr<Value> ParseJson(std::string_view text);

}  // namespace switchyard::jinja
