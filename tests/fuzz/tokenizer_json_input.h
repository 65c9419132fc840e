// One input of the tokenizer.json fuzzer, and the promises that must hold for it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/text/tokenizer_json/pipeline.h"
#include "engine/text/utf8_assembler.h"

namespace switchyard {

// `input` is a text, a zero byte, and a tokenizer.json; without a zero byte it is the file. Returns what is wrong, or
// nothing.
inline std::string CheckTokenizerJsonInput(std::string_view input) {
  const size_t zero = input.find('\0');
  const bool has_text = zero != std::string_view::npos;
  const std::string text = has_text ? ToValidUtf8(input.substr(0, zero)) : "In the  beginning, 12 東京 <s>\r\n a\u0301";
  const std::string_view json = has_text ? input.substr(zero + 1) : input;

  const auto pipeline = tokenizer_json::Pipeline::Parse("fuzz", json, {});
  if (!pipeline.ok()) {
    return pipeline.status().message().find("fuzz") != absl::string_view::npos ? "" : "an error that names no file";
  }
  const auto num_tokens = static_cast<int32_t>((*pipeline)->tokens().size());
  const auto is_token = [num_tokens](int32_t id) { return id >= 0 && id < num_tokens; };
  for (const auto* ids : {&(*pipeline)->post_processor().prefix, &(*pipeline)->post_processor().suffix}) {
    for (const int32_t id : *ids) {
      if (!is_token(id)) return "the post-processor adds an id outside the vocabulary";
    }
  }
  for (const bool parse_special : {false, true}) {
    for (const int32_t id : (*pipeline)->Encode(text, parse_special)) {
      if (!is_token(id)) return "an id outside the vocabulary";
      (*pipeline)->FirstBytes(id);
    }
  }
  return "";
}

}  // namespace switchyard
