// Weights on a GPU: rows as the checkpoint has them, in the activation type.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cuda/arena.h"
#include "kernels/cuda/copy_streams.h"
#include "kernels/cuda/stream.h"
#include "kernels/weights.h"

namespace switchyard::cuda {

// Borrowed by every weight of a backend.
struct WeightContext {
  Arena& arena;
  CopyStreams& copies;
  Stream stream = nullptr;          // the rank's
  DType stored = DType::kBFloat16;  // of every weight on the device
  bool is_pinned = false;           // weights lie in pinned host memory, and are only copied from there
};
// To a weight's memory; returns when `from` may be reused.
absl::Status CopyToWeight(const WeightContext& context, const void* from, size_t bytes, void* to);

// [out_features, in_features] of context.stored, dense, in memory of its own or of another's.
class DeviceMatrix final : public Matrix {
 public:
  static absl::StatusOr<std::unique_ptr<DeviceMatrix>> Create(const MatrixSpec& spec, const WeightContext& context);
  DeviceMatrix(const MatrixSpec& spec, const WeightContext& context, void* data)
      : spec_(spec), context_(context), data_(data) {}
  static const DeviceMatrix& From(const Matrix& matrix) { return static_cast<const DeviceMatrix&>(matrix); }

  const MatrixSpec& spec() const override { return spec_; }
  size_t bytes() const override;
  // Converts on the calling thread where spec().dtype is not what is stored.
  absl::Status Fill(int64_t row_begin, ConstTensorView rows) override;
  // From the rank's thread only.
  absl::Status FillRandom(uint64_t seed, float deviation) override;

  const void* data() const { return data_; }

 private:
  const MatrixSpec spec_;
  const WeightContext context_;
  Buffer buffer_;  // empty where the memory is another's
  void* data_ = nullptr;
};

// gate_up [experts, 2 * intermediate, hidden] and down [experts, hidden, intermediate], each in one block.
class DeviceExpertWeights final : public ExpertWeights {
 public:
  static absl::StatusOr<std::unique_ptr<DeviceExpertWeights>> Create(const ExpertWeightsSpec& spec,
                                                                     const WeightContext& context);
  static const DeviceExpertWeights& From(const ExpertWeights& experts) {
    return static_cast<const DeviceExpertWeights&>(experts);
  }

  const ExpertWeightsSpec& spec() const override { return spec_; }
  Matrix& gate_up(int64_t local_expert) override { return *gate_up_.at(static_cast<size_t>(local_expert)); }
  Matrix& down(int64_t local_expert) override { return *down_.at(static_cast<size_t>(local_expert)); }

  const void* gate_up_data() const { return gate_up_buffer_.data(); }
  const void* down_data() const { return down_buffer_.data(); }

 private:
  DeviceExpertWeights(const ExpertWeightsSpec& spec, const WeightContext& context, Buffer gate_up, Buffer down);

  const ExpertWeightsSpec spec_;
  const Buffer gate_up_buffer_;
  const Buffer down_buffer_;
  std::vector<std::unique_ptr<DeviceMatrix>> gate_up_;  // one per expert, views of the block
  std::vector<std::unique_ptr<DeviceMatrix>> down_;
};

}  // namespace switchyard::cuda
