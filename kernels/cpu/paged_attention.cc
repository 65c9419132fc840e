#include "kernels/cpu/paged_attention.h"

#include <algorithm>
#include <limits>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_tile.h"

namespace switchyard {
namespace {

// What was computed of one token's context, or of a part of it, for all its heads.
struct Outputs {
  float* rows;        // [num_heads, head_dim]
  SoftmaxSums* sums;  // [num_heads]
  int64_t head_dim;

  float* row(int64_t head) const { return rows + head * head_dim; }
};

constexpr int64_t kSumFloats = sizeof(SoftmaxSums) / sizeof(float);

int64_t OutputSize(const AttentionSpec& attention) { return attention.num_heads * (attention.head_dim + kSumFloats); }

Outputs OutputsAt(float* scratch, const AttentionSpec& attention) {
  float* sums = scratch + attention.num_heads * attention.head_dim;
  return {scratch, reinterpret_cast<SoftmaxSums*>(sums), attention.head_dim};
}

void Merge(const Outputs& part, int64_t head, const Outputs& out) {
  MergeAttention(part.row(head), part.sums[head], out.head_dim, out.row(head), out.sums[head]);
}

}  // namespace

// The arguments of Run.
struct PagedAttentionRunner::Step {
  const AttentionSpec& attention;
  const AttentionIndex& index;
  KvRows keys, values;
  const float* q;
  float* out;

  int64_t queries() const { return attention.num_heads / attention.num_kv_heads; }
  int64_t Row(int64_t token, int64_t head) const { return (token * attention.num_heads + head) * attention.head_dim; }
  int64_t Position(int64_t token) const { return index.positions.As<int32_t>()[token]; }
  int64_t Sequence(int64_t token) const { return index.token_sequence.As<int32_t>()[token]; }

  // Of the item's token and heads.
  void AttendPart(const AttentionItem& item, int64_t part, const Outputs& out, float* scratch) const {
    const int64_t token = item.first_token;
    const int64_t head = item.kv_head * queries();
    const int64_t first = AttentionItems::FirstSeen(attention, index, token);
    switchyard::AttendPart({.q = q + Row(token, head),
                            .out = out.row(head),
                            .sums = out.sums + head,
                            .queries = queries(),
                            .head_dim = attention.head_dim,
                            .scale = attention.scale,
                            .sequence = Sequence(token),
                            .kv_head = item.kv_head,
                            .kv_heads = item.kv_heads,
                            .first = std::max(first, part * kAttentionPartKeys),
                            .last = std::min(Position(token), (part + 1) * kAttentionPartKeys - 1)},
                           keys, values, scratch);
  }
};

int64_t PagedAttentionRunner::MaxScratch(const AttentionSpec& attention, int64_t max_context, int64_t num_threads) {
  const int64_t kv_heads = std::max<int64_t>(1, attention.num_kv_heads);
  const int64_t queries = attention.num_heads / kv_heads;
  const int64_t of_tile = AttentionTileScratch(std::max(kAttentionTileRows, queries), attention.head_dim);
  const int64_t of_token = AttentionScratch(kv_heads, queries) + 2 * OutputSize(attention);
  const int64_t slots = AttentionItems::MaxSlots(max_context, num_threads);
  return num_threads * std::max(of_tile, of_token) + slots * OutputSize(attention);
}

void PagedAttentionRunner::AttendTileItem(const Step& step, const AttentionItem& item, int worker) {
  const int64_t offset = step.Row(item.first_token, item.kv_head * step.queries());
  const int64_t head_dim = step.attention.head_dim;
  AttendTile({.q = step.q + offset,
              .out = step.out + offset,
              .token_stride = step.attention.num_heads * head_dim,
              .positions = step.index.positions.As<int32_t>().data() + item.first_token,
              .tokens = item.tile_tokens,
              .queries = step.queries(),
              .head_dim = head_dim,
              .scale = step.attention.scale,
              .window = step.attention.sliding_window.value_or(std::numeric_limits<int32_t>::max()),
              .sequence = step.Sequence(item.first_token),
              .kv_head = item.kv_head},
             step.keys, step.values,
             scratch_[worker].Get(AttentionTileScratch(item.tile_tokens * step.queries(), head_dim)));
}

void PagedAttentionRunner::AttendTokenItem(const Step& step, const AttentionItem& item, float* slots, int worker) {
  const int64_t size = OutputSize(step.attention);
  float* scratch = scratch_[worker].Get(AttentionScratch(item.kv_heads, step.queries()) + 2 * size);
  float* part_scratch = scratch + AttentionScratch(item.kv_heads, step.queries());
  if (slots != nullptr) {
    step.AttendPart(item, item.part_begin, OutputsAt(slots + item.slot * size, step.attention), scratch);
    return;
  }
  const Outputs part = OutputsAt(part_scratch, step.attention);
  Outputs out = OutputsAt(part_scratch + size, step.attention);
  out.rows = step.out + step.Row(item.first_token, 0);
  step.AttendPart(item, item.part_begin, out, scratch);
  const int64_t head_begin = item.kv_head * step.queries();
  const int64_t head_end = head_begin + item.kv_heads * step.queries();
  for (int64_t p = item.part_begin + 1; p < item.part_end; ++p) {
    step.AttendPart(item, p, part, scratch);
    for (int64_t head = head_begin; head < head_end; ++head) Merge(part, head, out);
  }
  for (int64_t head = head_begin; head < head_end; ++head) FinishAttention(out.sums[head], out.head_dim, out.row(head));
}

void PagedAttentionRunner::MergeParts(const Step& step, const SplitToken& split, int64_t head, float* slots) {
  const auto part = [&](int64_t i) {
    return OutputsAt(slots + (split.slot + i) * OutputSize(step.attention), step.attention);
  };
  const Outputs first = part(0);
  for (int64_t i = 1; i < split.parts; ++i) Merge(part(i), head, first);
  FinishAttention(first.sums[head], first.head_dim, first.row(head));
  std::copy_n(first.row(head), first.head_dim, step.out + step.Row(split.token, head));
}

void PagedAttentionRunner::Run(const AttentionSpec& attention, const AttentionIndex& index, ConstTensorView q,
                               const KvPages& pages, TensorView out) {
  const Step step = {.attention = attention,
                     .index = index,
                     .keys = KvRows(pages.k, pages.k_scales, index.page_table),
                     .values = KvRows(pages.v, pages.v_scales, index.page_table),
                     .q = q.As<float>().data(),
                     .out = out.As<float>().data()};
  const int64_t num_used = index.sequence_begin.As<int32_t>().back();  // padding rows come behind all sequences
  std::fill(out.As<float>().begin() + step.Row(num_used, 0), out.As<float>().end(), 0.0f);
  items_.Assign(attention, index, pool_.max_workers());
  float* slots = items_.num_slots() == 0 ? nullptr : slots_.Get(items_.num_slots() * OutputSize(attention));
  const auto count = static_cast<int64_t>(items_.items().size());
  // Contexts differ in length: small ranges, unless the contexts are so short that a token is next to nothing.
  const int64_t smallest = std::max<int64_t>(1, 4096 / (std::max<int64_t>(1, index.max_context) * attention.head_dim));
  pool_.ParallelForWorkers(count, smallest, [&](int worker, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const AttentionItem& item = items_.items()[i];
      if (item.tile_tokens > 0) {
        AttendTileItem(step, item, worker);
      } else {
        AttendTokenItem(step, item, slots, worker);
      }
    }
  });
  const auto num_split = static_cast<int64_t>(items_.split_tokens().size());
  const int64_t longest = index.max_context / kAttentionPartKeys * attention.head_dim;  // elements of one head's parts
  pool_.ParallelFor(
      num_split * attention.num_heads, 4096 / std::max<int64_t>(1, longest), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          MergeParts(step, items_.split_tokens()[i / attention.num_heads], i % attention.num_heads, slots);
        }
      });
}

}  // namespace switchyard
