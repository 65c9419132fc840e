// One token per byte, and a chat template as plain as can be: for tests of the front ends.
#pragma once

#include <string>
#include <vector>

#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"

namespace switchyard {

// Ids: 0 <unk>, 1 <s>, 2 </s>, 3 + byte, and after these further special tokens.
class FakeTokenizer : public Tokenizer {
 public:
  static constexpr int32_t kBos = 1;
  static constexpr int32_t kEos = 2;
  static constexpr int32_t kFirstByte = 3;

  explicit FakeTokenizer(const std::vector<std::string>& more_special = {});
  int32_t vocab_size() const override { return static_cast<int32_t>(bytes_.size()); }
  std::optional<int32_t> bos_id() const override { return kBos; }
  std::optional<int32_t> eos_id() const override { return kEos; }
  std::vector<int32_t> Encode(std::string_view text, const EncodeOptions& options) const override;
  std::string_view Bytes(int32_t id) const override;
  bool drops_leading_space() const override { return false; }
  std::string Piece(int32_t id) const override;
  bool IsSpecial(int32_t id) const override { return id < kFirstByte || id >= kFirstByte + 256; }

 private:
  std::vector<std::string> bytes_;
};

// <s>, "tools: JSON\n" if there are any, and "role: content\n" for each message, with its calls as "name(arguments)"
// and
// "#" and the id that it answers; refuses the role "tool" without an id. A final message that is continued has no "\n".
class FakeChatTemplate : public ChatTemplate {
 public:
  explicit FakeChatTemplate(ToolCallFormat format = ToolCallFormat::kMistral) : format_(format) {}
  ToolCallFormat tool_call_format() const override { return format_; }
  absl::StatusOr<std::vector<int32_t>> Encode(const Chat& chat, const Tokenizer& tokenizer) const override;

 private:
  const ToolCallFormat format_;
};

}  // namespace switchyard
