// The constraint of an answer that calls tools. What comes before the calls (MarkerOf the model's format) is not part
// of it: put it into the spec's prefix, into TokenRules::first_tokens, or at the end of the prompt.
#pragma once

#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "engine/constraint/constraint_compiler.h"

namespace switchyard {

struct ToolFunction {
  std::string name;
  std::string parameters;  // a JSON schema; empty: any object
};

enum class ToolCallList {
  kBare,  // {"name": "add", "arguments": {"a": 1, "b": 2}}, as Hermes writes each call
  kOne,   // [{"name": "add", "arguments": {"a": 1, "b": 2}}], as Mistral writes them
  kMany,  // the same with any number of calls
};

// Calls of one of the functions each. References within a function's parameters are to
// these parameters. INVALID_ARGUMENT: no functions, or parameters that are no JSON object.
absl::StatusOr<ConstraintSpec> ToolCallConstraint(std::span<const ToolFunction> functions, ToolCallList list);

}  // namespace switchyard
