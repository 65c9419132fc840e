// Mixtral's chat format: <s>[INST] question [/INST] answer</s>[INST] question [/INST]
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/chat_template.h"

namespace switchyard {

// Messages are [system] (user assistant)* [user]. System and developer messages at the start are joined by blank lines
// and folded into the first user message as "system\n\nuser", as Mixtral's newer templates do. Thread safety:
// immutable.
class MixtralTemplate : public ChatTemplate {
 public:
  // nullopt when `source` is not built of the constructs of Mistral AI's own templates (with or without a system
  // message; the literals around the contents are read from it, since they differ among the versions).
  static std::optional<MixtralTemplate> Recognise(std::string_view source);

  absl::StatusOr<std::vector<int32_t>> Encode(const std::vector<ChatMessage>& messages,
                                              const Tokenizer& tokenizer) const override;

  // One operand of what a template writes for a message.
  struct Part {
    enum class Kind { kLiteral, kContent, kSystem, kBos, kEos };
    Kind kind;
    std::string literal;  // kLiteral only
  };

 private:
  MixtralTemplate() = default;

  std::vector<Part> user_;
  std::vector<Part> user_with_system_;
  std::vector<Part> assistant_;
};

}  // namespace switchyard
