// Quantised weights on a GPU, in the layout of quantized_matrix.h.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cuda/quantized_matrix.h"
#include "kernels/cuda/weights.h"

namespace switchyard::cuda {

// One matrix, in memory of its own or of another's.
class QuantizedDeviceMatrix final : public Matrix {
 public:
  // INVALID_ARGUMENT where in_features is not a multiple of 8.
  static absl::StatusOr<std::unique_ptr<QuantizedDeviceMatrix>> Create(const MatrixSpec& spec,
                                                                       const WeightContext& context);
  // Of memory that is borrowed; the table of nested scales in it is filled by its owner.
  QuantizedDeviceMatrix(const MatrixSpec& spec, const WeightContext& context, const QuantizedMatrix& view)
      : spec_(spec), context_(context), view_(view) {}
  static const QuantizedDeviceMatrix& From(const Matrix& matrix) {
    return static_cast<const QuantizedDeviceMatrix&>(matrix);
  }

  const MatrixSpec& spec() const override { return spec_; }
  size_t bytes() const override { return buffer_.bytes() > 0 ? buffer_.bytes() : view_.stride; }
  // All three pack on the calling thread.
  absl::Status FillCodes(int64_t row_begin, ConstTensorView codes) override;
  absl::Status FillScales(int64_t row_begin, const GroupScales& scales) override;
  absl::Status FillColumnOrder(std::span<const int32_t> order) override;
  // Codes and scales, and no reordering; from the rank's thread only.
  absl::Status FillRandom(uint64_t seed, float deviation) override;

  const QuantizedMatrix& view() const { return view_; }

 private:
  const MatrixSpec spec_;
  const WeightContext context_;
  Buffer buffer_;  // empty where the memory is another's
  QuantizedMatrix view_;
};

class QuantizedDeviceExperts final : public ExpertWeights {
 public:
  static absl::StatusOr<std::unique_ptr<QuantizedDeviceExperts>> Create(const ExpertWeightsSpec& spec,
                                                                        const WeightContext& context);
  static const QuantizedDeviceExperts& From(const ExpertWeights& experts) {
    return static_cast<const QuantizedDeviceExperts&>(experts);
  }

  const ExpertWeightsSpec& spec() const override { return spec_; }
  Matrix& gate_up(int64_t local_expert) override { return *gate_up_.at(static_cast<size_t>(local_expert)); }
  Matrix& down(int64_t local_expert) override { return *down_.at(static_cast<size_t>(local_expert)); }

  // Of the first expert.
  const QuantizedMatrix& gate_up_view() const { return gate_up_view_; }
  const QuantizedMatrix& down_view() const { return down_view_; }

 private:
  QuantizedDeviceExperts(const ExpertWeightsSpec& spec, const WeightContext& context, Buffer gate_up, Buffer down);

  const ExpertWeightsSpec spec_;
  const Buffer gate_up_buffer_;
  const Buffer down_buffer_;
  const QuantizedMatrix gate_up_view_;
  const QuantizedMatrix down_view_;
  std::vector<std::unique_ptr<QuantizedDeviceMatrix>> gate_up_;  // one per expert, views of the block
  std::vector<std::unique_ptr<QuantizedDeviceMatrix>> down_;
};

}  // namespace switchyard::cuda
