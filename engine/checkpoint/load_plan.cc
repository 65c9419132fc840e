#include "engine/checkpoint/load_plan.h"

#include <algorithm>
#include <utility>

namespace switchyard {
namespace {

TensorSlice Rows(const TensorLocation& tensor, int64_t row_begin, int64_t row_end) {
  return {
      .tensor = &tensor, .row_begin = row_begin, .row_end = row_end, .column_begin = 0, .column_end = tensor.columns()};
}

TensorSlice Whole(const TensorLocation& tensor) { return Rows(tensor, 0, tensor.rows()); }

StackedSlices Stack(std::vector<TensorSlice> slices) {
  StackedSlices stacked{.slices = std::move(slices)};
  stacked.dtype = stacked.slices.front().tensor->dtype;
  for (const TensorSlice& slice : stacked.slices) {
    CHECK_EQ(slice.num_columns(), stacked.num_columns());
    if (slice.tensor->dtype != stacked.dtype) stacked.dtype = DType::kFloat32;
  }
  return stacked;
}

// All experts of a rank's layer share one element type.
DType CommonDType(const std::vector<ExpertPlan>& experts) {
  if (experts.empty()) return DType::kBFloat16;
  const DType first = experts.front().gate_up.dtype;
  const bool same = std::all_of(experts.begin(), experts.end(), [first](const ExpertPlan& expert) {
    return expert.gate_up.dtype == first && expert.down.dtype == first;
  });
  return same ? first : DType::kFloat32;
}

LayerPlan PlanLayer(const DecoderSpec& spec, const WeightMap& weights, const WeightShard& shard, int64_t layer) {
  const auto find = [&](WeightRole role) -> const TensorLocation& { return weights.Find(role, layer); };
  const int64_t q_begin = shard.head_begin * spec.head_dim;
  const int64_t q_end = shard.head_end * spec.head_dim;
  const int64_t kv_begin = shard.kv_head_begin * spec.head_dim;
  const int64_t kv_end = shard.kv_head_end * spec.head_dim;

  LayerPlan plan;
  plan.input_norm = Whole(find(WeightRole::kInputNorm));
  plan.qkv = Stack({Rows(find(WeightRole::kQuery), q_begin, q_end), Rows(find(WeightRole::kKey), kv_begin, kv_end),
                    Rows(find(WeightRole::kValue), kv_begin, kv_end)});
  TensorSlice attention_output = Whole(find(WeightRole::kAttentionOutput));
  attention_output.column_begin = q_begin;
  attention_output.column_end = q_end;
  plan.attention_output = Stack({attention_output});
  plan.post_attention_norm = Whole(find(WeightRole::kPostAttentionNorm));
  plan.router = Stack({Whole(find(WeightRole::kRouter))});
  for (const int expert : shard.experts) {
    plan.experts.push_back({.gate_up = Stack({Whole(weights.Find(WeightRole::kExpertGate, layer, expert)),
                                              Whole(weights.Find(WeightRole::kExpertUp, layer, expert))}),
                            .down = Stack({Whole(weights.Find(WeightRole::kExpertDown, layer, expert))})});
  }
  plan.experts_dtype = CommonDType(plan.experts);
  for (ExpertPlan& expert : plan.experts) expert.gate_up.dtype = expert.down.dtype = plan.experts_dtype;
  return plan;
}

int64_t BytesRead(const StackedSlices& stacked) {
  int64_t bytes = 0;
  for (const TensorSlice& slice : stacked.slices) bytes += slice.bytes_read();
  return bytes;
}

int64_t BytesRead(const LayerPlan& layer) {
  int64_t bytes = layer.input_norm.bytes_read() + BytesRead(layer.qkv) + BytesRead(layer.attention_output) +
                  layer.post_attention_norm.bytes_read() + BytesRead(layer.router);
  for (const ExpertPlan& expert : layer.experts) bytes += BytesRead(expert.gate_up) + BytesRead(expert.down);
  return bytes;
}

void CheckShard(const DecoderSpec& spec, const WeightShard& shard) {
  CHECK(0 <= shard.head_begin && shard.head_begin < shard.head_end && shard.head_end <= spec.num_heads);
  CHECK(0 <= shard.kv_head_begin && shard.kv_head_begin < shard.kv_head_end && shard.kv_head_end <= spec.num_kv_heads);
  for (const int expert : shard.experts) CHECK(expert >= 0 && expert < spec.num_experts);
}

}  // namespace

int64_t StackedSlices::num_rows() const {
  int64_t rows = 0;
  for (const TensorSlice& slice : slices) rows += slice.num_rows();
  return rows;
}

LoadPlan MakeLoadPlan(const DecoderSpec& spec, const WeightMap& weights, const WeightShard& shard) {
  CheckShard(spec, shard);
  LoadPlan plan;
  plan.embedding = Stack({Whole(weights.Find(WeightRole::kEmbedding))});
  plan.final_norm = Whole(weights.Find(WeightRole::kFinalNorm));
  if (!spec.tie_word_embeddings) plan.lm_head = Stack({Whole(weights.Find(WeightRole::kLmHead))});
  plan.bytes_read =
      BytesRead(plan.embedding) + plan.final_norm.bytes_read() + (plan.lm_head ? BytesRead(*plan.lm_head) : 0);
  for (int64_t layer = 0; layer < spec.num_layers; ++layer) {
    plan.layers.push_back(PlanLayer(spec, weights, shard, layer));
    plan.bytes_read += BytesRead(plan.layers.back());
  }
  return plan;
}

}  // namespace switchyard
