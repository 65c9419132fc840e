// `suffix` of completions: what is generated belongs between the prompt and it.
#pragma once

#include <string>
#include <vector>

#include "server/openai/field_reader.h"
#include "server/openai/generation_plan.h"

namespace switchyard::openai {

// Reads `suffix` and, where there is one, rewrites the prompts to what models are asked with that were trained to fill
// in: Mistral's [SUFFIX] and [PREFIX], or a prefix, a suffix and a middle token under one of their usual names. A
// vocabulary without such tokens, prompts of token ids, echo and truncation are refused by name. Ids that lead every
// text (BOS) stay in front.
void ReadSuffix(FieldReader& fields, const ModelContext& model, bool echo, std::vector<Prompt>* prompts);

}  // namespace switchyard::openai
