// POST /tokenize and /detokenize, GET /tokenizer_info, in vLLM's shapes.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "server/http/message.h"
#include "server/openai/generation_plan.h"

namespace switchyard::openai {

// {"prompt": TEXT, "add_special_tokens": true, "return_token_strs": false} or {"messages": […]}
//   -> {"count", "max_model_len", "tokens", "token_strs"}
http::Response Tokenize(const nlohmann::json& body, const ModelContext& model);
// {"tokens": […], "skip_special_tokens": false} -> {"prompt"}
http::Response Detokenize(const nlohmann::json& body, const ModelContext& model);
http::Response TokenizerInfo(const ModelContext& model);

}  // namespace switchyard::openai
