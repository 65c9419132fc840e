#include "engine/model/attention_layer.h"

namespace switchyard {

absl::StatusOr<TensorView> RunAttentionLayer(const RankContext& rank, const LayerWeights& weights,
                                             const StepLayout& layout, const AttentionIndex& index,
                                             const KvPages& pages, Workspace& workspace) {
  const bool sliced = layout.layout == TokenLayout::kSliced;
  const int64_t slice_rows = layout.max_residual_rows;
  const int64_t padded_rows = slice_rows * rank.communicator.size();
  const int64_t tokens = layout.attention_rows;

  TensorView input = workspace.normed.Top(tokens);
  if (sliced) {
    absl::Status status =
        rank.communicator.AllGather(workspace.normed.Top(slice_rows), workspace.gathered.Top(padded_rows));
    if (!status.ok()) return status;
    input = workspace.gathered.Top(tokens);
  }

  const TensorView qkv = workspace.qkv.Top(tokens);
  rank.backend.Linear(input, *weights.qkv, qkv);
  const AttentionSpec& attention = rank.attention;
  const Shape heads = {tokens, attention.num_heads, attention.head_dim};
  const TensorView queries = workspace.queries.Top(tokens).Reshape(heads);
  const TensorView attended = workspace.attended.Top(tokens);
  const RopeSpec rope = {.inv_freq = rank.spec.rope_inv_freq, .attention_factor = rank.spec.rope_attention_factor};
  rank.backend.RopeAppendKv(attention, rope, index, qkv, queries, pages);
  rank.backend.PagedAttention(attention, index, queries, pages, attended.Reshape(heads));

  if (!sliced) {
    const TensorView delta = workspace.delta.Top(tokens);
    rank.backend.Linear(attended, *weights.attention_output, delta);
    if (rank.heads_are_split) {
      absl::Status status = rank.communicator.AllReduceSum(delta);
      if (!status.ok()) return status;
    }
    return delta;
  }
  rank.backend.Linear(attended, *weights.attention_output, workspace.gathered.Top(tokens));
  absl::Status status =
      rank.communicator.ReduceScatterSum(workspace.gathered.Top(padded_rows), workspace.delta.Top(slice_rows));
  if (!status.ok()) return status;
  return workspace.delta.Top(layout.residual_rows);
}

}  // namespace switchyard
