#include "kernels/cuda/memory_layout.h"

#include "kernels/check.h"
#include "kernels/cuda/experts.h"
#include "kernels/cuda/paged_attention.h"
#include "kernels/cuda/quantized_matrix.h"
#include "kernels/cuda/sampling.h"

namespace switchyard::cuda {

namespace {

// From one matrix of several to the next.
size_t MatrixStride(const MatrixSpec& spec, DType stored) {
  if (spec.quantization.is_dense()) return MatrixBytes(spec, stored);
  return MakeQuantizedLayout(spec.quantization, spec.out_features, spec.in_features).bytes;
}

size_t ExpertMatricesBytes(const MatrixSpec& spec, int64_t num_experts, DType stored) {
  if (spec.quantization.is_dense()) return static_cast<size_t>(num_experts) * MatrixBytes(spec, stored);
  return QuantizedBytes(spec.quantization, spec.out_features, spec.in_features, num_experts);
}

}  // namespace

size_t MatrixBytes(const MatrixSpec& spec, DType stored) {
  if (!spec.quantization.is_dense()) {
    return QuantizedBytes(spec.quantization, spec.out_features, spec.in_features, 1);
  }
  return static_cast<size_t>(spec.out_features) * static_cast<size_t>(spec.in_features) * SizeOf(stored);
}

ExpertLayout MakeExpertLayout(const ExpertWeightsSpec& spec, DType stored) {
  return {.gate_up_bytes = ExpertMatricesBytes(spec.gate_up_spec(), spec.num_experts, stored),
          .down_bytes = ExpertMatricesBytes(spec.down_spec(), spec.num_experts, stored),
          .gate_up_expert_bytes = MatrixStride(spec.gate_up_spec(), stored),
          .down_expert_bytes = MatrixStride(spec.down_spec(), stored)};
}

size_t ExpertWeightsBytes(const ExpertWeightsSpec& spec, DType stored) {
  const ExpertLayout layout = MakeExpertLayout(spec, stored);
  return AlignedBytes(layout.gate_up_bytes) + AlignedBytes(layout.down_bytes);
}

OffloadedBytes OffloadedExpertBytes(const ExpertWeightsSpec& spec, int64_t num_places, DType stored) {
  ExpertWeightsSpec places = spec;
  places.num_experts = num_places;
  const ExpertLayout layout = MakeExpertLayout(spec, stored);
  const auto num_experts = static_cast<size_t>(spec.num_experts);
  return {.device = ExpertWeightsBytes(places, stored) + AlignedBytes(num_experts * sizeof(int32_t)),
          .host = num_experts * (layout.gate_up_expert_bytes + layout.down_expert_bytes)};
}

ScratchLayout MakeScratchLayout(const BackendLimits& limits, DType activation) {
  CHECK_EQ(SizeOf(activation), size_t{2});  // what the kernels' own scratch sizes assume
  ScratchLayout layout;
  const auto add = [&layout](size_t bytes) {
    const ScratchLayout::Part part = {.offset = layout.total_bytes, .bytes = bytes};
    layout.total_bytes += AlignedBytes(bytes);
    return part;
  };
  layout.attention =
      add(PagedAttentionScratchBytes(limits.max_sequences, limits.attention.num_heads, limits.attention.head_dim));
  layout.router = add(kRouterScratchBytes);
  layout.experts = add(RunExpertsScratchBytes(limits.max_expert_rows, limits.top_k, limits.hidden_size,
                                              limits.expert_intermediate_size, limits.num_local_experts));
  layout.sampling = add(SamplingScratchBytes(limits.max_output_rows, limits.vocab_size));
  layout.sampling_params = add(kSamplingParamsBytes);
  layout.sampling_results = add(kSamplingResultsBytes);
  layout.gemm_workspace = add(kGemmWorkspaceBytes);
  layout.constants = add(kConstantsBytes);
  return layout;
}

}  // namespace switchyard::cuda
