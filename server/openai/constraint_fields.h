// The fields that say which tokens may be generated: response_format, allowed_token_ids, bad_words, and what clients of
// other open servers send (guided_json, guided_regex, guided_choice, structured_outputs).
#pragma once

#include "server/openai/field_reader.h"
#include "server/openai/generation_plan.h"

namespace switchyard::openai {

// Fills plan->request.rules; last of all, since compiling is dear and depends on how the answer is decoded
// (text_continues_prompt). Faults are left in `fields`.
void ReadConstraints(FieldReader& fields, const ModelContext& model, GenerationPlan* plan);

}  // namespace switchyard::openai
