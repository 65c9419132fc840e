#include "engine/text/tokenizer.h"

#include <filesystem>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/text/detokenizer.h"
#include "engine/text/llama_tokenizer.h"
#include "engine/text/tokenizer_config.h"

namespace switchyard {

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Open(const std::string& directory) {
  const std::filesystem::path root(directory);
  std::error_code error;
  if (!std::filesystem::exists(root / "tokenizer.model", error)) {
    return absl::NotFoundError(absl::StrCat(directory,
                                            ": has no tokenizer.model (SentencePiece); without it the model "
                                            "serves token ids only"));
  }
  absl::StatusOr<TokenizerConfig> config = TokenizerConfig::Read(directory);
  if (!config.ok()) return config.status();
  if (config->tokenizer_class != "LlamaTokenizer" && config->tokenizer_class != "LlamaTokenizerFast") {
    return absl::UnimplementedError(
        absl::StrCat((root / "tokenizer_config.json").string(), ": tokenizer_class '", config->tokenizer_class,
                     "' is not supported (LlamaTokenizer and LlamaTokenizerFast are); send token ids instead of text, "
                     "with tokenizer.model moved away"));
  }
  return LlamaTokenizer::Open(directory, *std::move(config));
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  Detokenizer detokenizer(this, {}, skip_special_tokens);
  std::string text;
  for (const int32_t id : ids) text += detokenizer.Append(id);
  return text + detokenizer.Finish();
}

}  // namespace switchyard
