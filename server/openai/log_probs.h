// Log-probabilities in the two shapes of OpenAI's API.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/request.h"
#include "engine/text/tokenizer.h"

namespace switchyard::openai {

// A token for people: its text; "bytes:\xe2\x80" when it is a part of a character; "token_id:17" without a tokenizer.
std::string TokenText(const Tokenizer* tokenizer, int32_t id);

// Where each token starts in the text of its choice, in characters (code points), as OpenAI counts.
class TextOffsets {
 public:
  // `starts_text`: the first token opens the text (an echoed prompt), so its encoding's leading space is dropped.
  TextOffsets(const Tokenizer* tokenizer, bool skip_special_tokens, bool starts_text)
      : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens), drop_space_(starts_text) {}
  // The offset of `id`, the next token.
  int64_t Advance(int32_t id);

 private:
  const Tokenizer* tokenizer_;  // borrowed; may be null
  bool skip_special_tokens_;
  bool drop_space_;
  int64_t offset_ = 0;
};

// {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
class CompletionLogProbs {
 public:
  CompletionLogProbs(const Tokenizer* tokenizer, TextOffsets* offsets) : tokenizer_(tokenizer), offsets_(offsets) {}
  // The first token of a prompt: nothing precedes it.
  void AddUnscored(int32_t id);
  // The chosen token is always in the top map, with the very value of token_logprobs (a harness compares with ==).
  void Add(int32_t id, float logprob, const std::vector<TokenLogProb>& top);
  nlohmann::ordered_json Take() { return std::move(lists_); }

 private:
  const Tokenizer* tokenizer_;  // borrowed; may be null
  TextOffsets* offsets_;        // borrowed
  nlohmann::ordered_json lists_ = {{"tokens", nlohmann::ordered_json::array()},
                                   {"token_logprobs", nlohmann::ordered_json::array()},
                                   {"top_logprobs", nlohmann::ordered_json::array()},
                                   {"text_offset", nlohmann::ordered_json::array()}};
};

// {"content": [{"token", "logprob", "bytes", "top_logprobs": […]}], "refusal": null}
// `as_ids`: "token" is "token_id:17".
nlohmann::ordered_json ChatLogProbs(const Tokenizer* tokenizer, const std::vector<GeneratedToken>& tokens, bool as_ids);

// vLLM's `prompt_logprobs`: null for the first token of the prompt `ids`, then for each a map from ids to {"logprob",
// "rank", "decoded_token"}: the `num_top` most likely and the token itself, whose rank is null beyond these.
nlohmann::ordered_json PromptLogProbs(const Tokenizer* tokenizer, const std::vector<int32_t>& ids,
                                      const std::optional<std::vector<PromptLogProb>>& scores, int32_t num_top);

}  // namespace switchyard::openai
