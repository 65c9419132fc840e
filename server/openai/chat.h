// POST /v1/chat/completions: the request's fields.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "server/openai/errors.h"
#include "server/openai/generation_plan.h"

namespace switchyard::openai {

// As ParseCompletion; `text` is the body as it came. Without max_completion_tokens and max_tokens the answer may fill
// the context.
std::optional<ApiError> ParseChat(const std::string& text, const nlohmann::json& body, const ModelContext& model,
                                  const std::string& fallback_id, GenerationPlan* plan);

}  // namespace switchyard::openai
