// Which of the tokenizers a checkpoint's files describe.
#include <filesystem>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/text/json_tokenizer.h"
#include "engine/text/llama_tokenizer.h"
#include "engine/text/tokenizer.h"
#include "engine/text/tokenizer_config.h"

namespace switchyard {

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Open(const std::string& directory) {
  const std::filesystem::path root(directory);
  std::error_code error;
  const bool has_model = std::filesystem::exists(root / "tokenizer.model", error);
  const bool has_json = std::filesystem::exists(root / "tokenizer.json", error);
  if (!has_model && !has_json) {
    return absl::NotFoundError(absl::StrCat(directory,
                                            ": has neither tokenizer.model (SentencePiece) nor tokenizer.json; without "
                                            "them the model serves token ids only"));
  }
  absl::StatusOr<TokenizerConfig> config = TokenizerConfig::Read(directory);
  if (!config.ok()) return config.status();
  if (has_json && !(has_model && config->is_llama())) return JsonTokenizer::Open(directory, *config);
  if (!config->is_llama()) {
    return absl::UnimplementedError(
        absl::StrCat((root / "tokenizer_config.json").string(), ": tokenizer_class '", config->tokenizer_class,
                     "' is not supported without tokenizer.json (LlamaTokenizer and LlamaTokenizerFast are); send "
                     "token ids instead of text, with tokenizer.model moved away"));
  }
  return LlamaTokenizer::Open(directory, *std::move(config));
}

}  // namespace switchyard
