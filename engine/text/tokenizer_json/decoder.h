// The `decoder` of tokenizer.json: what a token's name stands for. Texts are made token by token (Detokenizer), so a
// decoder is a function of the token, and of whether it is the first.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace switchyard::tokenizer_json {

class DecoderStep {
 public:
  virtual ~DecoderStep() = default;
  // What becomes of the name of one token; `is_first` in the text.
  virtual std::string Apply(const std::string& token, bool is_first) const = 0;
};

// Thread safety: immutable.
class Decoder {
 public:
  // Sequence, ByteLevel, Metaspace, ByteFallback, Fuse, Strip, Replace; null: a space between tokens. UNIMPLEMENTED
  // names another kind, and one that stands where it would need several tokens at once: behind ByteLevel, ByteFallback
  // or Fuse only Fuse and a Strip of one space at the text's start. INVALID_ARGUMENT names a bad field.
  static absl::StatusOr<Decoder> Parse(const std::string& place, const nlohmann::json& json);

  // Perhaps a part of a character only.
  std::string Bytes(const std::string& token, bool is_first) const;

  // A text loses the one space that it starts with.
  bool strips_leading_space() const { return strips_leading_space_; }
  // Bytes that are no UTF-8 become U+FFFD one by one (ByteFallback), not as few as possible (ByteLevel).
  bool replaces_each_byte() const { return replaces_each_byte_; }

 private:
  std::vector<std::unique_ptr<const DecoderStep>> steps_;
  bool strips_leading_space_ = false;
  bool replaces_each_byte_ = false;
};

}  // namespace switchyard::tokenizer_json
