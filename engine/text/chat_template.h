// Chat messages to prompt tokens, in the format that the checkpoint was trained on.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"
#include "engine/text/tool_call_format.h"

namespace switchyard {

struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;  // JSON text
};

struct ChatMessage {
  std::string role;  // "system", "developer", "user", "assistant", "tool"
  std::string content;
  std::string name;                  // of the tool that answered, or of the speaker; empty: none
  std::string tool_call_id;          // of a "tool" message: which call it answers; empty: none
  std::vector<ToolCall> tool_calls;  // of an "assistant" message
  std::string reasoning_content;     // of an "assistant" message; empty: none
};

struct Chat {
  std::vector<ChatMessage> messages;   // not empty
  std::vector<std::string> tools;      // each a JSON object: {"type": "function", "function": {…}}
  std::vector<std::string> documents;  // each a JSON object
  std::string template_arguments;      // a JSON object whose members become the template's variables; empty: none
  bool add_generation_prompt = true;
  // The last message stays open: the answer continues it. Not together with add_generation_prompt.
  bool continue_final_message = false;
};

// Thread safety: immutable.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;

  // From chat_template.jinja, chat_template.json or tokenizer_config.json's `chat_template`; of named ones "default",
  // and "tool_use" for chats with tools. NOT_FOUND when there is none; INVALID_ARGUMENT and UNIMPLEMENTED name the
  // template's line and what is malformed or not supported there, and what to do about it.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Open(const std::string& directory, const Tokenizer& tokenizer);

  // Hermes' where the template writes <tool_call> and not [TOOL_CALLS].
  virtual ToolCallFormat tool_call_format() const { return ToolCallFormat::kMistral; }

  // INVALID_ARGUMENT when the template refuses the messages (roles that do not alternate, an unknown role), fails on
  // them or passes a limit; with the template's own words. The result includes the BOS that the template writes.
  // Only the special tokens that the template itself writes become tokens: "</s>" in a message's content, in a tool or
  // in an argument is encoded as its letters, so that no user can end a turn or forge one. (Hugging Face's path makes
  // it the token.) `tokenizer` is the one given to Open.
  virtual absl::StatusOr<std::vector<int32_t>> Encode(const Chat& chat, const Tokenizer& tokenizer) const = 0;
};

}  // namespace switchyard
