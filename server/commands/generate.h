// `switchyard generate`: one prompt, its continuation on standard output.
#pragma once

#include "server/settings/settings.h"

namespace switchyard {

// Streams the text (token ids for a model without tokenizer); with --json prints one object at the end:
// {"text", "tokens", "finish_reason", "usage": {"prompt_tokens", "completion_tokens", "cached_tokens"}}, where `tokens`
// are the generated ids, the end-of-sequence id included. Returns the exit code.
int RunGenerate(const Settings& settings);

}  // namespace switchyard
