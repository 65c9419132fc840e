// What tokenizer_config.json (and, in older directories, added_tokens.json) says, with Hugging Face's defaults.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace switchyard {

// A token beside, or by the name of, those of tokenizer.model.
struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool lstrip = false;       // eats the white space before it
  bool rstrip = false;       // eats the white space after it
  bool single_word = false;  // counts only beside spaces or the text's ends
  bool special = false;
  bool normalized = true;  // tokenizer.json: looked for, normalised, in the normalised text
};

struct TokenizerConfig {
  std::optional<bool> add_bos_token;  // nullopt, for these three: the class decides
  std::optional<bool> add_eos_token;
  std::optional<bool> add_prefix_space;
  bool legacy = true;  // every segment between special tokens gets a leading space
  std::string tokenizer_class = "LlamaTokenizer";
  bool names_class = false;                      // tokenizer_class stands in the file
  std::optional<std::string> bos_token = "<s>";  // nullopt: null in the file, or absent for a class other than LLaMA's
  std::optional<std::string> eos_token = "</s>";
  std::string unk_token = "<unk>";
  std::vector<std::string> special_names;    // of bos_token, eos_token, pad_token and so on; not those that are null
  std::vector<AddedToken> added_tokens;      // ascending by id
  std::optional<std::string> chat_template;  // the one named "default" where there are several
  std::optional<std::string> tool_chat_template;  // the one named "tool_use"

  bool is_llama() const { return tokenizer_class == "LlamaTokenizer" || tokenizer_class == "LlamaTokenizerFast"; }

  // Defaults where the directory has no tokenizer_config.json. INVALID_ARGUMENT names the file, the field and the type
  // found. chat_template.jinja or chat_template.json, where there is one, goes before tokenizer_config.json's.
  static absl::StatusOr<TokenizerConfig> Read(const std::string& directory);
};

// The bytes of a file of at most `max_bytes`; NOT_FOUND, INVALID_ARGUMENT (too large) or DATA_LOSS name it.
absl::StatusOr<std::string> ReadTextFile(const std::string& path, size_t max_bytes);

}  // namespace switchyard
