#include "engine/checkpoint/loader.h"

#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/checkpoint/slice_reader.h"

namespace switchyard {
namespace {

absl::Status Annotate(const absl::Status& status, const TensorLocation& tensor) {
  return absl::Status(status.code(), absl::StrCat("memory for ", QuoteName(tensor.name), ": ", status.message()));
}

absl::Status Create(Backend& backend, const StackedSlices& stacked, std::unique_ptr<Matrix>& matrix) {
  absl::StatusOr<std::unique_ptr<Matrix>> created = backend.CreateMatrix(
      {.out_features = stacked.num_rows(), .in_features = stacked.num_columns(), .dtype = stacked.dtype});
  if (!created.ok()) return Annotate(created.status(), *stacked.slices.front().tensor);
  matrix = *std::move(created);
  return absl::OkStatus();
}

absl::Status Create(Backend& backend, const TensorSlice& slice, Tensor& tensor) {
  absl::StatusOr<Tensor> created = backend.AllocateTensor(DType::kFloat32, Shape{slice.num_rows()});
  if (!created.ok()) return Annotate(created.status(), *slice.tensor);
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
  absl::StatusOr<std::unique_ptr<ExpertWeights>> experts =
      backend.CreateExperts({.num_experts = static_cast<int64_t>(plan.experts.size()),
                             .hidden_size = spec.hidden_size,
                             .intermediate_size = spec.expert_intermediate_size,
                             .dtype = plan.experts_dtype});
  if (!experts.ok()) {
    return absl::Status(experts.status().code(),
                        absl::StrCat("memory for ", plan.experts.size(), " experts: ", experts.status().message()));
  }
  layer.experts = *std::move(experts);
  return absl::OkStatus();
}

absl::StatusOr<ModelWeights> CreateAll(Backend& backend, const DecoderSpec& spec, const LoadPlan& plan) {
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

// Reads a norm and hands it to the device.
absl::Status Fill(Backend& backend, SliceReader& reader, const TensorSlice& slice, Tensor& tensor) {
  std::vector<float> values(static_cast<size_t>(slice.num_rows()));
  absl::Status status = reader.ReadVector(slice, values);
  if (!status.ok()) return status;
  return backend.CopyFromHost(ConstTensorView::Of(std::span<const float>(values)), tensor.view());
}

absl::Status Fill(Backend& backend, SliceReader& reader, const LayerPlan& plan, LayerWeights& layer) {
  absl::Status status = Fill(backend, reader, plan.input_norm, layer.input_norm);
  if (status.ok()) status = reader.Fill(plan.qkv, *layer.qkv);
  if (status.ok()) status = reader.Fill(plan.attention_output, *layer.attention_output);
  if (status.ok()) status = Fill(backend, reader, plan.post_attention_norm, layer.post_attention_norm);
  if (status.ok()) status = reader.Fill(plan.router, *layer.router);
  for (size_t i = 0; i < plan.experts.size() && status.ok(); ++i) {
    status = reader.Fill(plan.experts[i].gate_up, layer.experts->gate_up(static_cast<int64_t>(i)));
    if (status.ok()) status = reader.Fill(plan.experts[i].down, layer.experts->down(static_cast<int64_t>(i)));
  }
  return status;
}

}  // namespace

absl::StatusOr<ModelWeights> LoadWeights(const DecoderSpec& spec, const LoadPlan& plan,
                                         std::span<const std::unique_ptr<RandomAccessFile>> files, Backend& backend,
                                         const LoadProgressCallback& progress) {
  absl::StatusOr<ModelWeights> weights = CreateAll(backend, spec, plan);
  if (!weights.ok()) return weights.status();
  SliceReader reader(files, plan.bytes_read, progress);
  absl::Status status = reader.Fill(plan.embedding, *weights->embedding);
  for (size_t i = 0; i < plan.layers.size() && status.ok(); ++i) {
    status = Fill(backend, reader, plan.layers[i], weights->layers[i]);
  }
  if (status.ok()) status = Fill(backend, reader, plan.final_norm, weights->final_norm);
  if (status.ok() && plan.lm_head) status = reader.Fill(*plan.lm_head, *weights->lm_head);
  if (status.ok()) status = backend.Synchronize();
  if (!status.ok()) return status;
  return weights;
}

}  // namespace switchyard
