// What one HTTP request asks for, checked and in the engine's terms.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "engine/request.h"
#include "server/openai/api.h"
#include "server/openai/tool_use.h"

namespace switchyard::openai {

// What requests are checked against. All borrowed, all outliving the request.
struct ModelContext {
  Engine* engine = nullptr;
  const std::string* served_name = nullptr;
  const Limits* limits = nullptr;
  std::string_view body;  // as it came, for fields in which the order of members matters; only while parsing

  const ModelInfo& info() const { return engine->model_info(); }
  const Tokenizer* tokenizer() const { return engine->tokenizer(); }  // may be null
};

struct Prompt {
  std::vector<int32_t> ids;
  std::string text;  // as `echo` gives it back; filled only for echo
};

struct GenerationPlan {
  std::vector<Prompt> prompts;
  int32_t n = 1;           // choices per prompt
  int32_t candidates = 1;  // `best_of`, at least n: generated per prompt; candidate i uses seed + i
  // Of every choice; `prompt` and the seed's offset are filled in by RequestOf, `id` when it is submitted.
  GenerationRequest request;

  bool stream = false;
  bool include_usage = false;     // a last chunk with the usage
  bool continuous_usage = false;  // the usage so far in every chunk
  bool echo = false;
  bool return_token_ids = false;
  int64_t expert_ids_per_layer = 0;  // `return_expert_ids`: the experts per token; 0: not asked for
  int32_t num_logprobs = -1;         // as asked: -1 none
  int32_t num_prompt_logprobs = -1;  // `prompt_logprobs`, as asked; echo needs none of it
  bool tokens_as_ids = false;        // log-probabilities name tokens "token_id:17"

  ToolUse tools;
  bool drops_special_names = false;  // the text has special tokens, which belong into no answer

  std::string response_id;                  // "cmpl-…", "chatcmpl-…"
  std::vector<std::string> without_effect;  // fields that were accepted and ignored, for the log
};

}  // namespace switchyard::openai
