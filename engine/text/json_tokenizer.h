// A Tokenizer of tokenizer.json, as transformers' fast tokenizers (4.57) set it up.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"
#include "engine/text/tokenizer_config.h"
#include "engine/text/tokenizer_json/pipeline.h"

namespace switchyard {

// What tokenizer_config.json changes of tokenizer.json:
// - added_tokens_decoder adds tokens and replaces the flags of those that are there; bos_token, eos_token and the other
//   special tokens become added tokens where they are none.
// - add_bos_token and add_eos_token count for the classes that look at them (Llama, Gemma and Cohere: true and false by
//   default; GPTNeoX: false and false), which put just these tokens around a text, whatever post_processor says. For
//   other classes, and without tokenizer_class, post_processor counts and the two fields do not.
// - add_prefix_space (false by default) replaces that of a ByteLevel pre-tokeniser which stands alone, but for Llama.
// Thread safety: immutable.
class JsonTokenizer : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& directory, const TokenizerConfig& config);

  int32_t vocab_size() const override { return static_cast<int32_t>(pipeline_->tokens().size()); }
  std::optional<int32_t> bos_id() const override { return bos_id_; }
  std::optional<int32_t> eos_id() const override { return eos_id_; }
  std::vector<int32_t> Encode(std::string_view text, const EncodeOptions& options) const override;
  std::string_view Bytes(int32_t id) const override;
  std::string_view FirstBytes(int32_t id) const override;
  bool drops_leading_space() const override { return pipeline_->decoder().strips_leading_space(); }
  bool replaces_each_byte() const override { return pipeline_->decoder().replaces_each_byte(); }
  std::string Piece(int32_t id) const override;
  bool IsSpecial(int32_t id) const override;

 private:
  explicit JsonTokenizer(std::unique_ptr<tokenizer_json::Pipeline> pipeline);

  bool Contains(int32_t id) const { return id >= 0 && id < vocab_size(); }
  absl::Status FindTokens(const std::string& path, const TokenizerConfig& config);

  std::unique_ptr<tokenizer_json::Pipeline> pipeline_;
  tokenizer_json::PostProcessor around_;
  absl::flat_hash_map<int32_t, std::string> first_bytes_;  // where they are not Bytes
  std::optional<int32_t> bos_id_;
  std::optional<int32_t> eos_id_;
};

}  // namespace switchyard
