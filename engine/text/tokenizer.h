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

  // Reads tokenizer.model and tokenizer_config.json of a model directory. NOT_FOUND when the directory has no
  // tokenizer: such a model serves token ids only.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& directory);

  virtual int32_t vocab_size() const = 0;
  virtual std::optional<int32_t> bos_id() const = 0;
  virtual std::optional<int32_t> eos_id() const = 0;

  struct EncodeOptions {
    bool add_special_tokens = true;     // the leading BOS (and whatever else tokenizer_config.json asks for)
    bool parse_special_tokens = false;  // "<s>" in the text is the token, not its letters
  };
  // As Hugging Face's tokenizer of the same directory does. `text` is UTF-8.
  virtual std::vector<int32_t> Encode(std::string_view text, const EncodeOptions& options) const = 0;
  // All ids at once, specials left out on demand; bytes that are no UTF-8 become U+FFFD.
  virtual std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens) const = 0;
  // The raw piece for log-probability lists: "▁the", "<0x0A>".
  virtual std::string Piece(int32_t id) const = 0;
  virtual bool IsSpecial(int32_t id) const = 0;
};

}  // namespace switchyard
