// Chat messages to prompt tokens, in the format that the checkpoint was trained on.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"

namespace switchyard {

struct ChatMessage {
  std::string role;  // "system", "developer", "user", "assistant"
  std::string content;
};

// Thread safety: immutable.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;

  // From chat_template.jinja or tokenizer_config.json's `chat_template`. NOT_FOUND when there is none; UNIMPLEMENTED
  // names a template that is none of the known formats (Mixtral's [INST]) and what to do about it.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Open(const std::string& directory);

  // INVALID_ARGUMENT when the template refuses the messages (roles that do not alternate, an unknown role), with the
  // message's index. The result includes the BOS that the template writes.
  // Only the special tokens that the template itself writes become tokens: "</s>" in a message's content is encoded as
  // its letters, so that no user can end a turn or forge one. (Hugging Face's path makes it the token.)
  virtual absl::StatusOr<std::vector<int32_t>> Encode(const std::vector<ChatMessage>& messages,
                                                      const Tokenizer& tokenizer) const = 0;
};

}  // namespace switchyard
