// What the host packs for the sampling kernels, what they keep between launches, and what they answer: plain structs,
// the same on both sides. See sampling_phases.h for the launches.
//
// params:   RowParams[rows]; then, for each row with adjustments, int32 chunk_begin[chunks + 1] and its Adjustments,
// and
//           for each row with a mask, a bit for every token
// results:  RowResult[rows]; then TokenLogProb[sum of num_top]
// scratch:  RowScratch[rows of a group]; then ChunkStats[rows of a group, chunks]
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/sampling.h"

namespace switchyard::cuda {

// A row is divided into chunks of this many tokens, one block each.
constexpr int kChunkTokens = 4096;
constexpr int64_t NumChunks(int64_t vocab_size) { return (vocab_size + kChunkTokens - 1) / kChunkTokens; }
// Sums of masses (fixed point, see token_key.cuh) stay below 2^64, and one chunk has one thread in a block's scan.
constexpr int64_t kMaxSampledVocab = (int64_t{1} << 19) - 1;
// Of num_top_logprobs; engine/request_validation.h allows 128.
constexpr int32_t kMaxTop = 1024;
// Rows handled by one sequence of launches; more rows are handled group by group in the same scratch.
constexpr int64_t kRowGroup = 256;

// What a row needs; bits of RowParams::phases.
enum Phase : uint32_t {
  kLogProbs = 1u << 0,   // log-sum-exp of the raw logits
  kTopLogits = 1u << 1,  // the num_top largest raw logits
  kAdjusts = 1u << 2,    // has Adjustments
  kDraws = 1u << 3,      // otherwise the most likely token is the answer
  kTopK = 1u << 4,       // only with kDraws, like the next
  kTopP = 1u << 5,
  kMasks = 1u << 6,  // not every token is allowed
};

// RowParams::logprob_of beside token ids.
constexpr int32_t kNoToken = -1;
constexpr int32_t kChosenToken = -2;

struct RowParams {
  uint64_t seed = 0;
  uint64_t draw = 0;
  uint32_t phases = 0;
  float temperature = 0;
  int32_t top_k = 0;
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;
  int32_t logprob_of = kNoToken;
  int32_t num_top = 0;             // at most the vocabulary and kMaxTop
  uint32_t top_begin = 0;          // of this row's entries in the results
  uint32_t chunk_begin_bytes = 0;  // where chunk_begin lies in params: Adjustments [chunk_begin[c], chunk_begin[c + 1])
  uint32_t adjustments_bytes = 0;  // belong to chunk c of the row, counted from where the row's Adjustments lie
  uint32_t mask_bytes = 0;         // where uint32 words [ceil(vocab / 32)] lie in params, if the row has a mask
};

// One change of one logit: the repetition penalty, if the flag says so, then the addition. Ascending ids; several for
// one id are applied one after the other.
struct Adjustment {
  static constexpr uint32_t kRepetition = 1u << 31;
  uint32_t id_and_flag = 0;
  float add = 0;
};

struct RowResult {
  int32_t id = -1;
  float logprob = 0;
};

// Device state between the launches -----------------------------------------------------------------------------------

// Radix selection looks at the 32-bit keys of tokens by digits of 11, 11 and 10 bits.
constexpr int kDigits = 3;
constexpr int kDigitBins = 2048;

struct SelectState {
  uint64_t remaining;  // how much of the tokens that share `prefix` is still wanted: a count, or a mass
  uint32_t prefix;     // the digits found so far, in place
  uint32_t padding;
};

// The kept tokens: those with a larger key, and the first `equals` tokens, in order of id, of those with this key.
struct Cut {
  uint32_t key;
  uint32_t equals;
};

struct RowScratch {
  uint32_t histogram[kDigits][2][kDigitBins];  // a ring: see CountDigits
  SelectState states[kDigits];                 // [pass]: before that pass; [0] is not used
  Cut top_cut;                                 // of the raw logits, for the num_top largest
  Cut cut;                                     // of the weights, for the draw
  TokenLogProb top[kMaxTop];  // the num_top largest, in no order, with raw logits in place of log-probabilities
};

struct ChunkStats {
  uint64_t best;        // PackedBest of the adjusted logits
  double raw_sum;       // sum of exp(raw logit - raw_max)
  uint64_t mass_above;  // of tokens with keys above the cut
  uint32_t num_above;
  uint32_t num_equal;  // tokens whose key is the cut's
  float raw_max;
  uint32_t padding;
};

}  // namespace switchyard::cuda
