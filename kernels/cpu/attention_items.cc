#include "kernels/cpu/attention_items.h"

#include <algorithm>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_tile.h"

namespace switchyard {
namespace {

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

int64_t AttentionItems::FirstSeen(const AttentionSpec& attention, const AttentionIndex& index, int64_t token) {
  if (!attention.sliding_window.has_value()) return 0;
  return std::max<int64_t>(0, index.positions.As<int32_t>()[token] - *attention.sliding_window + 1);
}

int64_t AttentionItems::MaxSlots(int64_t max_context, int64_t num_threads) {
  return kPerThread * num_threads * (max_context / kAttentionPartKeys + 2);  // a window may begin within a part
}

void AttentionItems::Assign(const AttentionSpec& attention, const AttentionIndex& index, int64_t num_threads) {
  const std::span<const int32_t> begin = index.sequence_begin.As<int32_t>();
  const int64_t kv_heads = attention.num_kv_heads;
  const int64_t tile_tokens = std::max<int64_t>(1, kAttentionTileRows / (attention.num_heads / kv_heads));
  const auto first_part = [&](int64_t token) { return FirstSeen(attention, index, token) / kAttentionPartKeys; };
  const auto end_part = [&](int64_t token) { return index.positions.As<int32_t>()[token] / kAttentionPartKeys + 1; };
  int64_t singles = 0;
  int64_t parts = 0;
  for (size_t s = 0; s + 1 < begin.size(); ++s) {
    if (begin[s + 1] - begin[s] != 1) continue;
    ++singles;
    parts += end_part(begin[s]) - first_part(begin[s]);
  }
  const int64_t wanted = kPerThread * num_threads;
  const bool splits = singles < wanted && parts > singles;
  const int64_t runs = std::max<int64_t>(1, splits ? parts : singles);
  const int64_t head_groups = std::min(kv_heads, CeilDivide(wanted, runs));
  items_.clear();
  split_tokens_.clear();
  num_slots_ = 0;
  // A token's parts [part_begin, part_end) in one item for each group of heads.
  const auto add_token = [&](AttentionItem item) {
    for (int64_t group = 0; group < head_groups; ++group) {
      item.kv_head = group * kv_heads / head_groups;
      item.kv_heads = (group + 1) * kv_heads / head_groups - item.kv_head;
      items_.push_back(item);
    }
  };
  // The last tokens of a sequence see most: first, so that no thread is left with them at the end.
  for (size_t s = begin.size() - 1; s-- > 0;) {
    const int64_t first = begin[s];
    const int64_t tokens = begin[s + 1] - first;
    // A tile and a token by itself are summed in different orders. A sequence that brings several tokens has them in
    // tiles only, even where few rows are left for the last one, so that its numbers do not tell where it was cut.
    if (tokens > 1) {
      for (int64_t tile = CeilDivide(tokens, tile_tokens) - 1; tile >= 0; --tile) {
        const int64_t offset = tile * tile_tokens;
        for (int64_t head = 0; head < kv_heads; ++head) {
          items_.push_back(
              {.first_token = first + offset, .tile_tokens = std::min(tokens - offset, tile_tokens), .kv_head = head});
        }
      }
    } else if (tokens == 1 && splits) {
      split_tokens_.push_back({.token = first, .slot = num_slots_, .parts = end_part(first) - first_part(first)});
      for (int64_t part = first_part(first); part < end_part(first); ++part) {
        add_token({.first_token = first, .part_begin = part, .part_end = part + 1, .slot = num_slots_++});
      }
    } else if (tokens == 1) {
      add_token({.first_token = first, .part_begin = first_part(first), .part_end = end_part(first)});
    }
  }
}

}  // namespace switchyard
