#include "engine/text/chat_template.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/text/jinja_chat_template.h"
#include "engine/text/tokenizer_config.h"

namespace switchyard {

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Open(const std::string& directory,
                                                                 const Tokenizer& tokenizer) {
  absl::StatusOr<TokenizerConfig> config = TokenizerConfig::Read(directory);
  if (!config.ok()) return config.status();
  if (!config->chat_template) {
    return absl::NotFoundError(absl::StrCat(directory,
                                            ": has no chat_template in tokenizer_config.json; send the whole "
                                            "prompt to the completions endpoint instead of messages"));
  }
  absl::StatusOr<std::unique_ptr<ChatTemplate>> opened = JinjaChatTemplate::Create(*config, tokenizer);
  if (opened.ok()) return opened;
  return absl::Status(opened.status().code(),
                      absl::StrCat(directory, ": chat_template, ", opened.status().message(),
                                   "; send the whole prompt to the completions endpoint instead of messages"));
}

}  // namespace switchyard
