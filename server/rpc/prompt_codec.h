// The prompts of switchyard.v1 to tokens, as the HTTP front end reads its own.
//
// Thread safety: free functions without state.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "switchyard/v1/generation.pb.h"

namespace switchyard {

// INVALID_ARGUMENT: none, an empty text, one that cannot fit the context, what EncodeChat refuses; UNIMPLEMENTED: text
// for a model without tokenizer. Token ids are the engine's to check.
absl::StatusOr<std::vector<int32_t>> EncodePrompt(const v1::GenerateRequest& message, const Engine& engine);

// `text` may be empty.
absl::StatusOr<std::vector<int32_t>> EncodeText(const std::string& text, bool add_special_tokens, const Engine& engine);

// INVALID_ARGUMENT: no messages, a last message that cannot be continued, what the template refuses; UNIMPLEMENTED: a
// model without tokenizer; without a template, chat_template_status().
absl::StatusOr<std::vector<int32_t>> EncodeChat(const v1::Chat& chat, const Engine& engine);

}  // namespace switchyard
