// What to do with one row of logits: plain numbers, no requests.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace switchyard {

// How often a token occurred in a sequence; sent only for rows whose penalties are on.
struct TokenCount {
  int32_t id = 0;
  int32_t in_prompt = 0;
  int32_t in_output = 0;
};

struct LogitBias {
  int32_t id = 0;
  float bias = 0;  // added to the logit; -infinity forbids the token
};

// Bit id % 32 of word id / 32 says whether a token is allowed; none is beyond the end.
using TokenMask = std::vector<uint32_t>;

// Order of operations: mask, and then, as in vLLM and Hugging Face: bias, repetition penalty (prompt and output),
// presence and frequency penalties (output only), temperature, top-k, top-p, min-p, draw. Exactly top_k tokens are
// kept, the lowest ids among equals. Logits of +infinity count as NaN.
struct SamplingRow {
  float temperature = 1.0f;         // 0: the most likely token, lowest id first among equals
  int32_t top_k = 0;                // 0: all
  float top_p = 1.0f;               // (0, 1]
  float min_p = 0.0f;               // [0, 1]
  float repetition_penalty = 1.0f;  // > 0; 1: none
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  uint64_t seed = 0;
  uint64_t draw = 0;               // index of the drawn token in its sequence: (seed, draw) fixes the random number
  int32_t num_top_logprobs = -1;   // -1: no log-probability is needed; 0: the drawn token's; n: the n most likely too
  std::vector<TokenCount> counts;  // ascending ids
  std::vector<LogitBias> biases;
  std::shared_ptr<const TokenMask> allowed;  // null: every token; the others' logits become -infinity
};

// A log-probability of the model's own distribution: log-softmax of the raw logits, before mask, bias, penalties
// and temperature.
struct TokenLogProb {
  int32_t id = 0;
  float logprob = 0;
  bool operator==(const TokenLogProb&) const = default;
};

struct SampledToken {
  int32_t id = -1;                // -1: the row held NaN or no finite logit remained
  float logprob = 0;              // of `id`, if asked for
  std::vector<TokenLogProb> top;  // descending; lowest id first among equals
};

// Scores a known next token instead of drawing one.
struct ScoringRow {
  int32_t target = -1;           // -1: no known next token (the last position of a text); logprob is then 0
  int32_t num_top_logprobs = 0;  // the n most likely, the target among them if it is one
};

struct ScoredToken {
  float logprob = 0;  // of the target
  int32_t top1 = -1;  // most likely id, lowest first among equals; -1: the row held NaN
  std::vector<TokenLogProb> top;
};

}  // namespace switchyard
