#include "server/rpc/prompt_codec.h"

#include "absl/strings/str_cat.h"
#include "engine/request_validation.h"

namespace switchyard {
namespace {

absl::Status CheckTextSize(absl::string_view name, int64_t size, const Engine& engine) {
  const int64_t context = engine.model_info().max_model_len;
  if (size / kMaxPromptBytesPerToken <= context) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " has ", size, " bytes, at least ",
                                                 size / kMaxPromptBytesPerToken, " tokens; this model's context is ",
                                                 context, " tokens: shorten it"));
}

absl::Status CheckChat(const v1::Chat& chat, const Engine& engine) {
  if (chat.messages().empty()) return absl::InvalidArgumentError("`messages` is empty: a chat needs at least one");
  if (chat.continue_final_message() && chat.add_generation_prompt()) {
    return absl::InvalidArgumentError("`continue_final_message` excludes `add_generation_prompt`: set that to false");
  }
  if (chat.continue_final_message() && chat.messages().rbegin()->role() != "assistant") {
    return absl::InvalidArgumentError(
        "`continue_final_message` needs an assistant's message at the end, which the answer continues");
  }
  int64_t size = 0;
  for (const v1::ChatMessage& message : chat.messages()) size += static_cast<int64_t>(message.content().size());
  return CheckTextSize("`messages`", size, engine);
}

absl::StatusOr<std::vector<int32_t>> EncodeWhole(const v1::GenerateRequest& message, const Engine& engine) {
  switch (message.prompt_case()) {
    case v1::GenerateRequest::kText:
      if (message.text().empty()) {
        return absl::InvalidArgumentError("`text` is empty: a prompt needs at least one character or token");
      }
      return EncodeText(message.text(), !message.has_add_special_tokens() || message.add_special_tokens(), engine);
    case v1::GenerateRequest::kTokens:
      return std::vector<int32_t>(message.tokens().ids().begin(), message.tokens().ids().end());
    case v1::GenerateRequest::kChat:
      return EncodeChat(message.chat(), engine);
    case v1::GenerateRequest::PROMPT_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("`prompt` is missing: set one of `text`, `tokens` and `chat`");
}

}  // namespace

absl::StatusOr<std::vector<int32_t>> EncodeText(const std::string& text, bool add_special_tokens,
                                                const Engine& engine) {
  if (engine.tokenizer() == nullptr) {
    return absl::UnimplementedError("this model has no tokenizer: send the prompt as `tokens`");
  }
  absl::Status status = CheckTextSize("`text`", static_cast<int64_t>(text.size()), engine);
  if (!status.ok()) return status;
  return engine.tokenizer()->Encode(text, {.add_special_tokens = add_special_tokens, .parse_special_tokens = true});
}

absl::StatusOr<std::vector<int32_t>> EncodeChat(const v1::Chat& chat, const Engine& engine) {
  if (engine.tokenizer() == nullptr) {
    return absl::UnimplementedError("this model has no tokenizer, so it cannot chat: send the prompt as `tokens`");
  }
  if (engine.chat_template() == nullptr) return engine.chat_template_status();
  absl::Status status = CheckChat(chat, engine);
  if (!status.ok()) return status;
  Chat request;
  for (const v1::ChatMessage& message : chat.messages()) {
    request.messages.push_back({.role = message.role(),
                                .content = message.content(),
                                .name = message.name(),
                                .tool_call_id = message.tool_call_id(),
                                .tool_calls = {},
                                .reasoning_content = message.reasoning_content()});
    for (const v1::ToolCall& call : message.tool_calls()) {
      request.messages.back().tool_calls.push_back(
          {.id = call.id(), .name = call.name(), .arguments = call.arguments()});
    }
  }
  request.tools.assign(chat.tools().begin(), chat.tools().end());
  request.documents.assign(chat.documents().begin(), chat.documents().end());
  request.template_arguments = chat.template_arguments();
  request.continue_final_message = chat.continue_final_message();
  request.add_generation_prompt =
      chat.has_add_generation_prompt() ? chat.add_generation_prompt() : !request.continue_final_message;
  return engine.chat_template()->Encode(request, *engine.tokenizer());
}

absl::StatusOr<std::vector<int32_t>> EncodePrompt(const v1::GenerateRequest& message, const Engine& engine) {
  absl::StatusOr<std::vector<int32_t>> ids = EncodeWhole(message, engine);
  if (!ids.ok() || !message.has_truncate_prompt_tokens()) return ids;
  const int32_t kept = message.truncate_prompt_tokens();
  if (kept < 1) {
    return absl::InvalidArgumentError(absl::StrCat("`truncate_prompt_tokens` is ", kept, "; it must be at least 1"));
  }
  const int64_t excess = static_cast<int64_t>(ids->size()) - kept;
  if (excess > 0) ids->erase(ids->begin(), ids->begin() + excess);
  return ids;
}

}  // namespace switchyard
