#include "engine/checkpoint/planned_weights.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/safetensors.h"

namespace switchyard {
namespace {

constexpr absl::string_view kMemory = "memory";

absl::Status Create(Backend& backend, const StackedSlices& stacked, std::unique_ptr<Matrix>& matrix) {
  absl::StatusOr<std::unique_ptr<Matrix>> created = backend.CreateMatrix({.out_features = stacked.num_rows(),
                                                                          .in_features = stacked.num_columns(),
                                                                          .dtype = stacked.dtype,
                                                                          .quantization = stacked.quantization});
  if (!created.ok()) return Annotate(kMemory, *stacked.slices.front().tensor, created.status());
  matrix = *std::move(created);
  return absl::OkStatus();
}

absl::Status Create(Backend& backend, const TensorSlice& slice, Tensor& tensor) {
  absl::StatusOr<Tensor> created = backend.AllocateTensor(DType::kFloat32, Shape{slice.num_rows()});
  if (!created.ok()) return Annotate(kMemory, *slice.tensor, created.status());
  tensor = *std::move(created);
  return absl::OkStatus();
}

absl::Status Create(Backend& backend, const DecoderSpec& spec, const LayerPlan& plan, LayerWeights& layer) {
  absl::Status status = Create(backend, plan.input_norm, layer.input_norm);
  if (status.ok()) status = Create(backend, plan.qkv, layer.qkv);
  if (status.ok()) status = Create(backend, plan.attention_output, layer.attention_output);
  if (status.ok()) status = Create(backend, plan.post_attention_norm, layer.post_attention_norm);
  if (status.ok()) status = Create(backend, plan.router, layer.router);
  if (!status.ok()) return status;
  const bool has_experts = !plan.experts.empty();
  absl::StatusOr<std::unique_ptr<ExpertWeights>> experts =
      backend.CreateExperts({.num_experts = static_cast<int64_t>(plan.experts.size()),
                             .hidden_size = spec.hidden_size,
                             .intermediate_size = spec.expert_intermediate_size,
                             .dtype = plan.experts_dtype,
                             .gate_up = has_experts ? plan.experts.front().gate_up.quantization : Quantization{},
                             .down = has_experts ? plan.experts.front().down.quantization : Quantization{}});
  if (!experts.ok()) {
    return absl::Status(experts.status().code(),
                        absl::StrCat("memory for ", plan.experts.size(), " experts: ", experts.status().message()));
  }
  layer.experts = *std::move(experts);
  return absl::OkStatus();
}

void CheckMatches(const PlannedMatrix& planned) {
  const MatrixSpec& spec = planned.weight->spec();
  CHECK_EQ(spec.out_features, planned.source->num_rows());
  CHECK_EQ(spec.in_features, planned.source->num_columns());
  CHECK(spec.dtype == planned.source->dtype);
  CHECK(spec.quantization == planned.source->quantization);
}

}  // namespace

absl::StatusOr<ModelWeights> CreatePlannedWeights(const DecoderSpec& spec, const LoadPlan& plan, Backend& backend) {
  ModelWeights weights;
  std::unique_ptr<Matrix> matrix;
  absl::Status status = Create(backend, plan.embedding, matrix);
  if (!status.ok()) return status;
  weights.embedding = weights.lm_head = std::move(matrix);
  if (plan.lm_head) {
    status = Create(backend, *plan.lm_head, matrix);
    if (!status.ok()) return status;
    weights.lm_head = std::move(matrix);
  }
  status = Create(backend, plan.final_norm, weights.final_norm);
  weights.layers.resize(plan.layers.size());
  for (size_t i = 0; i < plan.layers.size() && status.ok(); ++i) {
    status = Create(backend, spec, plan.layers[i], weights.layers[i]);
  }
  if (!status.ok()) return status;
  return weights;
}

PlannedWeights PairWithPlan(const LoadPlan& plan, ModelWeights& weights) {
  CHECK_EQ(plan.layers.size(), weights.layers.size());
  PlannedWeights planned;
  planned.matrices.push_back({&plan.embedding, weights.embedding.get()});
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    const LayerPlan& source = plan.layers[i];
    LayerWeights& layer = weights.layers[i];
    planned.norms.push_back({&source.input_norm, &layer.input_norm});
    planned.matrices.push_back({&source.qkv, layer.qkv.get()});
    planned.matrices.push_back({&source.attention_output, layer.attention_output.get()});
    planned.norms.push_back({&source.post_attention_norm, &layer.post_attention_norm});
    planned.matrices.push_back({&source.router, layer.router.get()});
    for (size_t slot = 0; slot < source.experts.size(); ++slot) {
      const auto expert = static_cast<int64_t>(slot);
      planned.matrices.push_back({&source.experts[slot].gate_up, &layer.experts->gate_up(expert)});
      planned.matrices.push_back({&source.experts[slot].down, &layer.experts->down(expert)});
    }
  }
  planned.norms.push_back({&plan.final_norm, &weights.final_norm});
  if (plan.lm_head) planned.matrices.push_back({&*plan.lm_head, weights.lm_head.get()});
  for (const PlannedMatrix& matrix : planned.matrices) CheckMatches(matrix);
  return planned;
}

absl::Status Annotate(absl::string_view what, const TensorLocation& tensor, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(what, " for ", QuoteName(tensor.name), ": ", status.message()));
}

}  // namespace switchyard
