// From the body of a request to one of the two generating endpoints to what the engine is asked. Knows no sockets and
// runs nothing.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "server/openai/errors.h"
#include "server/openai/generation_plan.h"
#include "server/openai/request_fields.h"

namespace switchyard::openai {

// Reads `body`, JSON as it came, into `plan`; `model.body` need not be set. The error names the field. `fallback_id` as
// in ParseCompletion.
std::optional<ApiError> ReadPlan(Endpoint endpoint, const std::string& body, const ModelContext& model,
                                 const std::string& fallback_id, GenerationPlan* plan);

// What the engine is asked for choice `idx` of prompts x candidates, those of a prompt side by side; without its id.
GenerationRequest RequestOf(const GenerationPlan& plan, size_t idx);

}  // namespace switchyard::openai
