// Which rank holds which tokens of a step: pure functions of the batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/batch.h"
#include "engine/engine_config.h"
#include "parallel/exchange_strategy.h"

namespace switchyard {

enum class TokenLayout {
  kDivided,     // each rank its own sequences, in attention and in the MoE
  kSliced,      // every rank all tokens in attention (its heads), an equal slice of them elsewhere
  kReplicated,  // every rank all tokens everywhere
};

TokenLayout LayoutOf(AttentionParallelism attention, ExchangeStrategy exchange);

struct TokenRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};

struct StepLayout {
  TokenLayout layout = TokenLayout::kDivided;
  int64_t num_tokens = 0;  // of the whole batch
  TokenRange attention;    // tokens of this rank's attention
  TokenRange sequences;    // sequences of this rank's attention
  TokenRange residual;     // tokens whose residual stream this rank holds
  // Rows to compute for the two, padding behind the tokens included, and the most residual rows of all ranks.
  int64_t attention_rows = 0;
  int64_t residual_rows = 0;
  int64_t max_residual_rows = 0;
  std::vector<int32_t> samples;  // indices into Batch::samples that this rank draws
  std::vector<int32_t> scores;   // likewise Batch::scores
};

// `padded_tokens` > 0 is for steps of a fixed size: that many rows on every rank (kDivided), or in all, which must then
// divide among the ranks where they are sliced. 0: as many as there are tokens.
StepLayout MakeStepLayout(const Batch& batch, TokenLayout layout, int rank, int world_size, int64_t padded_tokens = 0);

}  // namespace switchyard
