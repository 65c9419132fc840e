// Request bodies to JSON, with a bound on nesting, and errors that name the field at fault.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "server/openai/errors.h"

namespace switchyard::openai {

inline constexpr int kMaxJsonDepth = 32;

// `body` must be one JSON object in UTF-8 (RFC 8259). Numbers too large for a double, such as 1e999, are refused with
// the name of their field.
std::optional<ApiError> ParseJsonObject(const std::string& body, nlohmann::json* object);

// The elements of the array that the outermost object has under `field`, each as it is written. `body` is an object
// that ParseJsonObject took. Empty where there is no such array, or the key is written with escapes.
std::vector<std::string> RawElements(const std::string& body, const std::string& field);

// Compact; bytes that are no UTF-8 become U+FFFD.
std::string Dump(const nlohmann::ordered_json& value);

}  // namespace switchyard::openai
