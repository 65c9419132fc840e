// The two forms of PagedAttention, and into how many parts the decode form splits the keys of a sequence.
#pragma once

#include <cstdint>

#include "kernels/cuda/paged_attention.h"
#include "kernels/cuda/stream.h"

namespace switchyard::cuda {

// Sequences with one token in the step; others are left alone. Padding rows too, if the step has no prefill form.
void PagedAttentionDecode(const PagedAttentionArgs& args, Stream stream);
// Sequences with more than one token, and padding rows.
void PagedAttentionPrefill(const PagedAttentionArgs& args, Stream stream);

inline bool NeedsDecodeForm(const PagedAttentionArgs& args) {
  return args.min_query_tokens <= 1 || args.max_query_tokens <= 1;
}
inline bool NeedsPrefillForm(const PagedAttentionArgs& args) { return args.max_query_tokens > 1; }

// Heads of one group that a block of the decode form serves: the rows of one mma tile.
inline constexpr int64_t kDecodeHeads = 16;

// Parts into which the decode form splits the visible keys of every sequence, at least 1. Depends on sizes that the
// host knows alone, so that a recorded launch fits later steps; how many of the parts hold keys follows on the device.
// With one part no scratch is used.
int64_t NumDecodeSplits(const PagedAttentionArgs& args);

// Parts times heads of a block, up to which the block of the last part adds them up: some 256 KB of 128 dimensions.
inline constexpr int64_t kMaxRowsOfBlock = 512;
// Whether it does. `parts` of the device, or the most there can be; `heads` as many as the block serves.
constexpr bool CombinesInBlock(int64_t parts, int64_t heads) { return parts * heads <= kMaxRowsOfBlock; }

// Steps of more sequences have one part each.
inline constexpr int64_t kMaxSplitSequences = 256;
// Counters at the beginning of the scratch, one for each block of heads of each sequence. As many for every step, so
// that all find them, and the partial results, in the same places.
constexpr int64_t MaxDecodeArrivals(int64_t num_heads) { return kMaxSplitSequences * num_heads; }

}  // namespace switchyard::cuda
