// Hugging Face's LlamaTokenizer (the slow one) over a SentencePiece model.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/added_tokens.h"
#include "engine/text/sentencepiece_model.h"
#include "engine/text/tokenizer.h"
#include "engine/text/tokenizer_config.h"

namespace switchyard {

// Thread safety: immutable.
class LlamaTokenizer : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& directory, TokenizerConfig config);

  int32_t vocab_size() const override { return static_cast<int32_t>(vocabulary_.size()); }
  std::optional<int32_t> bos_id() const override { return bos_id_; }
  std::optional<int32_t> eos_id() const override { return eos_id_; }
  std::vector<int32_t> Encode(std::string_view text, const EncodeOptions& options) const override;
  std::string_view Bytes(int32_t id) const override;
  bool drops_leading_space() const override { return drops_leading_space_; }
  std::string Piece(int32_t id) const override;
  bool IsSpecial(int32_t id) const override;

 private:
  LlamaTokenizer(std::unique_ptr<SentencePieceModel> model, TokenizerConfig config);

  bool Contains(int32_t id) const { return id >= 0 && id < vocab_size(); }
  std::optional<int32_t> Find(std::string_view name) const;
  // Text without special tokens; `ids` grows.
  void EncodeSegment(std::string_view text, std::vector<int32_t>* ids) const;

  TokenizerConfig config_;
  std::unique_ptr<SentencePieceModel> model_;
  AddedTokens added_tokens_;
  std::vector<SentencePieceModel::Piece> vocabulary_;  // [id]; empty names between the model's and the added ids
  std::optional<int32_t> bos_id_;
  std::optional<int32_t> eos_id_;
  bool drops_leading_space_;
  size_t num_unk_pieces_ = 0;  // legacy = false: of unk_token's name as ordinary text
};

}  // namespace switchyard
