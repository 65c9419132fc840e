#include "engine/text/chat_template.h"

#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/text/mixtral_template.h"
#include "engine/text/tokenizer_config.h"

namespace switchyard {
namespace {

struct KnownFormat {
  std::string_view mark;
  std::string_view name;
};

// For the refusal's text only; the first mark that a template contains names it.
constexpr std::array<KnownFormat, 9> kOtherFormats = {{{"<|channel|>", "OpenAI harmony"},
                                                       {"<|im_start|>", "ChatML"},
                                                       {"<|start_header_id|>", "Llama 3"},
                                                       {"<<SYS>>", "Llama 2"},
                                                       {"[AVAILABLE_TOOLS]", "Mistral with tools"},
                                                       {"<start_of_turn>", "Gemma"},
                                                       {"<|start_of_role|>", "Granite"},
                                                       {"<|user|>", "Zephyr or Phi"},
                                                       {"[INST]", "a changed Mixtral"}}};

std::string NameOf(std::string_view source) {
  for (const KnownFormat& format : kOtherFormats) {
    if (source.find(format.mark) != std::string_view::npos) return std::string(format.name);
  }
  return "an unknown";
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Open(const std::string& directory) {
  absl::StatusOr<TokenizerConfig> config = TokenizerConfig::Read(directory);
  if (!config.ok()) return config.status();
  if (!config->chat_template) {
    return absl::NotFoundError(absl::StrCat(directory,
                                            ": has no chat_template in tokenizer_config.json; send the whole "
                                            "prompt to the completions endpoint instead of messages"));
  }
  if (std::optional<MixtralTemplate> mixtral = MixtralTemplate::Recognise(*config->chat_template)) {
    return std::make_unique<MixtralTemplate>(*std::move(mixtral));
  }
  return absl::UnimplementedError(absl::StrCat(
      directory, ": chat_template is ", NameOf(*config->chat_template),
      " template, and only Mixtral's [INST] format is supported; send the whole prompt to the completions endpoint "
      "instead of messages, or put Mixtral's template into tokenizer_config.json if the model was trained on it"));
}

}  // namespace switchyard
