// `messages` and what belongs to them, to token ids.
#pragma once

#include <vector>

#include "server/openai/field_reader.h"
#include "server/openai/generation_plan.h"

namespace switchyard::openai {

// `messages` through the checkpoint's chat template, with documents, add_generation_prompt, continue_final_message and
// chat_template_kwargs. Content is a string, null (assistant only), or text parts.
std::vector<Prompt> ReadMessages(FieldReader& fields, const ModelContext& model, const ToolUse& tools);

}  // namespace switchyard::openai
