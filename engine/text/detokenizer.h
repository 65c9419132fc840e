// Token by token to text that can be sent at once: never half a character, never a rewritten one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/text/tokenizer.h"
#include "engine/text/utf8_assembler.h"

namespace switchyard {

// One per generated sequence; not thread-safe. The concatenation of all that Append and Finish return equals
// Decode(prompt and ids) with the prompt's part cut off. A character that the prompt begins and the ids complete
// belongs to the ids. Append costs time in its token's length only, Finish and the state are O(1).
class Detokenizer {
 public:
  // `prompt` gives the context in which the first token is read: with an empty one the first token starts a text and
  // its leading space, which only the encoding put there, is dropped. `tokenizer` is borrowed.
  Detokenizer(const Tokenizer* tokenizer, const std::vector<int32_t>& prompt, bool skip_special_tokens);

  // The text that `id` completes; empty while a character is incomplete. Always valid UTF-8.
  std::string Append(int32_t id);
  // What was held back, an incomplete character, as U+FFFD.
  std::string Finish();

 private:
  const Tokenizer* tokenizer_;  // borrowed
  bool skip_special_tokens_;
  bool is_first_ = true;  // no token has been part of the text yet
  Utf8Assembler assembler_;
};

}  // namespace switchyard
