// A template's source to its statements.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "engine/text/jinja/ast.h"

namespace switchyard::jinja {

// Levels of nested tags, and of nested expressions.
inline constexpr int kMaxNesting = 100;

// INVALID_ARGUMENT names the line and what is wrong; UNIMPLEMENTED the line and a tag, filter, test or operator that
// this evaluator does not know.
absl::StatusOr<Statements> Parse(std::string_view source);

}  // namespace switchyard::jinja
