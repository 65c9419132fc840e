// The constraint of an answer that calls tools: [{"name": "add", "arguments": {"a": 1, "b": 2}}], as Mistral's models
// write it. Put "[TOOL_CALLS] " before it as the spec's prefix, or the control token of that name as
// TokenRules::first_tokens, where the model's template does so.
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

// One call of one of the functions, or with `parallel` one or more. References within a function's parameters are to
// these parameters. INVALID_ARGUMENT: no functions, or parameters that are no JSON object.
absl::StatusOr<ConstraintSpec> ToolCallConstraint(std::span<const ToolFunction> functions, bool parallel);

}  // namespace switchyard
