// A vocabulary made for a test: every byte, and pieces of more.
#pragma once

#include <string>
#include <vector>

#include "engine/constraint/constraint_compiler.h"
#include "engine/text/tokenizer.h"

namespace switchyard {

// Ids: 0 <s>, 1 </s> (special); 2 + byte; then the pieces.
class PieceTokenizer : public Tokenizer {
 public:
  static constexpr int32_t kEos = 1;
  static int32_t ByteId(char byte) { return 2 + static_cast<uint8_t>(byte); }
  static int32_t PieceId(size_t index) { return 258 + static_cast<int32_t>(index); }

  explicit PieceTokenizer(const std::vector<std::string>& pieces = {}) : bytes_({"<s>", "</s>"}) {
    for (int byte = 0; byte < 256; ++byte) bytes_.push_back(std::string(1, static_cast<char>(byte)));
    bytes_.insert(bytes_.end(), pieces.begin(), pieces.end());
  }
  int32_t vocab_size() const override { return static_cast<int32_t>(bytes_.size()); }
  std::optional<int32_t> bos_id() const override { return 0; }
  std::optional<int32_t> eos_id() const override { return kEos; }
  std::vector<int32_t> Encode(std::string_view text, const EncodeOptions&) const override {
    std::vector<int32_t> ids;
    for (const char byte : text) ids.push_back(ByteId(byte));
    return ids;
  }
  std::string_view Bytes(int32_t id) const override { return bytes_[static_cast<size_t>(id)]; }
  bool drops_leading_space() const override { return false; }
  std::string Piece(int32_t id) const override { return bytes_[static_cast<size_t>(id)]; }
  bool IsSpecial(int32_t id) const override { return id < 2; }

 private:
  std::vector<std::string> bytes_;
};

inline ConstraintSpec SchemaSpec(const std::string& schema) {
  return {.kind = ConstraintSpec::Kind::kJsonSchema, .text = schema};
}
inline ConstraintSpec RegexSpec(const std::string& pattern) {
  return {.kind = ConstraintSpec::Kind::kRegex, .text = pattern};
}

inline bool IsAllowed(const TokenMask& mask, int32_t id) {
  return (mask[static_cast<size_t>(id) / 32] >> (static_cast<uint32_t>(id) % 32) & 1u) != 0;
}

// Whether the grammar takes the whole text, byte by byte.
inline bool Accepts(const std::shared_ptr<Grammar>& grammar, std::string_view text) {
  GrammarMatcher matcher(grammar);
  for (const char byte : text) {
    if (!matcher.Accept(PieceTokenizer::ByteId(byte)).ok()) return false;
  }
  return matcher.MayEnd();
}

}  // namespace switchyard
