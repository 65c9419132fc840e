// The weights of the fast CPU backend: a PackedMatrix where they are dense, else a QuantizedMatrix.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cpu/cpu_experts.h"
#include "kernels/cpu/host_memory.h"
#include "kernels/weights.h"

namespace switchyard {

absl::StatusOr<std::unique_ptr<Matrix>> CreatePackedMatrix(const MatrixSpec& spec,
                                                           HostAllocator allocate = AllocateHostMemory);
// One row of a matrix made so, as float32 in the order of the input features, out [in_features].
void UnpackRow(const Matrix& matrix, int64_t row, float* out);

class PackedExpertWeights final : public CpuExperts {
 public:
  static absl::StatusOr<std::unique_ptr<PackedExpertWeights>> Create(const ExpertWeightsSpec& spec);

  const ExpertWeightsSpec& spec() const override { return spec_; }
  Matrix& gate_up(int64_t local_expert) override { return *gate_up_.at(local_expert); }
  Matrix& down(int64_t local_expert) override { return *down_.at(local_expert); }
  const Matrix& gate_up(int64_t local_expert) const override { return *gate_up_.at(local_expert); }
  const Matrix& down(int64_t local_expert) const override { return *down_.at(local_expert); }

 private:
  explicit PackedExpertWeights(const ExpertWeightsSpec& spec) : spec_(spec) {}

  const ExpertWeightsSpec spec_;
  std::vector<std::unique_ptr<Matrix>> gate_up_;
  std::vector<std::unique_ptr<Matrix>> down_;
};

}  // namespace switchyard
