// A checkpoint's chat template, evaluated as transformers' apply_chat_template does.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/chat_template.h"
#include "engine/text/jinja/template.h"
#include "engine/text/special_names.h"
#include "engine/text/tokenizer_config.h"

namespace switchyard {

// Beyond what apply_chat_template does: system and developer messages at the start are folded into the first user
// message, as "system\n\nuser", when the template refuses the chat with them and takes it so; and the role "developer"
// becomes "system" for a template that does not name it. Thread safety: immutable.
class JinjaChatTemplate : public ChatTemplate {
 public:
  // Errors as jinja::Template::Parse. `config` has a chat_template.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Create(const TokenizerConfig& config,
                                                              const Tokenizer& tokenizer);

  ToolCallFormat tool_call_format() const override { return tool_call_format_; }
  absl::StatusOr<std::vector<int32_t>> Encode(const Chat& chat, const Tokenizer& tokenizer) const override;

 private:
  struct Source {
    jinja::Template parsed;
    bool names_developer;
  };
  using Variables = std::vector<std::pair<std::string, jinja::Value>>;

  JinjaChatTemplate(Source plain, std::optional<Source> with_tools, const TokenizerConfig& config,
                    const Tokenizer& tokenizer);

  absl::StatusOr<std::string> Render(const Source& source, const Chat& chat,
                                     const std::vector<ChatMessage>& messages) const;
  absl::StatusOr<Variables> VariablesOf(const Chat& chat, const std::vector<ChatMessage>& messages,
                                        bool names_developer) const;
  jinja::Value MessageValue(const ChatMessage& message, bool names_developer) const;
  // `value` with every text in it guarded.
  jinja::Value Guarded(const jinja::Value& value) const;
  absl::StatusOr<jinja::Value> ParseGuarded(const char* what, const std::string& json) const;
  absl::StatusOr<jinja::Value> ParseAll(const char* what, const std::vector<std::string>& texts) const;

  const Source plain_;
  const std::optional<Source> with_tools_;
  const SpecialNames special_names_;
  ToolCallFormat tool_call_format_ = ToolCallFormat::kMistral;
  Variables special_tokens_;  // bos_token, eos_token, unk_token
};

}  // namespace switchyard
