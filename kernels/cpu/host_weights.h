// Weights of the reference backend: rows as the checkpoint holds them, converted to float32 where they are multiplied.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cpu/random_weights.h"
#include "kernels/device.h"
#include "kernels/weights.h"

namespace switchyard {

// INVALID_ARGUMENT names the specification, or the rows that do not fit it.
absl::Status ValidateMatrixSpec(const MatrixSpec& spec);
absl::Status ValidateRows(const MatrixSpec& spec, int64_t row_begin, ConstTensorView rows);

// `count` elements of `dtype` (kBFloat16, kFloat16, kFloat32) as float32.
void ConvertToFloat(const void* in, DType dtype, int64_t count, float* out);

// Rows [out_features, in_features] of spec().dtype, dense.
class HostMatrix final : public Matrix {
 public:
  static absl::StatusOr<std::unique_ptr<HostMatrix>> Create(const MatrixSpec& spec);
  // What every Matrix of a CPU backend is.
  static const HostMatrix& From(const Matrix& matrix) { return static_cast<const HostMatrix&>(matrix); }

  const MatrixSpec& spec() const override { return spec_; }
  size_t bytes() const override { return buffer_.bytes(); }
  absl::Status Fill(int64_t row_begin, ConstTensorView rows) override;
  absl::Status FillRandom(uint64_t seed, float deviation) override { return FillRandomRows(*this, seed, deviation); }

  // One row as float32, out [in_features].
  void ConvertRow(int64_t row, float* out) const;

 private:
  HostMatrix(const MatrixSpec& spec, Buffer buffer) : spec_(spec), buffer_(std::move(buffer)) {}

  const MatrixSpec spec_;
  const Buffer buffer_;
};

class HostExpertWeights final : public ExpertWeights {
 public:
  static absl::StatusOr<std::unique_ptr<HostExpertWeights>> Create(const ExpertWeightsSpec& spec);
  static const HostExpertWeights& From(const ExpertWeights& experts) {
    return static_cast<const HostExpertWeights&>(experts);
  }

  const ExpertWeightsSpec& spec() const override { return spec_; }
  Matrix& gate_up(int64_t local_expert) override { return *gate_up_.at(local_expert); }
  Matrix& down(int64_t local_expert) override { return *down_.at(local_expert); }
  const HostMatrix& gate_up(int64_t local_expert) const { return *gate_up_.at(local_expert); }
  const HostMatrix& down(int64_t local_expert) const { return *down_.at(local_expert); }

 private:
  explicit HostExpertWeights(const ExpertWeightsSpec& spec) : spec_(spec) {}

  const ExpertWeightsSpec spec_;
  std::vector<std::unique_ptr<HostMatrix>> gate_up_;
  std::vector<std::unique_ptr<HostMatrix>> down_;
};

}  // namespace switchyard
