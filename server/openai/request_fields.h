// Fields that this version does not implement: refused by name where they would change the result, else named in a log
// line.
#pragma once

#include <string>

#include "server/openai/field_reader.h"
#include "server/openai/generation_plan.h"

namespace switchyard::openai {

enum class Endpoint { kCompletions, kChat };

// Marks every field of both lists as read.
void RefuseUnsupported(FieldReader& fields, Endpoint endpoint);
// Adds the harmless fields that are present, then every field that nothing has read, to plan->without_effect. Last.
void NoteWithoutEffect(FieldReader& fields, GenerationPlan* plan);

// NOT_FOUND's answer for a `model` other than the served one. An absent `model` is the served one.
void CheckModelName(FieldReader& fields, const std::string& served_name);

// "cmpl-" and the body's request_id if it is usable, else `fallback`.
std::string ResponseId(FieldReader& fields, const std::string& prefix, const std::string& fallback);

}  // namespace switchyard::openai
