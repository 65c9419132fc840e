// How many partial results the decode form leaves in memory. No CUDA here: plans are made on hosts without it.
#include <algorithm>

#include "kernels/cuda/paged_attention_forms.h"

namespace switchyard::cuda {
namespace {

// Enough to fill the largest cards from one sequence with one kv head (188 multiprocessors, three blocks each, almost);
// the partial results of 32 heads of 128 are then 8.5 MB.
constexpr int64_t kMaxPartsOfAllSequences = 512;
constexpr int64_t kMaxParts = 256;
static_assert(kMaxPartsOfAllSequences / (kMaxSplitSequences + 1) == 1);
// Blocks resident on a multiprocessor with the decode form's shared memory, where there are 228 KB of it.
constexpr int64_t kBlocksPerMultiprocessor = 3;
// Shorter parts spend more on queries and on the combination than on keys.
constexpr int64_t kMinKeysPerPart = 64;

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t MaxParts(int64_t num_sequences) {
  return std::clamp<int64_t>(kMaxPartsOfAllSequences / num_sequences, 1, kMaxParts);
}

}  // namespace

int64_t NumDecodeSplits(const PagedAttentionArgs& args) {
  const int64_t head_blocks = args.num_kv_heads * CeilDiv(args.num_heads / args.num_kv_heads, kDecodeHeads);
  const int64_t blocks = std::max<int64_t>(1, args.num_sequences) * head_blocks;
  int64_t visible_keys = std::max<int64_t>(1, args.max_context);
  if (args.sliding_window > 0) visible_keys = std::min(visible_keys, args.sliding_window);
  // Rounded down: blocks beyond what the card holds at once would run when all others have ended.
  const int64_t wanted =
      std::max<int64_t>(1, kBlocksPerMultiprocessor * std::max(1, args.num_multiprocessors) / blocks);
  const int64_t parts = std::min(wanted, CeilDiv(visible_keys, kMinKeysPerPart));
  return std::min(parts, MaxParts(std::max<int64_t>(1, args.num_sequences)));
}

size_t PagedAttentionScratchBytes(int64_t max_sequences, int64_t num_heads, int64_t head_dim) {
  const int64_t parts = std::min(max_sequences * kMaxParts, kMaxPartsOfAllSequences);
  const int64_t floats = head_dim + 2;  // the weighted sum of values; the maximum, and the sum of weights
  return static_cast<size_t>(MaxDecodeArrivals(num_heads)) * sizeof(int32_t) +
         static_cast<size_t>(parts * num_heads * floats) * sizeof(float);
}

}  // namespace switchyard::cuda
