// tools, tool_choice, parallel_tool_calls.
#pragma once

#include <string>

#include "server/openai/field_reader.h"
#include "server/openai/generation_plan.h"

namespace switchyard::openai {

inline constexpr size_t kMaxTools = 128;

// `body` is the request's text, from which tools keep the order of their keys. `format`: how the model writes calls.
ToolUse ReadTools(FieldReader& fields, const std::string& body, ToolCallFormat format);

// Makes the answer's tokens readable as calls: the marker must not be skipped where it is a special token, and a forced
// start becomes the end of every prompt.
void ApplyTools(const ModelContext& model, GenerationPlan* plan);

}  // namespace switchyard::openai
