#include "kernels/cuda/memory_layout.h"

#include "kernels/check.h"
#include "kernels/cuda/experts.h"
#include "kernels/cuda/paged_attention.h"
#include "kernels/cuda/sampling.h"

namespace switchyard::cuda {

size_t MatrixBytes(const MatrixSpec& spec, DType stored) {
  return static_cast<size_t>(spec.out_features) * static_cast<size_t>(spec.in_features) * SizeOf(stored);
}

ExpertLayout MakeExpertLayout(const ExpertWeightsSpec& spec, DType stored) {
  const size_t experts = static_cast<size_t>(spec.num_experts);
  const size_t matrix =
      static_cast<size_t>(spec.intermediate_size) * static_cast<size_t>(spec.hidden_size) * SizeOf(stored);
  return {.gate_up_bytes = experts * 2 * matrix,
          .down_bytes = experts * matrix,
          .gate_up_expert_bytes = 2 * matrix,
          .down_expert_bytes = matrix};
}

size_t ExpertWeightsBytes(const ExpertWeightsSpec& spec, DType stored) {
  const ExpertLayout layout = MakeExpertLayout(spec, stored);
  return AlignedBytes(layout.gate_up_bytes) + AlignedBytes(layout.down_bytes);
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
