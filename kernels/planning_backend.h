// Counts what the CUDA backend would allocate (counting_backend.h).
#pragma once

#include <memory>
#include <string>

#include "kernels/counting_backend.h"

namespace switchyard {

// Sizes and alignment are those of kernels/cuda/memory_layout.h, to the byte: bytes_allocated() is what the arena of
// the CUDA backend gives out for the calls so far.
class PlanningBackend final : public CountingBackend {
 public:
  // `activation_dtype` is kBFloat16 or kFloat16.
  explicit PlanningBackend(DType activation_dtype, const ExpertOffload& offload = {});

  size_t Taken(size_t bytes) const override;

  DeviceKind device() const override { return DeviceKind::kCuda; }
  std::string Description() const override { return "a GPU that is only planned for"; }
  DType activation_dtype() const override { return activation_dtype_; }
  bool can_record() const override { return true; }

  absl::Status Reserve(const BackendLimits& limits) override;
  absl::StatusOr<std::unique_ptr<Matrix>> CreateMatrix(const MatrixSpec& spec) override;
  absl::StatusOr<std::unique_ptr<ExpertWeights>> CreateExperts(const ExpertWeightsSpec& spec) override;

 private:
  const DType activation_dtype_;
  const ExpertOffload offload_;
};

}  // namespace switchyard
