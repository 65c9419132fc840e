// Token by token to text that can be sent at once: never half a character, never a rewritten one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/text/tokenizer.h"

namespace switchyard {

// One per generated sequence; not thread-safe. The concatenation of all that Append and Finish return equals
// Decode(all ids) with the prompt's part cut off.
class Detokenizer {
 public:
  // `prompt` gives the context in which the first token is read (whether its leading space belongs to the text).
  Detokenizer(const Tokenizer* tokenizer, std::vector<int32_t> prompt, bool skip_special_tokens);

  // The text that `id` completes; empty while a character is incomplete.
  std::string Append(int32_t id);
  // What was held back; an incomplete character becomes U+FFFD.
  std::string Finish();

 private:
  const Tokenizer* tokenizer_;  // borrowed
  bool skip_special_tokens_;
  std::vector<int32_t> ids_;  // tail of the sequence that can still change the text
  size_t prefix_begin_ = 0;   // ids_[prefix_begin_, pending_begin_) decode to text already returned
  size_t pending_begin_ = 0;
};

}  // namespace switchyard
