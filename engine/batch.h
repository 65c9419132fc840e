// One step's work, decided by rank 0 and handed to every rank. A value, immutable once built.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/expert_cache.h"
#include "kernels/sampling.h"
#include "parallel/exchange_strategy.h"

namespace switchyard {

// A run of consecutive tokens of one sequence.
struct BatchSequence {
  int32_t owner = 0;        // KV domain: the rank that holds the pages where sequences are divided, else 0
  int32_t token_begin = 0;  // in Batch::tokens
  int32_t num_tokens = 0;
  int32_t position = 0;    // of the first of these tokens in the sequence; what lies before is in the pages
  int32_t page_begin = 0;  // in Batch::pages: pages in order of position, enough for position + num_tokens
  int32_t num_pages = 0;
};

// A token whose next token is to be drawn or scored; rows appear in ascending order of `token`.
struct SampleRequest {
  int32_t token = 0;  // in Batch::tokens
  SamplingRow row;
  bool with_experts = false;  // asks for StepOutput::Sampled::experts
};
struct ScoreRequest {
  int32_t token = 0;
  ScoringRow row;
};

struct Batch {
  uint64_t step = 0;
  ExchangeStrategy exchange = ExchangeStrategy::kAllToAll;
  std::vector<int32_t> tokens;  // flat, sequence by sequence, sequences in ascending order of owner
  std::vector<BatchSequence> sequences;
  std::vector<int32_t> pages;
  std::vector<SampleRequest> samples;
  std::vector<ScoreRequest> scores;
};

// What one rank found out in a step.
struct StepOutput {
  struct Sampled {
    int32_t index = 0;  // in Batch::samples
    SampledToken token;
    std::vector<int16_t> experts;  // [layers * top_k], as the router ranked them in the row it was drawn from; if asked
  };
  struct Scored {
    int32_t index = 0;  // in Batch::scores
    ScoredToken token;
  };
  std::vector<Sampled> samples;
  std::vector<Scored> scores;
  std::vector<uint32_t> expert_tokens;  // [layers * experts]: tokens of this rank routed to each expert
  double dispatch_seconds = 0;          // over all layers
  double expert_seconds = 0;
  double combine_seconds = 0;
  uint64_t exchange_bytes = 0;  // payload that this rank sent to others in dispatch and combine
  ExpertCacheStats offload;     // of this step, all layers
};

}  // namespace switchyard
