#include "server/openai/completions.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "server/openai/constraint_fields.h"
#include "server/openai/field_reader.h"
#include "server/openai/infilling.h"
#include "server/openai/prompt_fields.h"
#include "server/openai/request_fields.h"
#include "server/openai/sampling_fields.h"

namespace switchyard::openai {
namespace {

constexpr int64_t kDefaultMaxTokens = 16;  // OpenAI's

}  // namespace

std::optional<ApiError> ParseCompletion(const nlohmann::json& body, const ModelContext& model,
                                        const std::string& fallback_id, GenerationPlan* plan) {
  FieldReader fields(body);
  CheckModelName(fields, *model.served_name);
  plan->response_id = ResponseId(fields, "cmpl-", fallback_id);
  RefuseUnsupported(fields, Endpoint::kCompletions);
  ReadSampling(fields, model, plan);
  ReadStops(fields, model, plan);
  ReadStreaming(fields, plan);
  ReadChoices(fields, model, plan);

  plan->echo = fields.Bool("echo").value_or(false);
  GenerationRequest& request = plan->request;
  plan->num_logprobs = static_cast<int32_t>(fields.Int("logprobs", 0, model.limits->max_logprobs).value_or(-1));
  SetLogProbs(plan);

  // Prompts last: everything cheap has been checked when they are encoded.
  const auto max_tokens = fields.Int("max_tokens", 0, std::numeric_limits<int32_t>::max());
  if (max_tokens == 0 && !plan->echo) {
    fields.Fail("max_tokens", "is 0, which leaves nothing to answer without \"echo\": true; send at least 1");
  }
  if (fields.ok()) {
    plan->prompts = ReadPrompts(fields, model, plan->echo, request.skip_special_tokens);
    ReadSuffix(fields, model, plan->echo, &plan->prompts);
    const bool truncates = fields.Find("truncate_prompt_tokens") != nullptr;
    TruncatePrompts(fields, &plan->prompts);
    if (truncates && plan->echo) {
      fields.Fail("truncate_prompt_tokens", "cannot be combined with echo; send the shortened prompt");
    }
    SetLengths(fields, model,
               {.prompt_name = "prompt",
                .max_tokens_name = "max_tokens",
                .max_tokens = max_tokens,
                .default_max_tokens = kDefaultMaxTokens},
               plan);
  }
  // The engine ends a request without new tokens only as a scoring of its prompt.
  if (max_tokens == 0 && request.num_prompt_logprobs < 0) request.num_prompt_logprobs = 0;
  if (fields.ok()) ReadConstraints(fields, model, plan);
  if (fields.ok()) NoteWithoutEffect(fields, plan);
  return fields.error();
}

}  // namespace switchyard::openai
