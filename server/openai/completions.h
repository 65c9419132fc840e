// POST /v1/completions: the request's fields.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "server/openai/errors.h"
#include "server/openai/generation_plan.h"

namespace switchyard::openai {

// Every field is honoured, refused by name, or listed in plan->without_effect. `fallback_id` makes the response's id
// where the request brings none.
std::optional<ApiError> ParseCompletion(const nlohmann::json& body, const ModelContext& model,
                                        const std::string& fallback_id, GenerationPlan* plan);

}  // namespace switchyard::openai
