#include "kernels/cpu/paged_attention.h"

#include <algorithm>
#include <limits>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_tile.h"

namespace switchyard {

void PagedAttentionRunner::Assign(const AttentionIndex& index, int64_t queries) {
  const std::span<const int32_t> begin = index.sequence_begin.As<int32_t>();
  const int64_t tile_tokens = std::max<int64_t>(1, kAttentionTileRows / queries);
  spans_.clear();
  for (size_t s = 0; s + 1 < begin.size(); ++s) {
    // A tile and a token by itself are summed in different orders. A sequence that brings several tokens has them in
    // tiles only, even where few rows are left for the last one, so that its numbers do not tell where it was cut.
    const bool in_tiles = begin[s + 1] - begin[s] > 1;
    for (int64_t token = begin[s]; token < begin[s + 1]; token += spans_.back().tokens) {
      spans_.push_back(
          {.first_token = token, .tokens = std::min(begin[s + 1] - token, tile_tokens), .is_tile = in_tiles});
    }
  }
}

void PagedAttentionRunner::Run(const AttentionSpec& attention, const AttentionIndex& index, ConstTensorView q,
                               const KvPages& pages, TensorView out) {
  const int64_t num_heads = attention.num_heads;
  const int64_t num_kv_heads = attention.num_kv_heads;
  const int64_t head_dim = attention.head_dim;
  const float scale = attention.scale;
  const std::optional<int64_t> sliding_window = attention.sliding_window;
  const KvRows keys(pages.k, pages.k_scales, index.page_table);
  const KvRows values(pages.v, pages.v_scales, index.page_table);
  const int64_t queries = num_heads / num_kv_heads;
  const int64_t window = sliding_window.value_or(std::numeric_limits<int32_t>::max());
  Assign(index, queries);
  const int64_t num_used = index.sequence_begin.As<int32_t>().back();  // padding rows come behind all sequences
  std::fill(out.As<float>().begin() + num_used * num_heads * head_dim, out.As<float>().end(), 0.0f);
  const int64_t count = static_cast<int64_t>(spans_.size()) * num_kv_heads;
  // Contexts differ in length: small ranges, unless the contexts are so short that a token is next to nothing.
  const int64_t smallest = std::max<int64_t>(1, 4096 / (std::max<int64_t>(1, index.max_context) * head_dim));
  pool_.ParallelForWorkers(count, smallest, [&](int worker, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      // The last tokens of a sequence see most: first, so that no thread is left with them at the end.
      const Span span = spans_[spans_.size() - 1 - i / num_kv_heads];
      const int64_t kv_head = i % num_kv_heads;
      const int64_t sequence = index.token_sequence.As<int32_t>()[span.first_token];
      const int32_t* positions = index.positions.As<int32_t>().data() + span.first_token;
      const int64_t offset = (span.first_token * num_heads + kv_head * queries) * head_dim;
      const float* token_q = q.As<float>().data() + offset;
      float* token_out = out.As<float>().data() + offset;
      if (!span.is_tile) {
        AttendOneToken({.q = token_q,
                        .out = token_out,
                        .queries = queries,
                        .head_dim = head_dim,
                        .scale = scale,
                        .sequence = sequence,
                        .kv_head = kv_head,
                        .first = std::max<int64_t>(0, *positions - window + 1),
                        .last = *positions},
                       keys, values);
        continue;
      }
      float* scratch = scratch_[worker].Get(AttentionTileScratch(span.tokens * queries, head_dim));
      AttendTile({.q = token_q,
                  .out = token_out,
                  .token_stride = num_heads * head_dim,
                  .positions = positions,
                  .tokens = span.tokens,
                  .queries = queries,
                  .head_dim = head_dim,
                  .scale = scale,
                  .window = window,
                  .sequence = sequence,
                  .kv_head = kv_head},
                 keys, values, scratch);
    }
  });
}

}  // namespace switchyard
