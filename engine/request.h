// What a front end asks of the engine, and what it gets back. Values only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/constraint/token_rules.h"
#include "kernels/sampling.h"

namespace switchyard {

struct SamplingParams {
  float temperature = 1.0f;             // [0, 2]; 0: greedy
  int32_t top_k = 0;                    // 0: off
  float top_p = 1.0f;                   // (0, 1]
  float min_p = 0.0f;                   // [0, 1]
  float presence_penalty = 0.0f;        // [-2, 2]
  float frequency_penalty = 0.0f;       // [-2, 2]
  float repetition_penalty = 1.0f;      // (0, 10]
  std::map<int32_t, float> logit_bias;  // token id -> [-100, 100]
  std::optional<uint64_t> seed;         // absent: drawn by the engine
};

struct StopParams {
  int32_t max_tokens = 16;  // >= 0; 0 only together with prompt log-probabilities
  int32_t min_tokens = 0;   // end-of-sequence and stop ids are forbidden before that many
  std::vector<std::string> strings;
  std::vector<int32_t> token_ids;
  bool ignore_eos = false;
  bool include_stop_string = false;
};

struct GenerationRequest {
  std::string id;               // unique among requests in flight
  std::vector<int32_t> prompt;  // not empty
  int32_t priority = 0;         // lower runs first; among equals the earlier arrival
  // When it ends unfinished, with DEADLINE_EXCEEDED.
  absl::Time deadline = absl::InfiniteFuture();
  // Only requests of the same salt share what was computed of a common beginning (docs/PREFIX_CACHE.md).
  std::string cache_salt;
  SamplingParams sampling;
  StopParams stop;
  TokenRules rules;                  // which tokens may be generated at all
  int32_t num_logprobs = -1;         // per generated token: -1 none, 0 the token's own, n the n most likely too
  int32_t num_prompt_logprobs = -1;  // likewise for the prompt
  bool return_experts = false;       // GeneratedToken::experts
  bool skip_special_tokens = true;
  bool detokenize = true;  // false: no text, and no stop strings
  // Whether the text goes on from the prompt's. False: it is a text of its own, as the answer in a chat is, and the
  // space that would join it to the prompt is left out.
  bool text_continues_prompt = true;
};

// One generated token. `text` is what could be sent once it was known; see Detokenizer.
struct GeneratedToken {
  int32_t id = 0;
  float logprob = 0;
  std::vector<TokenLogProb> top;
  // [layers * experts per token]: whom the routers chose in the row that the token was drawn from; if asked for.
  std::vector<int16_t> experts;
};

// The log-probability of prompt[i + 1] after prompt[0..i].
struct PromptLogProb {
  float logprob = 0;
  int32_t top1 = 0;
  std::vector<TokenLogProb> top;
};

enum class FinishReason { kStop, kLength, kAborted, kError };
const char* Name(FinishReason reason);  // "stop", "length", "abort", "error"

struct Usage {
  int32_t prompt_tokens = 0;
  int32_t completion_tokens = 0;
  int32_t cached_tokens = 0;  // of the prompt: not computed again
};

struct RequestTimings {
  absl::Duration queue;    // submitted -> first scheduled
  absl::Duration prefill;  // first scheduled -> first token
  absl::Duration decode;   // first token -> last token
};

// What happened to a request in one step.
struct RequestUpdate {
  std::vector<GeneratedToken> tokens;
  std::string text;  // belongs after all text sent so far; complete UTF-8 characters
  // Once, before the first token, if asked for: [prompt - 1] entries, and the most likely id after the whole prompt.
  std::optional<std::vector<PromptLogProb>> prompt_logprobs;
  int32_t prompt_top1 = -1;

  std::optional<FinishReason> finish;  // set on the last update, with what follows
  std::string matched_stop;            // the stop string, if one ended the text
  int32_t matched_stop_id = -1;        // the end-of-sequence or stop id, if one did
  absl::Status status;                 // why, when finish is kError or kAborted
  Usage usage;                         // kept current in every update
  RequestTimings timings;
};

// Called from the engine's thread, in order, never after the update with `finish`. Must not block and must not call the
// engine, except Abort.
using UpdateCallback = std::function<void(RequestUpdate)>;

}  // namespace switchyard
