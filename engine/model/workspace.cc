#include "engine/model/workspace.h"

#include <utility>

namespace switchyard {

TensorView Workspace::RouterExperts(int64_t layer, int64_t num_tokens) {
  const TensorView all = router_experts.view();
  return all.Rows(layer, layer + 1).Reshape(Shape{all.dim(1), all.dim(2)}).Rows(0, num_tokens);
}

absl::StatusOr<Workspace> Workspace::Create(const WorkspaceShape& shape, const DecoderSpec& spec, Backend& backend) {
  Workspace workspace;
  const DType activation = backend.activation_dtype();
  const int64_t rows = shape.max_tokens;
  const int64_t query_width = shape.num_heads * spec.head_dim;
  const int64_t qkv_width = query_width + 2 * shape.num_kv_heads * spec.head_dim;
  const int64_t top_k = spec.experts_per_token;
  struct Item {
    Tensor* tensor;
    DType dtype;
    Shape shape;
  };
  const Item items[] = {
      {&workspace.residual, DType::kFloat32, {rows, spec.hidden_size}},
      {&workspace.normed, activation, {rows, spec.hidden_size}},
      {&workspace.gathered, activation, {shape.has_slices ? rows : 0, spec.hidden_size}},
      {&workspace.delta, activation, {rows, spec.hidden_size}},
      {&workspace.qkv, activation, {rows, qkv_width}},
      {&workspace.queries, activation, {rows, query_width}},
      {&workspace.attended, activation, {rows, query_width}},
      {&workspace.router_experts, DType::kInt32, {spec.num_layers, rows, top_k}},
      {&workspace.router_weights, DType::kFloat32, {rows, top_k}},
      {&workspace.expert_counts, DType::kInt32, {spec.num_layers, spec.num_experts}},
      {&workspace.output_index, DType::kInt32, {shape.max_output_rows}},
      {&workspace.output_hidden, activation, {shape.max_output_rows, spec.hidden_size}},
      {&workspace.logits, DType::kFloat32, {shape.max_output_rows, spec.vocab_size}},
  };
  for (const Item& item : items) {
    absl::StatusOr<Tensor> tensor = backend.AllocateTensor(item.dtype, item.shape);
    if (!tensor.ok()) return tensor.status();
    *item.tensor = *std::move(tensor);
  }
  return workspace;
}

}  // namespace switchyard
