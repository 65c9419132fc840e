// Text <-> token ids.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace switchyard {

// Thread safety: immutable; call from any thread.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Reads tokenizer_config.json and, of a model directory that has both, tokenizer.model where tokenizer_class is
  // LLaMA's (as it is without the field) and tokenizer.json otherwise: a tokenizer.model of another class may not even
  // be SentencePiece's. With tokenizer.model goes added_tokens.json. NOT_FOUND when the directory has neither: such a
  // model serves token ids only. INVALID_ARGUMENT names a damaged file; UNIMPLEMENTED a component of tokenizer.json
  // that we do not have, or a tokenizer_class other than LLaMA's without tokenizer.json.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& directory);

  // One past the highest id, added tokens included.
  virtual int32_t vocab_size() const = 0;
  virtual std::optional<int32_t> bos_id() const = 0;
  virtual std::optional<int32_t> eos_id() const = 0;

  struct EncodeOptions {
    bool add_special_tokens = true;     // the leading BOS (and whatever else tokenizer_config.json asks for)
    bool parse_special_tokens = false;  // "<s>" in the text is the token, not its letters
  };
  // As Hugging Face's tokenizer of the same directory does (tokenizer.model: the slow one, tokenizer.json: the fast
  // one); parse_special_tokens = false is its split_special_tokens=True. `text` is UTF-8; a byte that is no UTF-8 is
  // read as U+FFFD.
  virtual std::vector<int32_t> Encode(std::string_view text, const EncodeOptions& options) const = 0;

  // The bytes that `id` adds to a text, perhaps a part of a character only; a special token's are its name. Empty for
  // an id outside the vocabulary. Valid as long as the tokenizer.
  virtual std::string_view Bytes(int32_t id) const = 0;
  // What `id` adds as the first token of a text; as Bytes. Where there is a difference, there is no other leading space
  // to drop.
  virtual std::string_view FirstBytes(int32_t id) const { return Bytes(id); }
  // Encode puts a space before the text, so a text that starts with one loses it when decoded.
  virtual bool drops_leading_space() const = 0;
  // In a text, each byte that is part of no UTF-8 character becomes one U+FFFD; false: each longest beginning of a
  // character does.
  virtual bool replaces_each_byte() const { return true; }
  // The raw piece for log-probability lists: "▁the", "<0x0A>". Valid UTF-8; empty for an id outside the vocabulary.
  virtual std::string Piece(int32_t id) const = 0;
  // Control and unknown tokens and the added tokens that tokenizer_config.json calls special.
  virtual bool IsSpecial(int32_t id) const = 0;

  // All ids at once, specials left out on demand. (Hugging Face's ByteFallback makes U+FFFD of all bytes in a row, the
  // sound characters among them too, when one is none; a text that is streamed cannot.)
  virtual std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens) const;
};

}  // namespace switchyard
