// tokenizer.json, the file of Hugging Face's `tokenizers` library: text -> token ids, and what each id stands for.
//
//   text -> added tokens (as they came) -> normalizer -> added tokens (normalised) -> pre_tokenizer -> model
//
// Token for token equal to `tokenizers` 0.22 (docs/TOKENIZERS.md says on what that was tested, and where it cannot be).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer_config.h"
#include "engine/text/tokenizer_json/added_vocabulary.h"
#include "engine/text/tokenizer_json/bpe_model.h"
#include "engine/text/tokenizer_json/decoder.h"
#include "engine/text/tokenizer_json/normalizer.h"
#include "engine/text/tokenizer_json/post_processor.h"
#include "engine/text/tokenizer_json/pre_tokenizer.h"

namespace switchyard::tokenizer_json {

// Thread safety: immutable.
class Pipeline {
 public:
  // What transformers changes of the file.
  struct Changes {
    std::vector<AddedToken> added_tokens;    // behind those of the file; their ids are not looked at
    std::vector<std::string> special_names;  // added as special tokens unless they are added tokens already
    std::optional<bool> add_prefix_space;    // see PreTokenizer::Parse
  };
  // `json` is the content of the file `path`, which opens every message. INVALID_ARGUMENT: damaged (a wrong type, a
  // token without id, nesting deeper than 64, more than 65536 added tokens, ...). UNIMPLEMENTED names a component that
  // we do not have and its place. `truncation` and `padding` are not looked at: a request says what it wants of these.
  static absl::StatusOr<std::unique_ptr<Pipeline>> Parse(const std::string& path, std::string_view json,
                                                         const Changes& changes);

  // `text` is valid UTF-8. `parse_special` false: the names of special tokens are letters, other added tokens still
  // count. Without the post-processor's tokens. O(n log n) in the bytes.
  std::vector<int32_t> Encode(std::string_view text, bool parse_special) const;
  const PostProcessor& post_processor() const { return post_processor_; }

  struct Token {
    std::string name;   // as in the file: "Ġthe", "▁the", "<0x0A>"
    std::string bytes;  // what it adds to a text: " the", "\n"
    bool special = false;
  };
  // [id]; without a name where no token has the id.
  const std::vector<Token>& tokens() const { return tokens_; }
  // What `id` adds as a text's first token.
  std::string FirstBytes(int32_t id) const { return decoder_.Bytes(tokens_[id].name, /*is_first=*/true); }
  const Decoder& decoder() const { return decoder_; }
  std::optional<int32_t> Find(std::string_view name) const;

 private:
  Pipeline(BpeModel model, Normalizer normalizer, PreTokenizer pre_tokenizer, Decoder decoder);

  void AddTokens(const std::vector<AddedToken>& tokens, const Changes& changes);
  void BuildTokens();
  void EncodeText(std::string_view text, bool at_start, BpeModel::Scratch* scratch, std::vector<int32_t>* ids) const;

  BpeModel model_;
  AddedVocabulary added_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  PostProcessor post_processor_;
  Decoder decoder_;
  std::vector<Token> tokens_;
};

}  // namespace switchyard::tokenizer_json
