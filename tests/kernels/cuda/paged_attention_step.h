// Steps of paged attention made of random numbers, for tests that compare with a plain loop in double precision.
// Everything that must not be read (rows of pages beyond the context, pages of nobody, queries of padding rows, the
// scratch at first, but for its counters) is NaN; unused page entries are -1.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/tensor.h"

namespace switchyard::cuda {

struct AttentionStepSequence {
  int64_t context = 0;  // positions in the pages, those of the step included
  int64_t tokens = 1;   // of the step; 0: a padding sequence
};

struct AttentionStep {
  DType dtype = DType::kBFloat16;
  std::optional<DType> kv_dtype = std::nullopt;  // kFloat8E4M3 or kInt8
  int64_t num_heads = 4;
  int64_t num_kv_heads = 2;
  int64_t head_dim = 64;
  int64_t page_size = 16;
  int64_t window = 0;
  std::vector<AttentionStepSequence> sequences = {};
  int64_t num_padding_rows = 0;
  int64_t spare_context = 0;  // of the host's bound over the largest context
  int num_multiprocessors = 1;
  float query_deviation = 1.0f;
  uint32_t seed = 1;
};

// Runs PagedAttention and checks every element of its output; stops at the first wrong head. Where keys are split it
// runs twice, and gives the same bits.
void ExpectCorrectAttention(const AttentionStep& step);

}  // namespace switchyard::cuda
