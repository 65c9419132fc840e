#include "tests/server/fake_tokenizer.h"

namespace switchyard {

FakeTokenizer::FakeTokenizer(const std::vector<std::string>& more_special) : bytes_({"<unk>", "<s>", "</s>"}) {
  for (int byte = 0; byte < 256; ++byte) bytes_.push_back(std::string(1, static_cast<char>(byte)));
  bytes_.insert(bytes_.end(), more_special.begin(), more_special.end());
}

std::vector<int32_t> FakeTokenizer::Encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<int32_t> ids;
  if (options.add_special_tokens) ids.push_back(kBos);
  while (!text.empty()) {
    size_t size = 1;
    int32_t id = kFirstByte + static_cast<unsigned char>(text[0]);
    for (int32_t special = 0; options.parse_special_tokens && special < vocab_size(); ++special) {
      if (!IsSpecial(special) || !text.starts_with(bytes_[special])) continue;
      id = special;
      size = bytes_[special].size();
    }
    ids.push_back(id);
    text.remove_prefix(size);
  }
  return ids;
}

std::string_view FakeTokenizer::Bytes(int32_t id) const {
  return id >= 0 && id < vocab_size() ? std::string_view(bytes_[id]) : std::string_view();
}

std::string FakeTokenizer::Piece(int32_t id) const {
  return id < kFirstByte + 128 || IsSpecial(id) ? std::string(Bytes(id))
                                                : "<0x" + std::to_string(id - kFirstByte) + ">";
}

absl::StatusOr<std::vector<int32_t>> FakeChatTemplate::Encode(const Chat& chat, const Tokenizer& tokenizer) const {
  std::string text;
  for (const std::string& tool : chat.tools) text += "tool: " + tool + "\n";
  for (const std::string& document : chat.documents) text += "document: " + document + "\n";
  if (!chat.template_arguments.empty()) text += "arguments: " + chat.template_arguments + "\n";
  for (const ChatMessage& message : chat.messages) {
    if (message.role == "tool" && message.tool_call_id.empty()) {
      return absl::InvalidArgumentError("message 0 has the role tool");
    }
    text += message.role + ": " + message.content;
    for (const ToolCall& call : message.tool_calls) text += call.name + "(" + call.arguments + ")";
    if (!message.tool_call_id.empty()) text += "#" + message.tool_call_id;
    text += "\n";
  }
  if (chat.continue_final_message) text.pop_back();
  std::vector<int32_t> ids = {FakeTokenizer::kBos};
  for (const int32_t id : tokenizer.Encode(text, {.add_special_tokens = false})) ids.push_back(id);
  return ids;
}

}  // namespace switchyard
