#include "server/openai/request_plan.h"

#include <nlohmann/json.hpp>

#include "server/openai/chat.h"
#include "server/openai/completions.h"
#include "server/openai/json_text.h"

namespace switchyard::openai {

std::optional<ApiError> ReadPlan(Endpoint endpoint, const std::string& body, const ModelContext& model,
                                 const std::string& fallback_id, GenerationPlan* plan) {
  nlohmann::json object;
  if (std::optional<ApiError> fault = ParseJsonObject(body, &object)) return fault;
  ModelContext with_body = model;
  with_body.body = body;
  if (endpoint == Endpoint::kCompletions) return ParseCompletion(object, with_body, fallback_id, plan);
  return ParseChat(body, object, with_body, fallback_id, plan);
}

GenerationRequest RequestOf(const GenerationPlan& plan, size_t idx) {
  const auto candidates = static_cast<size_t>(plan.candidates);
  GenerationRequest request = plan.request;
  request.prompt = plan.prompts[idx / candidates].ids;
  if (request.sampling.seed.has_value()) *request.sampling.seed += idx % candidates;
  return request;
}

}  // namespace switchyard::openai
