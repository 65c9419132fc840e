// The fields that completions and chat share: sampling, stops, streaming.
#pragma once

#include <optional>
#include <string>

#include "server/openai/field_reader.h"
#include "server/openai/generation_plan.h"

namespace switchyard::openai {

// Absent sampling fields take the checkpoint's generation defaults, then OpenAI's. Faults are left in `fields`.
void ReadSampling(FieldReader& fields, const ModelContext& model, GenerationPlan* plan);
void ReadStops(FieldReader& fields, const ModelContext& model, GenerationPlan* plan);
void ReadStreaming(FieldReader& fields, GenerationPlan* plan);
// n, best_of, return_token_ids, return_tokens_as_token_ids, return_expert_ids, prompt_logprobs. After ReadStreaming.
void ReadChoices(FieldReader& fields, const ModelContext& model, GenerationPlan* plan);
// What the engine has to find for the log-probabilities and candidates that the plan asks for.
void SetLogProbs(GenerationPlan* plan);

struct LengthFields {
  std::string prompt_name;      // "prompt" or "messages"
  std::string max_tokens_name;  // "max_tokens" or "max_completion_tokens"
  std::optional<int64_t> max_tokens;
  int64_t default_max_tokens = 0;  // at most; less where the context has less room
};
// Checks prompts and lengths against the context, after the prompts are in the plan. Context overflow is an error that
// gives both numbers.
void SetLengths(FieldReader& fields, const ModelContext& model, const LengthFields& lengths, GenerationPlan* plan);

}  // namespace switchyard::openai
