#include "kernels/planning_backend.h"

#include "kernels/check.h"
#include "kernels/cuda/memory_layout.h"

namespace switchyard {

PlanningBackend::PlanningBackend(DType activation_dtype, const ExpertOffload& offload)
    : activation_dtype_(activation_dtype), offload_(offload) {
  CHECK(activation_dtype == DType::kBFloat16 || activation_dtype == DType::kFloat16);
}

size_t PlanningBackend::Taken(size_t bytes) const { return cuda::AlignedBytes(bytes); }

absl::Status PlanningBackend::Reserve(const BackendLimits& limits) {
  CountScratch(cuda::MakeScratchLayout(limits, activation_dtype_).total_bytes);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Matrix>> PlanningBackend::CreateMatrix(const MatrixSpec& spec) {
  return CountMatrix(spec, cuda::MatrixBytes(spec, activation_dtype_));
}

absl::StatusOr<std::unique_ptr<ExpertWeights>> PlanningBackend::CreateExperts(const ExpertWeightsSpec& spec) {
  const cuda::ExpertLayout layout = cuda::MakeExpertLayout(spec, activation_dtype_);
  ExpertBytes bytes = {.gate_up = layout.gate_up_expert_bytes,
                       .down = layout.down_expert_bytes,
                       .taken = cuda::ExpertWeightsBytes(spec, activation_dtype_)};
  if (offload_.applies_to(spec)) {
    const cuda::OffloadedBytes offloaded = cuda::OffloadedExpertBytes(spec, offload_.num_places, activation_dtype_);
    bytes.taken = offloaded.device;
    bytes.offloaded = offloaded.host;
  }
  return CountExperts(spec, bytes);
}

}  // namespace switchyard
