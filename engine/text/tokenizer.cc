#include "engine/text/tokenizer.h"

#include <utility>

#include "engine/text/detokenizer.h"

namespace switchyard {

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  Detokenizer detokenizer(this, {}, skip_special_tokens);
  std::string text;
  for (const int32_t id : ids) text += detokenizer.Append(id);
  return text + detokenizer.Finish();
}

}  // namespace switchyard
