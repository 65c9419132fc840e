#include "kernels/cpu_planning_backend.h"

#include <algorithm>

#include "kernels/cpu/scratch_bound.h"

namespace switchyard {
namespace {

CpuBackendOptions OnOneThread(CpuBackendOptions options) {
  options.num_threads = 1;
  options.num_guests = 0;
  options.shared_loops = nullptr;
  return options;
}

bool AreAlike(const MatrixSpec& a, const MatrixSpec& b) {
  return a.out_features == b.out_features && a.in_features == b.in_features && a.dtype == b.dtype &&
         a.quantization == b.quantization;
}

}  // namespace

CpuPlanningBackend::CpuPlanningBackend(const CpuBackendOptions& options)
    : options_(options), backend_(CreateCpuBackend(OnOneThread(options))) {}

absl::StatusOr<size_t> CpuPlanningBackend::BytesOf(const MatrixSpec& spec, std::vector<MatrixSpec>& kind) {
  const auto is_like_it = [&spec](const MatrixSpec& known) { return AreAlike(known, spec); };
  if (std::none_of(kind.begin(), kind.end(), is_like_it)) kind.push_back(spec);
  for (const auto& [known, bytes] : measured_) {
    if (AreAlike(known, spec)) return bytes;
  }
  const absl::StatusOr<std::unique_ptr<Matrix>> matrix = backend_->CreateMatrix(spec);
  if (!matrix.ok()) return matrix.status();
  measured_.emplace_back(spec, (*matrix)->bytes());
  return (*matrix)->bytes();
}

absl::Status CpuPlanningBackend::Reserve(const BackendLimits& limits) {
  CountScratch(CpuScratchBound(limits, layers_, experts_, options_));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Matrix>> CpuPlanningBackend::CreateMatrix(const MatrixSpec& spec) {
  const absl::StatusOr<size_t> bytes = BytesOf(spec, layers_);
  if (!bytes.ok()) return bytes.status();
  return CountMatrix(spec, *bytes);
}

absl::StatusOr<std::unique_ptr<ExpertWeights>> CpuPlanningBackend::CreateExperts(const ExpertWeightsSpec& spec) {
  if (spec.num_experts == 0) return CountExperts(spec, 0, 0, 0);
  const absl::StatusOr<size_t> gate_up = BytesOf(spec.gate_up_spec(), experts_);
  if (!gate_up.ok()) return gate_up.status();
  const absl::StatusOr<size_t> down = BytesOf(spec.down_spec(), experts_);
  if (!down.ok()) return down.status();
  return CountExperts(spec, *gate_up, *down, static_cast<size_t>(spec.num_experts) * (Taken(*gate_up) + Taken(*down)));
}

}  // namespace switchyard
