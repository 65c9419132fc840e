// The `post_processor` of tokenizer.json: what stands around the tokens of a text.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace switchyard::tokenizer_json {

struct PostProcessor {
  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;

  // Sequence, TemplateProcessing (of its templates the one for a single text), BertProcessing, RobertaProcessing,
  // ByteLevel (which concerns offsets only), or null for none. UNIMPLEMENTED names another kind and a template that
  // has the text not once; INVALID_ARGUMENT a bad field, and an id that is not in [0, vocab_size).
  static absl::StatusOr<PostProcessor> Parse(const std::string& place, const nlohmann::json& json, int32_t vocab_size);
};

}  // namespace switchyard::tokenizer_json
