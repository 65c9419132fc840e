// Counts what the CPU backend would allocate (counting_backend.h).
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "kernels/counting_backend.h"

namespace switchyard {

// The bytes of a matrix are asked of the backend itself, which makes one of every shape for a moment: that takes
// address space, and memory only where the matrix is small. Reserve adds what the operations' scratch can grow to,
// which is an upper bound (kernels/cpu/scratch_bound.h); all else is to the byte, the heap's own rounding apart.
class CpuPlanningBackend final : public CountingBackend {
 public:
  explicit CpuPlanningBackend(const CpuBackendOptions& options);

  // As kernels/cpu/host_memory.h aligns.
  static constexpr size_t AlignedBytes(size_t bytes) { return (bytes + 63) / 64 * 64; }
  size_t Taken(size_t bytes) const override { return AlignedBytes(bytes); }

  DeviceKind device() const override { return DeviceKind::kCpu; }
  std::string Description() const override { return "a CPU rank that is only planned for"; }
  DType activation_dtype() const override { return DType::kFloat32; }

  absl::Status Reserve(const BackendLimits& limits) override;
  absl::StatusOr<std::unique_ptr<Matrix>> CreateMatrix(const MatrixSpec& spec) override;
  absl::StatusOr<std::unique_ptr<ExpertWeights>> CreateExperts(const ExpertWeightsSpec& spec) override;

 private:
  // The matrix's, which joins `kind`.
  absl::StatusOr<size_t> BytesOf(const MatrixSpec& spec, std::vector<MatrixSpec>& kind);

  const CpuBackendOptions options_;
  const std::unique_ptr<Backend> backend_;  // whose matrices are measured
  std::vector<std::pair<MatrixSpec, size_t>> measured_;
  // The forms of matrix so far.
  std::vector<MatrixSpec> layers_;
  std::vector<MatrixSpec> experts_;
};

}  // namespace switchyard
