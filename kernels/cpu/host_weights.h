// Weights of the reference backend: rows as the checkpoint holds them, converted to float32 where they are multiplied.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cpu/cpu_experts.h"
#include "kernels/cpu/host_memory.h"
#include "kernels/cpu/random_weights.h"
#include "kernels/device.h"
#include "kernels/weights.h"

namespace switchyard {

// INVALID_ARGUMENT names the specification, or the rows that do not fit it.
absl::Status ValidateMatrixSpec(const MatrixSpec& spec);
absl::Status ValidateRows(const MatrixSpec& spec, int64_t row_begin, ConstTensorView rows);
absl::Status ValidateCodes(const MatrixSpec& spec, int64_t row_begin, ConstTensorView codes);
absl::Status ValidateScales(const MatrixSpec& spec, int64_t row_begin, const GroupScales& scales);
absl::Status ValidateColumnOrder(const MatrixSpec& spec, std::span<const int32_t> order);

// `count` elements of `dtype` (kBFloat16, kFloat16, kFloat32) as float32.
void ConvertToFloat(const void* in, DType dtype, int64_t count, float* out);

// Rows [out_features, in_features] of spec().dtype; or codes, scales in float32 and zeros, row by row.
class HostMatrix final : public Matrix {
 public:
  static absl::StatusOr<std::unique_ptr<HostMatrix>> Create(const MatrixSpec& spec,
                                                            HostAllocator allocate = AllocateHostMemory);
  // What every Matrix of a CPU backend is.
  static const HostMatrix& From(const Matrix& matrix) { return static_cast<const HostMatrix&>(matrix); }

  const MatrixSpec& spec() const override { return spec_; }
  size_t bytes() const override { return buffer_.bytes() + scales_.bytes() + zeros_.bytes() + order_.bytes(); }
  absl::Status Fill(int64_t row_begin, ConstTensorView rows) override;
  absl::Status FillCodes(int64_t row_begin, ConstTensorView codes) override;
  absl::Status FillScales(int64_t row_begin, const GroupScales& scales) override;
  absl::Status FillColumnOrder(std::span<const int32_t> order) override;
  absl::Status FillRandom(uint64_t seed, float deviation) override { return FillRandomRows(*this, seed, deviation); }

  // One row as float32 in the order of the input features, out [in_features].
  void ConvertRow(int64_t row, float* out) const;

 private:
  explicit HostMatrix(const MatrixSpec& spec) : spec_(spec) {}

  const MatrixSpec spec_;
  Buffer buffer_;  // rows, or codes uint8 [out_features, CodeBytes]
  Buffer scales_;  // float32 [out_features, groups]
  Buffer zeros_;   // uint8 [out_features, groups]
  Buffer order_;   // int32 [in_features]
};

// As MatrixFactory (offloaded_experts.h).
absl::StatusOr<std::unique_ptr<Matrix>> CreateHostMatrix(const MatrixSpec& spec, HostAllocator allocate);

class HostExpertWeights final : public CpuExperts {
 public:
  static absl::StatusOr<std::unique_ptr<HostExpertWeights>> Create(const ExpertWeightsSpec& spec);

  const ExpertWeightsSpec& spec() const override { return spec_; }
  Matrix& gate_up(int64_t local_expert) override { return *gate_up_.at(local_expert); }
  Matrix& down(int64_t local_expert) override { return *down_.at(local_expert); }
  const HostMatrix& gate_up(int64_t local_expert) const override { return *gate_up_.at(local_expert); }
  const HostMatrix& down(int64_t local_expert) const override { return *down_.at(local_expert); }

 private:
  explicit HostExpertWeights(const ExpertWeightsSpec& spec) : spec_(spec) {}

  const ExpertWeightsSpec spec_;
  std::vector<std::unique_ptr<HostMatrix>> gate_up_;
  std::vector<std::unique_ptr<HostMatrix>> down_;
};

}  // namespace switchyard
