// `prompt` to token ids.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/openai/field_reader.h"
#include "server/openai/generation_plan.h"

namespace switchyard::openai {

// `prompt`: a string, strings, token ids, or lists of token ids; never empty. `with_text`: Prompt::text is filled, as
// echo needs it. Reads add_special_tokens (true unless said otherwise; leads a text with BOS). Special tokens that are
// spelled out in a text are those tokens, as with Hugging Face: who writes a raw prompt may write all of it.
std::vector<Prompt> ReadPrompts(FieldReader& fields, const ModelContext& model, bool with_text,
                                bool skip_special_tokens);

// False, with the fault kept: `text` cannot fit the context.
bool CheckTextSize(FieldReader& fields, const std::string& name, const std::string& text, const ModelContext& model);

// truncate_prompt_tokens: keeps the last ones, because the client said so.
void TruncatePrompts(FieldReader& fields, std::vector<Prompt>* prompts);

}  // namespace switchyard::openai
