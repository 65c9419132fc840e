#include "engine/text/detokenizer.h"

namespace switchyard {

Detokenizer::Detokenizer(const Tokenizer* tokenizer, const std::vector<int32_t>& prompt, bool skip_special_tokens)
    : tokenizer_(tokenizer),
      skip_special_tokens_(skip_special_tokens),
      assembler_(tokenizer->drops_leading_space(), tokenizer->replaces_each_byte()) {
  for (const int32_t id : prompt) Append(id);
}

std::string Detokenizer::Append(int32_t id) {
  std::string text;
  if (skip_special_tokens_ && tokenizer_->IsSpecial(id)) return text;
  assembler_.Append(is_first_ ? tokenizer_->FirstBytes(id) : tokenizer_->Bytes(id), &text);
  if (!tokenizer_->Bytes(id).empty()) is_first_ = false;
  return text;
}

std::string Detokenizer::Finish() {
  std::string text;
  assembler_.Finish(&text);
  return text;
}

}  // namespace switchyard
