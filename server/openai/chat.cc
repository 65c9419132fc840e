#include "server/openai/chat.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "server/openai/constraint_fields.h"
#include "server/openai/field_reader.h"
#include "server/openai/message_fields.h"
#include "server/openai/prompt_fields.h"
#include "server/openai/request_fields.h"
#include "server/openai/sampling_fields.h"
#include "server/openai/tool_fields.h"

namespace switchyard::openai {
namespace {

void ReadLogProbs(FieldReader& fields, const ModelContext& model, GenerationPlan* plan) {
  const bool wanted = fields.Bool("logprobs").value_or(false);
  const auto top = fields.Int("top_logprobs", 0, model.limits->max_logprobs);
  if (top.value_or(0) > 0 && !wanted) fields.Fail("top_logprobs", "needs \"logprobs\": true");
  plan->num_logprobs = wanted ? static_cast<int32_t>(top.value_or(0)) : -1;
  SetLogProbs(plan);
  plan->request.text_continues_prompt = false;
}

}  // namespace

std::optional<ApiError> ParseChat(const std::string& text, const nlohmann::json& body, const ModelContext& model,
                                  const std::string& fallback_id, GenerationPlan* plan) {
  FieldReader fields(body);
  CheckModelName(fields, *model.served_name);
  plan->response_id = ResponseId(fields, "chatcmpl-", fallback_id);
  RefuseUnsupported(fields, Endpoint::kChat);
  ReadSampling(fields, model, plan);
  ReadStops(fields, model, plan);
  ReadStreaming(fields, plan);
  ReadChoices(fields, model, plan);
  ReadLogProbs(fields, model, plan);
  const ChatTemplate* const chat_template = model.engine->chat_template();
  plan->tools =
      ReadTools(fields, text, chat_template != nullptr ? chat_template->tool_call_format() : ToolCallFormat::kMistral);

  constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max();
  const auto old_name = fields.Int("max_tokens", 1, kMaxInt);
  const auto new_name = fields.Int("max_completion_tokens", 1, kMaxInt);
  if (fields.ok()) {
    plan->prompts = ReadMessages(fields, model, plan->tools);
    TruncatePrompts(fields, &plan->prompts);
    if (fields.ok()) ApplyTools(model, plan);
    const bool by_old_name = old_name.has_value() && !new_name.has_value();
    SetLengths(fields, model,
               {.prompt_name = "messages",
                .max_tokens_name = by_old_name ? "max_tokens" : "max_completion_tokens",
                .max_tokens = by_old_name ? old_name : new_name,
                .default_max_tokens = kMaxInt},
               plan);
  }
  if (fields.ok()) ReadConstraints(fields, model, plan);
  if (fields.ok()) NoteWithoutEffect(fields, plan);
  return fields.error();
}

}  // namespace switchyard::openai
